from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.appraise import low_rank
from affectgpt.appraise.heads import CARD_FIELDS, head_folder, load_head, read_card, save_head
from affectgpt.errors import InputError, ModelError

WIDTH, HIDDEN, CLASSES = 5, 4, ["a", "b", "c"]


def card(kind: str = "softmax", **changed: Any) -> dict[str, Any]:
    made = {
        "data": "drawn at random", "licence": "CC0-1.0", "split": "none", "metrics": {}, "date": "2026-01-01",
        "commit": "none", "seed": 0, "classes": CLASSES, "kind": kind, "temperature": 1.0, "input": {"width": WIDTH},
        "range": [-1.0, 1.0],
    }  # fmt: skip
    return {**made, **changed}


def weights(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return {
        "0.weight": draw.normal(size=(WIDTH, HIDDEN)).astype(np.float32),
        "0.bias": draw.normal(size=HIDDEN).astype(np.float32),
        "1.weight": draw.normal(size=(HIDDEN, 3)).astype(np.float16),
        "1.bias": draw.normal(size=3).astype(np.float32),
        "mean": draw.normal(size=WIDTH).astype(np.float32),
        "scale": draw.uniform(0.5, 2.0, size=WIDTH).astype(np.float32),
    }


def rows(n: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(size=(n, WIDTH))


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    save_head(tmp_path / "one", "tone", weights(), card())
    save_head(tmp_path / "two", "tone", dict(reversed(weights().items())), card())
    for name in ("tone.safetensors", "tone.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_logits_are_those_of_torch(tmp_path: Path) -> None:
    import torch

    head, w = save_head(tmp_path, "tone", weights(), card()), weights()
    t = {k: torch.from_numpy(v.astype(np.float32)) for k, v in w.items()}
    x = (torch.from_numpy(rows()).float() - t["mean"]) / t["scale"]
    hidden = torch.nn.functional.gelu(x @ t["0.weight"] + t["0.bias"], approximate="tanh")
    expected = (hidden @ t["1.weight"] + t["1.bias"]).numpy()
    np.testing.assert_allclose(head.logits(rows()), expected, rtol=1e-4, atol=1e-5)


@given(temperature=st.floats(0.1, 10.0))
def test_probabilities_sum_to_one_and_heat_flattens_them_without_reordering(temperature: float) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        cold = save_head(Path(name), "tone", weights(), card()).probabilities(rows())
        warm = save_head(Path(name), "tone", weights(), card(temperature=temperature)).probabilities(rows())
    np.testing.assert_allclose(warm.sum(axis=1), 1.0)
    assert (warm.argmax(axis=1) == cold.argmax(axis=1)).all()
    flatter = warm.max(axis=1) - cold.max(axis=1)
    assert (flatter * (temperature - 1.0) <= 1e-9).all()


def test_sigmoid_takes_a_temperature_for_each_class(tmp_path: Path) -> None:
    head = save_head(tmp_path, "tags", weights(), card("sigmoid", temperature=[1.0, 2.0, 0.5]))
    expected = 1 / (1 + np.exp(-head.logits(rows()) / [1.0, 2.0, 0.5]))
    np.testing.assert_allclose(head.probabilities(rows()), expected)


def test_values_stay_in_their_range_and_kinds_are_not_mixed_up(tmp_path: Path) -> None:
    numbers = save_head(tmp_path, "vad", weights(), card("regression"))
    found = numbers.values(rows() * 100)
    assert found.min() >= -1.0
    assert found.max() <= 1.0
    with pytest.raises(ModelError, match="values"):
        numbers.probabilities(rows())
    with pytest.raises(ModelError, match="probabilities"):
        save_head(tmp_path, "tone", weights(), card()).values(rows())


@pytest.mark.parametrize("bad", [rows()[:, :4], rows()[0], np.full((1, WIDTH), np.nan), np.full((1, WIDTH), np.inf)])
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(InputError, match="tone"):
        save_head(tmp_path, "tone", weights(), card()).logits(bad)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    save_head(tmp_path, "tone", weights(), card())
    path = tmp_path / "tone.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "tone.safetensors").write_bytes(data)
    (other / "tone.json").write_bytes((tmp_path / "tone.json").read_bytes())
    with pytest.raises(ModelError, match="not those of their card"):
        load_head("tone", folder=other)


@pytest.mark.parametrize("field", CARD_FIELDS)
def test_a_card_that_lacks_a_field_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(ModelError, match=field):
        save_head(tmp_path, "tone", weights(), {k: v for k, v in card().items() if k != field})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"input": {"width": 6}}, {"input": {"width": 0}}, {"input": 5}, {"classes": ["a", "b"]},
        {"classes": ["a", "a", "b"]}, {"kind": "guess"}, {"temperature": 0.0}, {"temperature": [1.0, 1.0]},
    ],
)  # fmt: skip
def test_a_card_that_does_not_fit_its_weights_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="tone"):
        save_head(tmp_path, "tone", weights(), card(**changed))


@pytest.mark.parametrize("change", [{"0.bias": np.zeros(3)}, {"scale": np.zeros(WIDTH)}, {"9.bias": np.zeros(3)}])
def test_tensors_that_do_not_fit_together_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="tone"):
        save_head(tmp_path, "tone", {**weights(), **change}, card())
    broken = weights()
    broken["1.bias"][0] = np.nan
    with pytest.raises(ModelError, match="finite"):
        save_head(tmp_path, "tone", broken, card())


@pytest.mark.parametrize("name", ["../tone", "Tone", "", "a/b", "tone.json"])
def test_a_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="not the name"):
        load_head(name, folder=tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"kind": 1}'])
def test_a_damaged_card_or_none_is_a_model_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError):
        read_card("tone", folder=tmp_path)
    (tmp_path / "tone.json").write_text(content)
    with pytest.raises(ModelError):
        load_head("tone", folder=tmp_path)


def test_shipped_heads_load_and_stay_within_five_megabytes() -> None:
    root = head_folder().parent
    files = sorted(root.glob("*/*.safetensors"))
    for path in files:
        if path.stem == low_rank.NAME:
            assert len(low_rank.load_update(folder=path.parent).layers) == 36
        else:
            assert load_head(path.stem, folder=path.parent).width > 0
    assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) <= 5_000_000
    for cards in (root / "permissive").glob("*.json"):
        text = json.dumps(json.loads(cards.read_text("utf-8"))["licence"])
        assert not any(word in text for word in ("GPL", "NC", "research")), cards.name
