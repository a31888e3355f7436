"""Who is who: faces joined into people, numbered in a stable order, one of them chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from affectgpt.perceive.tracking import Box, Sighting, Tracker, choose_subject, follow, overlap

STEP_S = 0.08


def face(x: float, y: float = 100.0, width: float = 80.0, mark: float = 0.0, yaw: float = 0.0) -> Sighting:
    return Sighting(Box(x, y, x + width, y + width * 1.3), (yaw, 0.0, 0.0), np.array([mark]))


def track(frames: list[list[Sighting]]) -> Tracker:
    tracker = Tracker()
    for i, faces in enumerate(frames):
        tracker.add(i, i * STEP_S, faces)
    return tracker


def test_two_people_keep_their_numbers_while_they_move_and_swap_order_in_the_list():
    frames = []
    for i in range(30):
        pair = [face(300 - 2 * i, mark=2, width=60), face(50 + 2 * i, mark=1)]
        frames.append(pair if i % 2 else pair[::-1])
    people = track(frames).people()
    assert len(people) == 2
    assert [{s.values[0] for s in p.sightings} for p in people] == [{1.0}, {2.0}]  # left to right
    assert choose_subject(people, None) == 0
    assert choose_subject(people, 1) == 1


def test_the_subject_is_the_most_prominent_by_size_and_time():
    frames = [[face(50, width=60)] + ([face(300, width=90)] if i >= 5 else []) for i in range(30)]
    assert choose_subject(track(frames).people(), None) == 1
    briefly = [[face(50, width=60)] + ([face(300, width=90)] if i >= 22 else []) for i in range(30)]
    assert choose_subject(track(briefly).people(), None) == 0


def test_a_number_that_nobody_has_is_refused_by_name():
    people = track([[face(50)]] * 10).people()
    with pytest.raises(OptionError, match="no face number 3: 1 person was found"):
        choose_subject(people, 3)
    with pytest.raises(OptionError):
        choose_subject(people, -1)
    assert choose_subject([], 3) == 0


def test_a_short_gap_is_bridged_and_a_newcomer_elsewhere_is_somebody_else():
    frames: list[list[Sighting]] = [[face(50)]] * 10 + [[]] * 10 + [[face(60)]] * 10
    assert len(track(frames).people()) == 1
    frames = [[face(50)]] * 10 + [[]] * 10 + [[face(400)]] * 10
    assert len(track(frames).people()) == 2
    frames = [[face(50)]] * 10 + [[]] * 40 + [[face(110)]] * 10
    assert len(track(frames).people()) == 2


def test_a_false_alarm_is_nobody():
    frames = [[face(50)] + ([face(400)] if i == 7 else []) for i in range(60)]
    assert len(track(frames).people()) == 1
    assert len(track([[face(50)]]).people()) == 1  # but a still has one frame


def test_a_turned_face_is_counted_and_not_read():
    frames = [[face(50, mark=1, yaw=40.0 if i < 4 else 5.0)] for i in range(10)]
    course = follow(track(frames).people()[0], 12, 1)
    assert course.n_turned_away == 4
    assert course.found.tolist() == [False] * 4 + [True] * 6 + [False] * 2
    assert np.isnan(course.values[:4]).all()
    assert np.isfinite(course.pose_deg[:10]).all()
    assert np.isnan(course.pose_deg[10:]).all()


def test_nobody_is_a_course_too():
    course = follow(None, 5, 3)
    assert not course.found.any()
    assert course.values.shape == (5, 3)
    assert course.n_turned_away == 0


sides = st.floats(1, 500)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), st.floats(-500, 500), st.floats(-500, 500), sides, sides)


@given(boxes, boxes)
def test_overlap_is_a_symmetric_share(a, b):
    assert 0 <= overlap(a, b) <= 1 + 1e-9
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert overlap(a, a) == pytest.approx(1.0)


@given(st.lists(st.lists(boxes, max_size=4), max_size=12))
def test_no_face_is_lost_or_counted_twice(frames):
    sightings = [[Sighting(b, (0.0, 0.0, 0.0), np.zeros(1)) for b in row] for row in frames]
    tracker = track(sightings)
    everyone = tracker._people
    assert sum(len(p.frames) for p in everyone) == sum(len(row) for row in frames)
    assert all(len(set(p.frames)) == len(p.frames) for p in everyone)
