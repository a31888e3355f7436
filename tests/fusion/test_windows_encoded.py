"""Windows tile a sound, whatever blocks it comes in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import UnreadableMedia
from affectgpt.fusion.windows import RATE_HZ, cut_windows
from affectgpt.records import Waveform


@given(
    st.lists(st.integers(0, 40), max_size=8), st.integers(1, 30), st.integers(0, 12), st.sampled_from([0.0, 0.5, 7.25])
)
def test_cores_tile_the_sound_and_margins_are_its_surroundings(
    lengths: list[int], n_core: int, n_margin: int, start_s: float
) -> None:
    sound = np.arange(1, sum(lengths) + 1, dtype=np.float32)
    ends = np.cumsum([0, *lengths])
    blocks = [Waveform(sound[a:b], RATE_HZ, start_s + a / RATE_HZ) for a, b in pairwise(ends)]
    reached = 0
    for window in cut_windows(blocks, n_core, n_margin):
        low, high = max(window.core_from - n_margin, 0), min(window.core_to + n_margin, len(sound))
        assert window.core_from == reached < window.core_to
        assert window.first == low
        assert np.array_equal(window.samples, sound[low:high])
        assert window.start_s == start_s
        reached = window.core_to
    assert reached == len(sound)


def test_what_is_not_finite_is_silence_and_other_rates_are_refused() -> None:
    (window,) = cut_windows([Waveform(np.array([np.nan, np.inf, 1], np.float32), RATE_HZ, 0.0)], 8, 0)
    assert window.samples.tolist() == [0.0, 0.0, 1.0]
    for bad in (Waveform(np.zeros((2, 2), np.float32), RATE_HZ, 0.0), Waveform(np.zeros(4, np.float32), 8000, 0.0)):
        with pytest.raises(UnreadableMedia, match="sound block"):
            list(cut_windows([bad], 8, 0))
