"""Labels of a dialogue's lines from their readings and the transitions: the best course, and the last line's beliefs.

A line depends on its speaker's own line before it and on the last line of somebody else, which is no chain. What later
lines need of the past is the last label of each speaker: over those jointly the sums and maxima are exact, (K,) * S
numbers for S speakers. Past MOST_SPEAKERS the one who has been silent longest is let go; where they speak again, they
begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.dialogue.transitions import Transitions
from affectgpt.errors import InputError

__all__ = ["MOST_SPEAKERS", "decode", "filtered"]

Double = NDArray[np.float64]
Ints = NDArray[np.intp]

MOST_SPEAKERS = 3
"""Speakers whose last labels are held jointly: 343 numbers with seven labels, a few microseconds a line."""
_LEAST = 1e-12
"""A probability of zero would forbid a label for good, on one reading."""


class _Course:
    """The joint scores (K,) * S of the active speakers' last labels, the longest silent first in `active`."""

    def __init__(self, transitions: Transitions, reduce: Callable[[Double, int], Double]) -> None:
        self.active: list[str] = []
        self.scores: Double = np.zeros(())
        self._own = transitions.inertia * transitions.own
        self._other = transitions.contagion * transitions.other
        self._reduce = reduce
        self._n = len(transitions.labels)
        self.trace: list[tuple[str, int, Ints | None, tuple[int, Ints] | None]] = []

    def push(self, speaker: str, emission: Double) -> None:
        """One line more: log probabilities (K,) of its labels by itself."""
        let_go = None
        if speaker not in self.active and len(self.active) == MOST_SPEAKERS:
            let_go = (0, self.scores.argmax(axis=0))
            self.scores = self._reduce(self.scores, 0)
            del self.active[0]
        # By adjacency the other is whoever spoke last, where that was not the speaker, else the last but one.
        other = next((k for k in reversed(range(len(self.active))) if self.active[k] != speaker), None)
        came: Ints | None = None
        if speaker in self.active:
            at = self.active.index(speaker)
            moved = np.moveaxis(self.scores, at, -1)[..., :, None] + self._own
            came = moved.argmax(axis=-2)
            scores = self._reduce(moved, -2)
            del self.active[at]
            if other is not None and other > at:
                other -= 1
        else:
            at = -1
            scores = np.repeat(self.scores[..., None], self._n, axis=-1)
        if other is not None:
            shape = [1] * scores.ndim
            shape[other] = shape[-1] = self._n
            scores = scores + self._other.reshape(shape)
        self.scores = scores + emission
        self.active.append(speaker)
        self.trace.append((speaker, at, came, let_go))


def decode(readings: Double, speakers: Sequence[str], transitions: Transitions) -> Ints:
    """The best course (T,) of label numbers by Viterbi: readings (T, K) are probabilities, a row a line.

    Raises:
        InputError: shapes that do not fit each other.
    """
    emissions = _emissions(readings, speakers, transitions)
    course = _Course(transitions, lambda scores, axis: scores.max(axis=axis))
    for speaker, emission in zip(speakers, emissions, strict=True):
        course.push(speaker, emission)
    labels = np.zeros(len(speakers), np.intp)
    if not len(speakers):
        return labels
    cell = [int(at) for at in np.unravel_index(int(course.scores.argmax()), course.scores.shape)]
    for t in reversed(range(len(speakers))):
        _, at, came, let_go = course.trace[t]
        labels[t] = cell[-1]
        if came is None:
            cell = cell[:-1]
        else:
            before = int(came[tuple(cell)])
            rest = cell[:-1]
            cell = [*rest[:at], before, *rest[at:]]
        if let_go is not None:
            place, lost = let_go
            cell.insert(place, int(lost[tuple(cell)]))
    return labels


def filtered(readings: Double, speakers: Sequence[str], transitions: Transitions) -> Double:
    """What each line's label is believed to be from that line and those before it alone: (T, K), rows sum to 1.

    Raises:
        InputError: shapes that do not fit each other.
    """
    emissions = _emissions(readings, speakers, transitions)
    course = _Course(transitions, _log_sum)
    beliefs = np.zeros_like(emissions)
    for t, (speaker, emission) in enumerate(zip(speakers, emissions, strict=True)):
        course.push(speaker, emission)
        course.scores -= course.scores.max()
        joint = np.exp(course.scores)
        beliefs[t] = joint.reshape(-1, joint.shape[-1]).sum(axis=0) / joint.sum()
    return beliefs


def _emissions(readings: Double, speakers: Sequence[str], transitions: Transitions) -> Double:
    rows = np.asarray(readings, np.float64)
    if rows.shape != (len(speakers), len(transitions.labels)):
        what = f"readings of shape {rows.shape} for {len(speakers)} lines and {len(transitions.labels)} labels"
        raise InputError(what, "give a row of probabilities a line")
    return np.asarray(np.log(np.maximum(rows, _LEAST)))


def _log_sum(scores: Double, axis: int) -> Double:
    top = scores.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(scores - top).sum(axis=axis)) + np.squeeze(top, axis))
