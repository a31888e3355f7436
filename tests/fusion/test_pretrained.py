"""Pretrained encoders found again by the name that their features carry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from affectgpt.errors import ModelError
from affectgpt.fusion.features import Encoder
from affectgpt.fusion.pictures import PictureEncoder
from affectgpt.fusion.pretrained import PLACES, open_pretrained
from affectgpt.fusion.sampling import EventSampler, RateSampler
from affectgpt.fusion.sounds import SoundEncoder
from affectgpt.readers import open_encoder
from tests.tiny_encoders import picture_model, sound_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two encoders."""
    folder = tmp_path_factory.mktemp("encoders")
    picture_model("clip", folder / "clip")
    sound_model("hubert", folder / "hubert")
    return folder


def named(encoder: Encoder) -> str:
    return f"{encoder.id}@{encoder.version}"


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: PictureEncoder(folder / "clip"),
        lambda folder: PictureEncoder(folder / "clip", EventSampler(4), "patches"),
        lambda folder: PictureEncoder(folder / "clip", RateSampler(2.5)),
        lambda folder: SoundEncoder(folder / "hubert", n_layers=2, n_pooled=3),
    ],
    ids=["pooled", "events", "rate", "sound"],
)
def test_a_name_gives_the_encoder_back(folder: Path, monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    assert callable(make)
    monkeypatch.setenv(PLACES, str(folder))
    made = make(folder)
    found = open_pretrained(named(made))
    assert found is not None
    assert type(found) is type(made)
    assert (named(found), found.width, found.modality) == (named(made), made.width, made.modality)


def test_other_weights_under_the_same_name_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = named(PictureEncoder(folder / "clip"))
    shutil.copytree(folder / "clip", tmp_path / "clip")
    settings = tmp_path / "clip" / "preprocessor_config.json"
    settings.write_text(settings.read_text("utf-8") + "\n")
    monkeypatch.setenv(PLACES, str(tmp_path))
    with pytest.raises(ModelError, match=r"'clip' at hand is of version \w+-pooled"):
        open_pretrained(name)


@pytest.mark.parametrize(
    "name", ["", "@", "clip", "clip@1", "@0123-pooled-sampled-uniform8", "clip@0-pooled-sampled-x"]
)
def test_what_has_not_the_form_of_a_name_is_none(name: str) -> None:
    assert open_pretrained(name) is None
    with pytest.raises(ModelError, match="no encoder"):
        open_encoder(name)


def test_an_id_does_not_lead_out_of_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PLACES, str(tmp_path))
    with pytest.raises(ModelError, match="no model in"):
        open_pretrained(f"../{folder.name}/clip@0123-pooled-sampled-uniform8")
