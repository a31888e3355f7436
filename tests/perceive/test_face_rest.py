"""Laws of the person's own baseline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.perceive.facemesh import frame_step_s, smooth
from affectgpt.perceive.geometry import load_table
from affectgpt.perceive.resting import find_rest

TABLE = load_table()
STEP_S = 0.08
AT = {u: i for i, u in enumerate(TABLE.units)}
NAMES = {n: i for i, n in enumerate(TABLE.measure_names)}


def still(n: int, seed: int = 0) -> np.ndarray:
    """Measures of a resting average face with the landmarks' jitter."""
    return TABLE.rest + np.random.default_rng(seed).normal(0, 0.001, (n, len(TABLE.rest)))


def smiling(measures: np.ndarray, strength: float) -> np.ndarray:
    """A smile of this activation of unit 12: corners up and out."""
    result = measures.copy()
    result[:, NAMES["corner_rel"]] += 0.06 * strength
    result[:, NAMES["corner_y"]] += 0.08 * strength
    result[:, NAMES["mouth_width"]] += 0.08 * strength
    return result


def read(measures: np.ndarray) -> tuple[str, dict[int, np.ndarray]]:
    rest = find_rest(measures, STEP_S, TABLE)
    levels = TABLE.intensity(TABLE.activation(measures, rest.measures), rest.spread)
    return rest.kind, {u: levels[:, i] for u, i in AT.items()}


@pytest.mark.parametrize("strength", [0.7, 0.9, 1.2])
def test_a_smile_held_throughout_survives(strength):
    kind, levels = read(smiling(still(150), strength))
    assert kind == "population"
    assert np.median(levels[12]) >= 2.5


def test_a_smile_between_quiet_stretches_is_measured_against_them():
    measures = still(125)
    measures[50:75] = smiling(measures[50:75], 0.8)
    kind, levels = read(measures)
    assert kind == "own"
    assert np.median(levels[12][50:75]) >= 3.5
    assert np.median(levels[12][:50]) < 0.3


@pytest.mark.parametrize(("measure", "offset", "unit"), [("inner_brow", 0.03, 1), ("upper_lid", 0.011, 5)])
def test_a_face_that_merely_looks_so_has_its_look_subtracted(measure, offset, unit):
    measures = still(125)
    measures[:, NAMES[measure]] += offset
    stranger = TABLE.intensity(TABLE.activation(measures, TABLE.rest), TABLE.spread)[:, AT[unit]]
    kind, levels = read(measures)
    assert kind == "own"
    assert np.median(stranger) > 0.7
    assert np.median(levels[unit]) < 0.2


@given(st.integers(0, 37))
def test_less_than_three_seconds_is_compared_with_others(n_frames):
    assert find_rest(still(n_frames), STEP_S, TABLE).kind == "population"


def test_three_seconds_are_enough_and_a_still_image_never_is():
    assert find_rest(still(38), STEP_S, TABLE).kind == "own"
    assert find_rest(still(1), frame_step_s(np.zeros(1)), TABLE).kind == "population"


def test_a_talker_rests_between_words():
    measures = still(125)
    speech = np.arange(125) % 5 < 3
    measures[speech, NAMES["lips_gap"]] += 0.12
    kind, levels = read(measures)
    assert kind == "own"
    assert np.median(levels[25][speech]) > 3
    assert np.median(levels[25][~speech]) < 0.5


@given(st.permutations(range(60)))
def test_rest_does_not_depend_on_the_order_of_frames(order):
    measures = still(60)
    a, b = find_rest(measures, STEP_S, TABLE), find_rest(measures[list(order)], STEP_S, TABLE)
    assert a.measures == pytest.approx(b.measures)


def test_smoothing_keeps_steps_and_blinks_and_drops_spikes():
    course = np.zeros((9, 2), np.float32)
    course[4:, 0] = 3.0  # an onset
    course[1, 0] = 5.0  # a spike
    course[6, 1] = 5.0  # a blink
    course[8] = np.nan
    result = smooth(course, (12, 43))
    assert result[:8, 0].tolist() == [0, 0, 0, 0, 3, 3, 3, 3]
    assert result[6, 1] == 5.0
    assert np.isnan(result[8]).all()
    assert smooth(course[:1], (12, 43)).tolist() == course[:1].tolist()
