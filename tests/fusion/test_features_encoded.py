"""What features may hold, and that their pieces join."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import InputError
from affectgpt.fusion.features import Features, join
from affectgpt.records import Modality


def features(n: int = 4, width: int = 3, start_s: float = 0.0, **changed: object) -> Features:
    made: dict[str, object] = {
        "tokens": np.ones((n, width), np.float32),
        "times_s": start_s + np.stack([np.arange(n), np.arange(n) + 1.0], axis=1),
        "valid": np.ones(n, bool),
        "encoder": "made@1",
        "modality": Modality.FACE,
    }
    return Features(**{**made, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"tokens": np.ones((4, 3))},
        {"tokens": np.ones((4, 0), np.float32)},
        {"tokens": np.ones(4, np.float32)},
        {"tokens": np.full((4, 3), np.nan, np.float32)},
        {"tokens": np.full((4, 3), np.inf, np.float32)},
        {"times_s": np.zeros((3, 2))},
        {"times_s": np.zeros((4, 2), np.float32)},
        {"times_s": np.full((4, 2), np.nan)},
        {"times_s": np.array([[0, 1], [2, 1], [2, 3], [3, 4.0]])},
        {"times_s": np.array([[1, 2], [0, 1], [2, 3], [3, 4.0]])},
        {"valid": np.ones(4, np.int8)},
        {"valid": np.ones(5, bool)},
        {"valid": np.array([True, True, True, False])},
        {"grid": (2, 3, 1)},
        {"grid": (-2, -2, 1)},
    ],
)
def test_what_breaks_the_contract_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(InputError, match="made@1"):
        features(**changed)


def test_a_missing_modality_has_a_width_and_no_tokens() -> None:
    none = Features.none("made@1", Modality.VOICE, 7)
    assert (len(none), none.width, none.is_present) == (0, 7, False)


def test_all_invalid_is_not_present() -> None:
    assert not features(tokens=np.zeros((4, 3), np.float32), valid=np.zeros(4, bool)).is_present


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_pieces_join_to_the_whole(lengths: list[int]) -> None:
    whole = features(sum(lengths), tokens=np.arange(sum(lengths) * 3, dtype=np.float32).reshape(-1, 3))
    ends = np.cumsum(lengths)
    pieces = [
        features(
            b - a,
            tokens=whole.tokens[a:b],
            times_s=whole.times_s[a:b],
            grid=(b - a, 1, 1),
        )
        for a, b in zip([0, *ends], ends, strict=False)
    ]
    joined = join(pieces)
    assert np.array_equal(joined.tokens, whole.tokens)
    assert np.array_equal(joined.times_s, whole.times_s)
    assert joined.grid == (sum(lengths), 1, 1)


def test_pieces_of_two_encoders_do_not_join() -> None:
    with pytest.raises(InputError, match="different kinds"):
        join([features(), features(start_s=4.0, encoder="other@1")])
    with pytest.raises(InputError, match="no features"):
        join([])
