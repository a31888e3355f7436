"""Folders of adapters: what was saved comes back, and what was changed since, or fits something else, is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from fusion_batches import batches, config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from affectgpt.errors import ModelError
from affectgpt.fusion.config import AdapterKind
from affectgpt.fusion.folder import MANIFEST, WEIGHTS, load_fusion, read_fusion_manifest, save_fusion
from affectgpt.fusion.fuser import Fuser

BASE = "tiny-base"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    place = tmp_path / "base" / "config.json"
    place.parent.mkdir()
    place.write_text('{"hidden_size": 32}')
    return place


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    torch.manual_seed(0)
    save_fusion(tmp_path / "fusion", Fuser(config()), "made", BASE, base, {"steps": 3})
    return tmp_path / "fusion"


def reseal(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **changed: Any) -> None:
    """Changes, with sums that agree: what a careful hand could make."""
    if tensors is not None:
        save_file(tensors, folder / WEIGHTS)
        changed["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    data = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**data, **changed}))


@pytest.mark.parametrize("kind", get_args(AdapterKind))
def test_what_was_saved_comes_back(tmp_path: Path, base: Path, kind: Any) -> None:
    torch.manual_seed(1)
    fuser = Fuser(config(adapter=kind, prefusion=kind, token_rms=0.1))
    fuser.standardize([batches()])
    save_fusion(tmp_path / "f", fuser, "made", BASE, base, {"steps": 3})
    loaded, manifest = load_fusion(tmp_path / "f", BASE, base)
    assert (manifest.id, manifest.base_model, manifest.notes) == ("made", BASE, {"steps": 3})
    assert manifest.config == fuser.config
    assert "torch" in manifest.versions
    assert "affectgpt" in manifest.versions
    assert not loaded.training
    before, after = fuser.eval()(batches()), loaded(batches())
    assert all(torch.equal(before.tokens[n], after.tokens[n]) for n in before.tokens)


def test_the_same_weights_give_the_same_bytes(folder: Path, base: Path, tmp_path: Path) -> None:
    save_fusion(tmp_path / "again", load_fusion(folder, BASE, base)[0], "made", BASE, base, {"steps": 3})
    for name in (WEIGHTS, MANIFEST):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == sorted((WEIGHTS, MANIFEST))


def test_half_precision_is_read_as_float32(folder: Path, base: Path) -> None:
    reseal(folder, {n: t.bfloat16() for n, t in load_file(folder / WEIGHTS).items()})
    fuser, _ = load_fusion(folder, BASE, base)
    assert {t.dtype for t in fuser.state_dict().values()} == {torch.float32}


def test_the_bases_configuration_decides_whatever_it_is_called(folder: Path, base: Path) -> None:
    load_fusion(folder, "the same by another name", base)
    load_fusion(folder, BASE)
    with pytest.raises(ModelError, match=r"made.*tiny-base.*another"):
        load_fusion(folder, "another")
    base.write_text('{"hidden_size": 64}')
    with pytest.raises(ModelError, match="do not fit"):
        load_fusion(folder, BASE, base)
    with pytest.raises(ModelError, match="cannot be read"):
        load_fusion(folder, BASE, base.parent / "no.json")


def test_missing_unexpected_and_misshapen_tensors_are_listed(folder: Path, base: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    gone = tensors.pop("project.face.0.bias")
    tensors["surplus.weight"] = gone
    tensors["prefusion.absent"] = tensors["prefusion.absent"][:1].clone()
    tensors["standard.face.mean"] = tensors["standard.face.mean"].long()
    reseal(folder, tensors)
    with pytest.raises(ModelError) as caught:
        load_fusion(folder, BASE, base)
    for told in ("missing: project.face.0.bias", "unexpected: surplus.weight", r"prefusion.absent (1, 10), not (2, 10)",
                 "no floating point: standard.face.mean"):  # fmt: skip
        assert told in caught.value.what


def test_many_faults_are_counted(folder: Path, base: Path) -> None:
    reseal(folder, {f"n{i}": torch.zeros(1) for i in range(50)})
    with pytest.raises(ModelError, match="and 42 more"):
        load_fusion(folder, BASE, base)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_neither_saved_nor_loaded(
    folder: Path, base: Path, tmp_path: Path, value: float
) -> None:
    fuser, _ = load_fusion(folder, BASE, base)
    with torch.no_grad():
        fuser.project["face"][0].bias[0] = value  # type: ignore[index]
    with pytest.raises(ModelError, match=r"not finite: project.face.0.bias"):
        save_fusion(tmp_path / "new", fuser, "made", BASE, base)
    assert not (tmp_path / "new").exists()
    tensors = load_file(folder / WEIGHTS)
    tensors["project.face.0.bias"][0] = value
    reseal(folder, tensors)
    with pytest.raises(ModelError, match=r"not finite: project.face.0.bias"):
        load_fusion(folder, BASE, base)


def test_a_configuration_that_asks_for_all_memory_is_refused_for_its_shapes(folder: Path, base: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())["config"]
    reseal(folder, config={**data, "adapter": "perceiver", "width": 65536, "n_layers": 48})
    with pytest.raises(ModelError, match="missing"):
        load_fusion(folder, BASE, base)


def test_changed_weights_are_refused(folder: Path, base: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))
    with pytest.raises(ModelError, match="seals"):
        load_fusion(folder, BASE, base)


@pytest.mark.parametrize("gone", [MANIFEST, WEIGHTS])
def test_a_file_that_is_missing_is_named_with_the_remedy(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(ModelError, match=rf"{gone}.*--fusion FOLDER"):
        load_fusion(folder, BASE)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fusion folder"):
        read_fusion_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changed",
    [{"form": 2}, {"id": ""}, {"id": 3}, {"config": {}}, {"config": None}, {"surplus": 1}, {"notes": []},
     {"versions": "1"}, {"weights_sha256": None}],
)  # fmt: skip
def test_a_malformed_manifest_is_refused(folder: Path, changed: dict[str, Any]) -> None:
    reseal(folder, **changed)
    with pytest.raises(ModelError, match="malformed"):
        read_fusion_manifest(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(name=st.sampled_from([MANIFEST, WEIGHTS]), data=st.binary(max_size=80), at=st.integers(0, 10**6))
def test_damage_anywhere_is_told_in_one_way(folder: Path, base: Path, name: str, data: bytes, at: int) -> None:
    whole = (folder / name).read_bytes()
    place = at % len(whole)
    (folder / name).write_bytes(whole[:place] + data + whole[place + len(data) :])
    try:
        load_fusion(folder, BASE, base)
    except ModelError:
        pass  # and never anything else
    finally:
        (folder / name).write_bytes(whole)


def test_a_failing_write_leaves_the_old_folder_whole(folder: Path, base: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ModelError, match=r"config.json"):
        save_fusion(folder, Fuser(config()), "new", BASE, base.parent.parent / "gone" / "config.json")
    with pytest.raises(ValueError, match="JSON"):
        save_fusion(folder, Fuser(config()), "new", BASE, base, {"loss": float("nan")})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
