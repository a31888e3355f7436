from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.appraise.encoder import SHA256, WIDTH, Encoder, find_encoder, load_encoder
from affectgpt.appraise.low_rank import CARD_FIELDS, NAME, LowRankUpdate, load_update, save_update
from affectgpt.errors import ModelError

LAYER = "encoder.layer.5.output.dense"
RANK = 2


def card(**changed: Any) -> dict[str, Any]:
    return dict.fromkeys(CARD_FIELDS, "none") | {"rank": RANK, "base": SHA256["model.safetensors"]} | changed


def tensors(size: float = 0.1, layer: str = LAYER) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        f"{layer}.in": (size * draw.normal(size=(RANK, 4 * WIDTH))).astype(np.float16),
        f"{layer}.out": draw.normal(size=(WIDTH, RANK)).astype(np.float16),
    }


def test_the_same_tensors_give_the_same_bytes_and_come_back(tmp_path: Path) -> None:
    first = save_update(tmp_path / "one", tensors(), card())
    save_update(tmp_path / "two", dict(reversed(tensors().items())), card())
    for suffix in (".safetensors", ".json"):
        one, two = ((tmp_path / side / f"{NAME}{suffix}").read_bytes() for side in ("one", "two"))
        assert one == two
    assert first.layers == (LAYER,)
    w = tensors()
    expected = w[f"{LAYER}.out"].astype(np.float32) @ w[f"{LAYER}.in"].astype(np.float32)
    np.testing.assert_array_equal(first.change(LAYER), expected)


def test_nothing_added_is_the_encoder_as_published_and_something_is_not() -> None:
    texts = ["I am so sorry.", "Leave me alone!"]
    published = load_encoder().features(texts, (4, 6))
    same = Encoder(find_encoder(), update=LowRankUpdate(card(sha256="0"), tensors(size=0.0)))
    other = Encoder(find_encoder(), update=LowRankUpdate(card(sha256="0"), tensors()))
    np.testing.assert_array_equal(same.features(texts, (4, 6)), published)
    # A change of the last layer leaves those before it.
    np.testing.assert_array_equal(other.features(texts, (4,)), published[:, :WIDTH])
    assert np.abs(other.features(texts) - published[:, WIDTH:]).max() > 0.01
    assert (load_encoder().update_sha256, other.update_sha256) == ("", "0")


@pytest.mark.parametrize("layer", ["encoder.layer.6.output.dense", "encoder.layer.0.attention.self.query"])
def test_a_layer_that_is_not_there_or_has_another_shape_is_refused(layer: str) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        Encoder(find_encoder(), update=LowRankUpdate(card(sha256="0"), tensors(layer=layer)))


def test_changed_weights_and_another_rank_are_refused(tmp_path: Path) -> None:
    save_update(tmp_path, tensors(), card())
    path = tmp_path / f"{NAME}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not those of their card"):
        load_update(folder=tmp_path)
    with pytest.raises(ModelError, match="rank"):
        save_update(tmp_path, tensors(), card(rank=3))
    with pytest.raises(ModelError, match="pair"):
        save_update(tmp_path, {f"{LAYER}.in": tensors()[f"{LAYER}.in"]}, card())
    with pytest.raises(ModelError, match="pair"):
        save_update(tmp_path, {}, card())


@pytest.mark.parametrize("field", CARD_FIELDS)
def test_a_card_that_lacks_a_field_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(ModelError, match=field):
        save_update(tmp_path, tensors(), {k: v for k, v in card().items() if k != field})
    assert list(tmp_path.iterdir()) == []
    save_update(tmp_path, tensors(), card())
    path = tmp_path / f"{NAME}.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != field}))
    with pytest.raises(ModelError, match=field):
        load_update(folder=tmp_path)
