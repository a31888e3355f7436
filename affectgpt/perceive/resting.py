"""What this person's face looks like at rest, from the quiet frames of the track itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.geometry import FaceTable, Floats
from affectgpt.records import BaselineKind

__all__ = ["Rest", "find_rest"]

QUIET_S: Final = 3.0
"""Quiet time needed before a person is compared with themself. Most expressions of felt emotion last 0.5 to 4 s (Ekman
2003), so that three quiet seconds are hardly one held expression."""
QUIET_INTENSITY: Final = 1.5
"""A frame is quiet while no telling unit reaches this against other people: where class B begins."""
TELLING: Final = 0.7
"""Units with at least this AUC have a say in whether a frame is quiet; the others would be noise in it."""
ARTICULATED: Final = frozenset({25, 26})
"""Lips parted and jaw dropped say that somebody speaks, not that somebody feels: they do not make a frame unquiet."""
CALMEST: Final = 0.5
"""Rest is measured in this share of the quiet frames, the ones with the least activity of all units, lips and jaw
included: the pauses of a talker."""
LEAST_SPREAD: Final = 0.05
"""Floor of an own spread, in activations: the jitter of landmarks on a still face at 12.5 Hz is about this large."""


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """A baseline: resting measures (M,), the spread (A,) of activations around it, and whose rest it is."""

    measures: Floats
    spread: Floats
    kind: BaselineKind


def find_rest(measures: Floats, step_s: float, table: FaceTable) -> Rest:
    """The person's own rest where at least 3 s of quiet frames were seen, else other people's.

    `measures` (T, M) are those of the frames in which the face is usable, `step_s` the time one frame stands for.

    A frame is quiet when no telling unit reaches class B against other people. So a clip that smiles throughout has no
    quiet frames, keeps other people's rest, and still shows its smile; while a face that merely differs from others by
    less than that has its own look subtracted. Between the two no video can tell: a difference beyond class B is
    counted as expression. Rest is the median of each measure over the calmest half of the quiet frames.
    """
    population = Rest(table.rest, table.spread, "population")
    if len(measures) == 0:
        return population
    activity = table.intensity(table.activation(measures, table.rest), table.spread)
    judge = (table.auc >= TELLING) & np.array([u not in ARTICULATED for u in table.units])
    quiet = np.flatnonzero((activity[:, judge] < QUIET_INTENSITY).all(axis=1))
    if len(quiet) * step_s < QUIET_S:
        return population
    n_calm = max(1, round(CALMEST * len(quiet)))
    calmest = quiet[np.argsort(activity[quiet].sum(axis=1), kind="stable")[:n_calm]]
    rest = np.median(measures[calmest], axis=0)
    return Rest(rest, _own_spread(table.activation(measures[calmest], rest), table.spread), "own")


def _own_spread(activation: Floats, most: NDArray[np.float64]) -> Floats:
    deviation = 1.4826 * np.median(np.abs(activation - np.median(activation, axis=0)), axis=0)
    return np.asarray(np.clip(deviation, LEAST_SPREAD, most))
