"""Laws of the geometry: each unit moves its own way, and nothing but the face's shape counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from affectgpt.perceive.geometry import REST_PITCH_DEG, _reference, align, load_table

TABLE = load_table()
REFERENCE = _reference()

UP, DOWN, OUT, IN = "up", "down", "out", "in"
INNER_BROW, OUTER_BROW = [107, 336, 66, 296, 55, 285], [70, 300, 63, 293, 46, 276]
UPPER_LID, LOWER_LID = [159, 386, 158, 385, 160, 387], [145, 374, 153, 380, 144, 373]
# What FACS says the skin does, as (points, direction, distance at full strength in eye-corner distances).
MOVES = {
    1: [(INNER_BROW, UP, 0.08)],
    2: [(OUTER_BROW, UP, 0.08)],
    4: [([55, 285, 107, 336], IN, 0.03), (INNER_BROW, DOWN, 0.05)],
    5: [(UPPER_LID, UP, 0.04)],
    6: [([50, 280, 205, 425, 36, 266], UP, 0.07), (LOWER_LID, UP, 0.02)],
    7: [(LOWER_LID, UP, 0.03)],
    9: [([98, 327, 64, 294, 48, 278], UP, 0.06)],
    10: [([39, 269, 40, 270], UP, 0.09)],
    12: [([61, 291], UP, 0.08), ([61, 291], OUT, 0.04)],
    14: [([61], UP, 0.06)],
    15: [([61, 291], DOWN, 0.06)],
    17: [([199], UP, 0.06), ([17, 84, 314], UP, 0.04)],
    20: [([61, 291], OUT, 0.06)],
    23: [([0, 37, 267], DOWN, 0.03), ([17, 84, 314], UP, 0.03)],
    24: [([0, 37, 267], DOWN, 0.03), ([17, 84, 314], UP, 0.03)],
    25: [([14, 17, 84, 314, 87, 317], DOWN, 0.1)],
    26: [([152], DOWN, 0.15)],
    43: [(UPPER_LID, DOWN, 0.088)],
}


def moved(unit: int, strength: float) -> np.ndarray:
    """The reference face with one unit at this strength, 0 to 1."""
    mesh = REFERENCE.copy()
    for points, way, distance in MOVES[unit]:
        step = strength * distance
        if way in (UP, DOWN):
            mesh[points, 1] += step if way == UP else -step
        else:
            sides = np.sign(mesh[points, 0])
            mesh[points, 0] += sides * (step if way == OUT else -step)
    return mesh


def activation(mesh: np.ndarray) -> dict[int, float]:
    rest = TABLE.measure(REFERENCE)
    return dict(zip(TABLE.units, TABLE.activation(TABLE.measure(mesh)[None], rest)[0], strict=True))


def test_the_table_knows_the_eighteen_units():
    assert TABLE.units == (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 43)
    assert set(MOVES) == set(TABLE.units)


@pytest.mark.parametrize("unit", TABLE.units)
def test_a_unit_grows_with_its_movement(unit):
    course = [activation(moved(unit, s))[unit] for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert course[0] == pytest.approx(0.0, abs=1e-9)
    assert all(a < b for a, b in pairwise(course)), course
    assert course[-1] > 0.5


@pytest.mark.parametrize("unit", [1, 2, 4, 5, 9, 12, 15, 25, 26, 43])
def test_the_opposite_movement_does_not_raise_it(unit):
    assert activation(moved(unit, -0.5))[unit] <= 1e-9


@pytest.mark.parametrize(("unit", "rival"), [(1, 15), (2, 1), (12, 15), (15, 12), (26, 12), (5, 7), (25, 24), (43, 7)])
def test_a_movement_leaves_its_rival_alone(unit, rival):
    assert activation(moved(unit, 0.8))[rival] <= 1e-9


def test_brows_raised_and_drawn_together_are_both_units():
    mesh = moved(1, 0.8)
    mesh[[55, 107], 0] += 0.02
    mesh[[285, 336], 0] -= 0.02
    now = activation(mesh)
    assert now[1] > 0.5
    assert now[4] > 0.3


def test_a_closed_mouth_is_not_pressed():
    mesh = REFERENCE.copy()
    mesh[14, 1] = mesh[13, 1]
    assert activation(mesh)[24] <= 0.1


angles = st.floats(-20, 20)


@given(yaw=angles, pitch=angles, roll=angles, scale=st.floats(20, 500), shift=st.tuples(*[st.floats(-1000, 1000)] * 3))
def test_measures_ignore_where_the_head_is(yaw, pitch, roll, scale, shift):
    face = moved(12, 0.7)
    turned = face @ Rotation.from_euler("YXZ", [yaw, -pitch, -roll], degrees=True).as_matrix().T * scale + shift
    mesh, pose = align(turned)
    # 12 moves no point of the alignment, so the fit is exact.
    assert TABLE.measure(mesh) == pytest.approx(TABLE.measure(face), abs=1e-6)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((yaw, pitch, roll), abs=1e-4)


def test_pose_signs_are_the_viewers():
    nose, chin = 1, 152
    for euler, name in (([15, 0, 0], "yaw"), ([0, -15, 0], "pitch"), ([0, 0, -15], "roll")):
        face = REFERENCE @ Rotation.from_euler("YXZ", euler, degrees=True).as_matrix().T
        assert getattr(align(face)[1], name) == pytest.approx(15, abs=1e-6)
        offset = face[nose] - face[[33, 263]].mean(axis=0)
        still = REFERENCE[nose] - REFERENCE[[33, 263]].mean(axis=0)
        if name == "yaw":
            assert offset[0] > still[0] + 0.05  # the nose points to the picture's right
        elif name == "pitch":
            assert offset[1] > still[1] + 0.05  # and up
        else:
            assert face[chin, 0] < REFERENCE[chin, 0] - 0.05  # clockwise, the chin swings left


def test_degenerate_points_do_not_crash():
    mesh, pose = align(np.zeros((478, 3)))
    assert np.isfinite(TABLE.measure(mesh)).all()
    assert np.isfinite([pose.yaw, pose.pitch, pose.roll]).all()


def test_pitch_moves_heights_only_by_the_table():
    level, raised = TABLE.measure(REFERENCE, REST_PITCH_DEG), TABLE.measure(REFERENCE, REST_PITCH_DEG + 10)
    changed = {n for n, a, b in zip(TABLE.measure_names, level, raised, strict=True) if a != b}
    assert "jaw" in changed
    assert not changed & {"eye_open", "lips_gap", "mouth_width", "lip_thickness", "corner_tilt", "brow_gap"}


finite = st.floats(-3, 3)


@given(a=finite, b=finite, spread=st.floats(0.01, 1.0))
def test_intensity_keeps_order_and_range(a, b, spread):
    spreads = np.full(len(TABLE.units), spread)
    low, high = (TABLE.intensity(np.full((1, len(TABLE.units)), x), spreads) for x in sorted((a, b)))
    assert (low <= high + 1e-12).all()
    assert (low >= 0).all()
    assert (high <= 5).all()


def test_what_identity_alone_would_give_is_discounted():
    at_spread = TABLE.intensity(TABLE.spread[None], TABLE.spread)
    assert at_spread == pytest.approx(np.minimum(5 * TABLE.spread[None] / 2, 5))
    assert TABLE.intensity(np.full((1, 18), 10.0), TABLE.spread) == pytest.approx(5.0)
    assert (TABLE.intensity(-np.ones((1, 18)), TABLE.spread) == 0).all()


def test_weak_units_say_so():
    own, others = TABLE.reliability("own"), TABLE.reliability("population")
    at = {u: i for i, u in enumerate(TABLE.units)}
    assert (others <= own).all()
    assert ((own >= 0) & (own <= 1)).all()
    weak, strong = [at[u] for u in (9, 10, 17, 20, 23, 24)], [at[u] for u in (2, 5, 7, 12, 15)]
    assert own[weak].max() < own[strong].min()
    assert own[weak].max() < 0.4
