"""Scenes with signals: what is taken from them, what is kept of them, and that a build is the same each time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.facial import FacialEncoder
from affectgpt.fusion.features import Signals
from affectgpt.records import Modality, Waveform
from affectgpt.records.signal_example import SignalExample
from affectgpt.textualize import Sensed
from instruction_data.evidence import draw_face
from instruction_data.signals.build import FEATURES, build_signals
from instruction_data.signals.conditions import CONDITIONS, condition, take
from instruction_data.signals.noise import add_noise
from instruction_data.signals.recipe import SignalRecipe, load_signal_recipe

FACES = ["scenes.modalities={face: 1}", "sources=[]", "alone=[]", "noisy=0.0", "joined={train: 6, dev: 3}"]


def build(folder: Path, *overrides: str) -> Path:
    recipe = load_signal_recipe("joined", [*FACES, f"out={folder}", f"tracks={folder}/tracks", *overrides])
    return build_signals(recipe)


def read(folder: Path, split: str) -> list[SignalExample]:
    return [SignalExample.from_line(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]


# ---------------------------------------------------------------- noise


@given(snr_db=st.floats(-5, 40), n=st.integers(2_000, 20_000), seed=st.integers(0, 9))
def test_noise_stands_as_far_under_the_sound_as_is_asked(snr_db: float, n: int, seed: int) -> None:
    sound = (0.01 * np.sin(np.arange(n) / 9)).astype(np.float32)
    whole = Waveform(sound, 16_000, 0.0)
    (noisy,) = add_noise([whole], snr_db, seed)
    noise = noisy.samples.astype(np.float64) - sound
    assert 10 * np.log10(np.mean(sound**2.0) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)


def test_noise_does_not_depend_on_blocks_and_never_clips() -> None:
    sound = (0.9 * np.sin(np.arange(9_000) / 7)).astype(np.float32)
    blocks = [Waveform(part, 16_000, i * 0.1) for i, part in enumerate(np.split(sound, [1_000, 1_001, 5_000]))]
    split = add_noise(blocks, 0.0, 3)
    (whole,) = add_noise([Waveform(sound, 16_000, 0.0)], 0.0, 3)
    assert [len(b.samples) for b in split] == [1_000, 1, 3_999, 4_000]
    assert np.array_equal(np.concatenate([b.samples for b in split]), whole.samples)
    assert np.abs(whole.samples).max() <= 1.0
    assert add_noise([], 10.0, 3) == []


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_lost_frames_are_lost_to_the_adapters_and_to_the_observations(share: float) -> None:
    face = draw_face(random.Random(1), "happy", 16.0)
    left = take(Sensed(face), condition(f"frames lost {share:.0%}".replace("%", " %")), 5).face
    assert left is not None
    assert face.found.sum() - left.found.sum() == round(share * face.found.sum())
    gone = ~left.found
    assert np.isnan(left.action_units[gone]).all()
    features = FacialEncoder().encode(Signals(face=left))
    assert features.valid.sum() < FacialEncoder().encode(Signals(face=face)).valid.sum()
    assert np.isfinite(features.tokens).all()


def test_what_is_taken_is_said_to_be_missing_and_leaves_something() -> None:
    sensed = Sensed(draw_face(random.Random(2), "sad", 3.0))
    fitting = [c.name for c in CONDITIONS.values() if c.fits(sensed)]
    assert "no face" not in fitting
    assert "face alone" not in fitting
    left = take(sensed, condition("no face"), 0)
    assert left.face is None
    assert Modality.FACE in left.absent


# ---------------------------------------------------------------- builds


def test_a_build_is_the_same_each_time_and_keeps_every_feature_it_names(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a"), build(tmp_path / "b")
    for split in ("train", "dev"):
        assert (first / f"{split}.jsonl").read_bytes() == (second / f"{split}.jsonl").read_bytes()
        cache = FeatureCache(first / FEATURES)
        rows = read(first, split)
        assert rows
        for row in rows:
            for modality, key in row.features.items():
                features = cache.get(key)
                assert features is not None
                assert features.modality is modality
    before = (first / "card.json").stat().st_mtime_ns
    assert build(tmp_path / "a") == first
    assert (first / "card.json").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match="another recipe"):
        build(tmp_path / "a", "seed=8")


def test_a_scene_has_one_label_under_all_conditions_and_its_answers_fit_what_is_left(tmp_path: Path) -> None:
    rows = read(build(tmp_path), "dev")
    by_scene: dict[str, set[str | None]] = {}
    for row in rows:
        by_scene.setdefault(row.scene, set()).add(row.label)
        assert ("label" in row.answers) == (row.label is not None)
        shown = {o.id for o in row.observations.items}
        assert all(f"[{o.id}]" in row.answers["explain"] for o in row.observations.items)
        assert row.answers.get("describe", "").count("[") <= len(shown)
    assert all(len(found) == 1 for found in by_scene.values())
    assert {r.condition for r in rows} > {"whole"}


def test_examples_are_read_back_strictly(tmp_path: Path) -> None:
    line = read(build(tmp_path), "train")[0].to_line()
    assert SignalExample.from_line(line).to_line() == line
    for broken in (line[:-1], line.replace('"kind"', '"kindness"'), line.replace('"whole"', "7"), "{}", "[]"):
        with pytest.raises(ValueError, match=r"SignalExample|JSON"):
            SignalExample.from_line(broken)


def test_a_recipe_refuses_what_cannot_be_built() -> None:
    with pytest.raises(OptionError, match="no condition"):
        SignalRecipe(conditions=("no ears",))
    with pytest.raises(OptionError, match="degraded"):
        load_signal_recipe("joined", ["scenes.degraded=0.2"])
    with pytest.raises(OptionError, match="among the sources"):
        load_signal_recipe("joined", ["alone=[own]"])


@pytest.mark.shared
@pytest.mark.slow
def test_voices_are_heard_through_noise_with_features_of_their_own(shared_data: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for actor in ("Actor_01", "Actor_02", "Actor_03"):
        (corpus / actor).mkdir(parents=True)
        for path in sorted((shared_data / "speech" / "ravdess").rglob("*.flac")):
            if path.stem.endswith(actor[-2:]) and path.stem[6:] in {f"05-02-01-01-{actor[-2:]}"}:
                (corpus / actor / path.name).symlink_to(path)
    alone = ["sources=[{set: ravdess, path: .}]", f"data={corpus}", "alone=[ravdess]", "joined={train: 0, dev: 0}"]
    folder = build(tmp_path / "out", *alone, "splits={dev: 1.0}", "joined={}", "alone_conditions=[SNR 0 dB]")
    rows = read(folder, "dev")
    clean = [r for r in rows if r.condition == "whole"]
    noisy = [r for r in rows if r.condition == "SNR 0 dB"]
    assert clean
    assert noisy
    assert all(r.label == "angry" for r in rows)
    cache = FeatureCache(folder / FEATURES)
    assert {r.features[Modality.VOICE] for r in clean}.isdisjoint(r.features[Modality.VOICE] for r in noisy)
    assert all(cache.get(r.features[Modality.VOICE]) is not None for r in rows)
