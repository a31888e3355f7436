"""A face track told as observations: laws of events, words, times and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.records import FaceTrack, Interval
from affectgpt.textualize.face import tell, tell_missing

UNITS = (4, 12, 25, 43)


def track(
    courses: dict[int, list[float]], *, rate_hz: float = 10.0, own: bool = True, reliability: float = 0.9
) -> FaceTrack:
    n = len(next(iter(courses.values())))
    units = np.zeros((n, len(UNITS)), np.float32)
    for unit, course in courses.items():
        units[:, UNITS.index(unit)] = course
    return FaceTrack(
        times_s=np.arange(n) / rate_hz,
        action_units=units,
        units=UNITS,
        found=~np.isnan(units).any(axis=1),
        pose_deg=np.zeros((n, 3), np.float32),
        width_px=np.full(n, 100, np.float32),
        baseline=np.full(len(UNITS), 0.3, np.float32),
        baseline_kind="own" if own else "population",
        reliability=np.full(len(UNITS), reliability, np.float32),
        reader="test",
    )


def test_an_event_is_told_with_its_name_class_times_and_baseline() -> None:
    (o,) = tell(track({12: [0.0] * 6 + [2.9] * 19 + [0.0] * 5}))
    assert o.cue == "AU12"
    assert o.level == "C"
    assert (o.start_s, o.end_s, o.value) == (0.6, 2.4, 2.9)
    assert o.text == (
        "lip corner puller (AU12) marked, 2.9 of 5, 0.6–2.4 s, over this person's neutral 0.3, confidence 0.90"
    )


def test_a_population_baseline_is_named_and_has_no_number() -> None:
    (o,) = tell(track({12: [2.0] * 10}, own=False))
    assert "over the population's neutral" in o.text
    assert o.baseline is None


@pytest.mark.parametrize(
    ("value", "letter"), [(0.7, "A"), (1.4, "A"), (1.5, "B"), (2.5, "C"), (3.5, "D"), (4.5, "E"), (5.0, "E")]
)
def test_intensity_classes_begin_half_way_to_their_number(value: float, letter: str) -> None:
    (o,) = tell(track({12: [value] * 10}))
    assert o.level == letter


def test_below_a_trace_nothing_is_told() -> None:
    assert tell(track({12: [0.6] * 10})) == []


def test_a_blink_is_not_eyes_closed_and_a_longer_closure_is() -> None:
    assert tell(track({43: [0.0] * 5 + [4.0] * 3 + [0.0] * 5})) == []
    assert [o.cue for o in tell(track({43: [0.0] * 5 + [4.0] * 6 + [0.0] * 5}))] == ["AU43"]


def test_a_single_noisy_frame_is_no_event() -> None:
    assert tell(track({4: [0.0] * 5 + [4.0] + [0.0] * 5})) == []


def test_a_short_gap_is_bridged_and_a_long_one_makes_two_events() -> None:
    (bridged,) = tell(track({12: [2.0] * 5 + [0.0] + [2.0] * 5}))
    assert (bridged.start_s, bridged.end_s) == (0.0, 1.0)
    (two,) = tell(track({12: [2.0] * 5 + [0.0] * 10 + [3.0] * 8}))
    assert two.start_s == 1.5
    assert "2 times" in two.text


def test_a_mouth_unit_is_believed_less_while_speaking_and_others_as_before() -> None:
    both = track({4: [3.0] * 20, 25: [3.0] * 20})
    silent = {o.cue: o.confidence for o in tell(both)}
    spoken = {o.cue: o.confidence for o in tell(both, [Interval(0.0, 5.0)])}
    assert spoken["AU25"] < silent["AU25"]
    assert spoken["AU4"] == silent["AU4"]


def test_the_most_telling_comes_first() -> None:
    told = tell(track({4: [1.0] * 20, 12: [4.0] * 20}))
    assert [o.cue for o in told] == ["AU12", "AU4"]


def test_a_still_has_no_times() -> None:
    (o,) = tell(track({12: [3.0]}))
    assert o.start_s is None
    assert " s," not in o.text


def test_what_was_not_seen_is_told() -> None:
    gone = track({12: [np.nan] * 10})
    assert [o.cue for o in tell_missing(gone)] == ["missing_face"]
    assert tell(gone) == []
    part = track({12: [np.nan] * 6 + [2.0] * 4})
    (o,) = tell_missing(part)
    assert o.text == "no face in 60 % of frames"
    assert tell_missing(track({12: [2.0] * 10})) == []


@given(st.lists(st.floats(0, 5) | st.just(float("nan")), min_size=1, max_size=80))
def test_any_course_gives_sound_observations(course: list[float]) -> None:
    for o in tell(track({12: course})):
        assert 0 <= o.confidence <= 1
        assert 0 <= (o.value or 0) <= 5
        assert o.start_s is None or 0 <= o.start_s <= (o.end_s or 0) <= len(course) / 10 + 0.1
