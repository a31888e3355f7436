"""The decoder against every course there is, one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.dialogue.decoding import MOST_SPEAKERS, decode, filtered
from affectgpt.dialogue.transitions import Transitions, steps
from affectgpt.errors import InputError

LABELS = ("a", "b", "c")


def drawn(seed: int, n: int) -> tuple[np.ndarray, Transitions]:
    draw = np.random.default_rng(seed)
    readings = draw.dirichlet(np.ones(len(LABELS)), size=n)
    own, other = draw.normal(size=(2, len(LABELS), len(LABELS)))
    return readings, Transitions(LABELS, own, other, inertia=0.8, contagion=0.4)


def score(course: tuple[int, ...], readings: np.ndarray, speakers: list[str], t: Transitions) -> float:
    before = steps(speakers)
    total = 0.0
    for k, label in enumerate(course):
        total += float(np.log(readings[k, label]))
        if before.own[k] >= 0:
            total += t.inertia * t.own[course[before.own[k]], label]
        if before.other[k] >= 0:
            total += t.contagion * t.other[course[before.other[k]], label]
    return total


@given(st.integers(0, 10_000), st.lists(st.sampled_from("xyz"), min_size=1, max_size=6))
def test_the_best_course_and_the_beliefs_are_those_of_all_courses(seed: int, speakers: list[str]) -> None:
    readings, t = drawn(seed, len(speakers))
    courses = list(product(range(len(LABELS)), repeat=len(speakers)))
    scores = np.array([score(c, readings, speakers, t) for c in courses])
    best = decode(readings, speakers, t)
    assert score(tuple(best), readings, speakers, t) == pytest.approx(scores.max())
    weights = np.exp(scores - scores.max())
    last = [weights[[c[-1] == label for c in courses]].sum() / weights.sum() for label in range(len(LABELS))]
    assert filtered(readings, speakers, t)[-1] == pytest.approx(last)


@given(st.integers(0, 10_000), st.lists(st.sampled_from("uvwxyz"), max_size=12))
def test_any_number_of_speakers_gives_a_label_and_a_belief_for_each_line(seed: int, speakers: list[str]) -> None:
    readings, t = drawn(seed, len(speakers))
    assert decode(readings, speakers, t).shape == (len(speakers),)
    beliefs = filtered(readings, speakers, t)
    assert beliefs.shape == readings.shape
    assert beliefs.sum(axis=1) == pytest.approx(np.ones(len(speakers)))


def test_without_weights_the_lines_are_read_alone() -> None:
    readings, t = drawn(3, 5)
    plain = Transitions(LABELS, t.own, t.other, 0.0, 0.0)
    assert list(decode(readings, "xyxyz", plain)) == list(readings.argmax(axis=1))
    assert filtered(readings, "xyxyz", plain) == pytest.approx(readings)


def test_beliefs_do_not_see_what_is_said_later() -> None:
    readings, t = drawn(4, 6)
    assert filtered(readings, "xyxyxy", t)[:3] == pytest.approx(filtered(readings[:3], "xyx", t))


def test_the_longest_silent_is_let_go() -> None:
    names = [f"s{k}" for k in range(MOST_SPEAKERS + 1)]
    readings, t = drawn(5, len(names) + 1)
    assert decode(readings, [*names, names[0]], t).shape == (len(names) + 1,)


def test_a_reading_of_zero_forbids_nothing() -> None:
    readings = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    _, t = drawn(6, 0)
    assert np.isfinite(filtered(readings, "xx", t)).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    readings, t = drawn(7, 2)
    with pytest.raises(InputError, match="3 lines"):
        decode(readings, "xyx", t)
