"""What a fusion configuration may hold, and that its JSON form gives it back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fusion_batches import FACE, VOICE, config
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from affectgpt.fusion.config import AFFECTGPT_7B, FUSED, FusionConfig, ModalityConfig
from affectgpt.records import Modality


def test_json_gives_it_back() -> None:
    for made in (config(), AFFECTGPT_7B, config(token_rms=0.1, prefusion="none", adapter="gated")):
        assert FusionConfig.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("surplus", {"surplus": 1}),
        ("llm_width", {"llm_width": "32"}),
        ("llm_width", {"llm_width": 0}),
        ("adapter", {"adapter": "mean"}),
        ("prefusion", {"prefusion": None}),
        ("modalities.smell", {"modalities": {"smell": {"encoder": "e@1", "width": 3}}}),
        ("modalities.face.width", {"modalities": {"face": {"encoder": "e@1"}}}),
        ("modalities.face.hue", {"modalities": {"face": {"encoder": "e@1", "width": 3, "hue": 1}}}),
        ("no modality", {"modalities": {}}),
        ("width", {"modalities": {"face": {"encoder": "e@1", "width": 10**9}}}),
        ("n_tokens", {"modalities": {"face": {"encoder": "e@1", "width": 3, "n_tokens": 10**7}}}),
        ("without a name", {"modalities": {"face": {"encoder": "", "width": 3}}}),
        ("heads", {"n_heads": 5}),
        ("n_layers", {"n_layers": 10**6}),
        ("dropout", {"modality_dropout": 1.0}),
        ("token_rms", {"token_rms": -1.0}),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(place: str, change: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=place):
        FusionConfig.from_json({**config().to_json(), **change})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                    max_leaves=8))  # fmt: skip
def test_anything_else_is_refused_in_one_way(data: Any) -> None:
    with pytest.raises(OptionError):
        FusionConfig.from_json(data)


@given(st.sampled_from(sorted(config().to_json())), st.none() | st.text(max_size=2) | st.integers() | st.floats())
def test_a_field_replaced_by_something_either_fits_or_is_refused(name: str, value: Any) -> None:
    try:
        made = FusionConfig.from_json({**config().to_json(), name: value})
    except OptionError:
        return
    assert FusionConfig.from_json(made.to_json()) == made


def test_names_follow_what_is_on() -> None:
    assert config().names == ("face", "voice", FUSED)
    assert config(prefusion="none").names == ("face", "voice")
    off = {VOICE: ModalityConfig("s@1", 4, is_on=False), FACE: ModalityConfig("a@1", 3, n_tokens=5)}
    assert config(modalities=off).names == ("face", FUSED)
    assert [config(modalities=off).n_tokens(n) for n in ("face", FUSED)] == [5, 3]
    with pytest.raises(OptionError, match="voice"):
        config(modalities=off).n_tokens("voice")


def test_nothing_on_is_refused() -> None:
    with pytest.raises(OptionError, match="neither"):
        config(modalities={FACE: ModalityConfig("a@1", 3, is_on=False)}, prefusion="none")


def test_modalities_stand_in_one_order_however_they_were_named() -> None:
    turned = {m: ModalityConfig("e@1", 3) for m in (Modality.SPEECH, VOICE, FACE)}
    assert config(modalities=turned).order == (FACE, VOICE, Modality.SPEECH)


def test_reading_one_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, affectgpt.fusion.config; print(*[m for m in ('torch', 'transformers') if m in sys.modules])"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == []
