"""Neighbours, gaps and steps: what a series says of its own sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from affectgpt.errors import OptionError
from affectgpt.trends.series import GAP_STEPS, make_series

times = arrays(np.float64, st.integers(0, 60), elements=st.floats(-1e6, 1e10) | st.just(np.nan))


@given(times, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter_and_none_is_lost_uncounted(at, random) -> None:  # type: ignore[no-untyped-def]
    values = np.arange(len(at), dtype=np.float64)
    order = np.array(random.sample(range(len(at)), len(at)), np.intp)
    one, other = make_series(at, values), make_series(at[order], values[order])
    np.testing.assert_array_equal(one.times_s, other.times_s)
    np.testing.assert_allclose(one.values, other.values)
    assert one.n + one.n_merged + one.n_missing == len(at)
    assert np.all(np.diff(one.times_s) > 0)


@given(times)
def test_pairs_lie_one_step_apart_and_never_across_a_gap(at) -> None:  # type: ignore[no-untyped-def]
    series = make_series(at, np.zeros(len(at)))
    assert not series.gaps[series.pairs].any()
    distances = np.diff(series.times_s)[series.pairs] / series.step_s if series.n > 1 else np.empty(0)
    assert np.all((distances >= 0.5) & (distances <= GAP_STEPS))
    assert sum(end - start for start, end in series.stretches) == series.n
    assert 0 <= series.observed_s <= series.span_s + 1e-6


def test_a_night_is_a_gap_and_no_pair() -> None:
    day = np.arange(9, 18) * 3600.0
    series = make_series(np.concatenate([day, day + 86400]), np.zeros(18))
    assert series.step_s == 3600
    assert len(series.stretches) == 2
    assert len(series.pairs) == 16
    assert series.observed_s == 2 * 8 * 3600


def test_points_of_one_instant_are_averaged_and_points_without_value_left_out() -> None:
    series = make_series(np.array([0.0, 10, 10, 20, 30]), np.array([1.0, 2, 4, np.nan, 5]))
    assert series.values.tolist() == [1, 3, 5]
    assert (series.n_merged, series.n_missing) == (1, 1)


def test_random_sampling_has_no_step_and_a_regular_one_with_holes_has() -> None:
    rng = np.random.default_rng(0)
    assert not make_series(np.cumsum(rng.exponential(60, 2000)), np.zeros(2000)).has_step
    regular = np.arange(2000) * 60.0
    kept = regular[rng.random(2000) > 0.3]
    assert make_series(kept, np.zeros(len(kept))).has_step


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan")])
def test_a_step_is_above_nothing(step_s: float) -> None:
    with pytest.raises(OptionError, match="a step of"):
        make_series(np.arange(3.0), np.zeros(3), step_s)
