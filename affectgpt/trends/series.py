"""One course of affect over time: its points in order, which of them are neighbours, and where the gaps are.

Affect is rarely sampled like sound. A series keeps the times that it was read at, and says what follows from them: the
usual step, the pairs of points that lie one step apart, and the stretches between gaps. Whatever compares a point with
the next one takes those pairs alone, so that no night between two days passes for a change of mood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError

__all__ = ["GAP_STEPS", "LEAST_REGULAR", "Floats", "Ints", "Series", "make_series"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

GAP_STEPS = 1.5
"""Points further apart than this many steps are no neighbours, nor are those nearer than half a step: a pair counts
where its distance rounds to one step. A rule of this project."""

LEAST_REGULAR = 0.5
"""Where fewer of the successive points than this share lie one step apart there is no step to speak of, and what is
defined by one is not given. A rule of this project: random (Poisson) sampling reaches about a third."""


@dataclass(frozen=True, eq=False)
class Series:
    """Points of one channel in order of time.

    times_s: (T,) float64, strictly increasing; seconds since 1970 (UTC) or since a start.
    values: (T,) float64, finite.
    step_s: the usual distance of successive points; NaN for fewer than two.
    offsets_s: (T,) what to add for the local wall clock, or None where the times are no dates.
    n_missing, n_merged: points left out for want of a value, and points of one instant that were averaged into another.
    """

    times_s: Floats
    values: Floats
    step_s: float
    offsets_s: Floats | None = None
    n_missing: int = 0
    n_merged: int = 0

    @property
    def n(self) -> int:
        """Number of points, T."""
        return len(self.times_s)

    @property
    def span_s(self) -> float:
        """Seconds from the first point to the last."""
        return float(self.times_s[-1] - self.times_s[0]) if self.n else 0.0

    @cached_property
    def gaps(self) -> NDArray[np.bool_]:
        """(T-1,) whether the next point is too far away to be a neighbour."""
        return np.diff(self.times_s) > GAP_STEPS * self.step_s

    @cached_property
    def pairs(self) -> Ints:
        """(P,) the points whose next one lies one step later."""
        steps = np.diff(self.times_s) / self.step_s if self.n > 1 else np.empty(0)
        return np.flatnonzero((steps >= 2 - GAP_STEPS) & (steps <= GAP_STEPS))

    @property
    def regular_share(self) -> float:
        """Share of successive points that lie one step apart; gaps count against it."""
        return len(self.pairs) / (self.n - 1) if self.n > 1 else 0.0

    @property
    def has_step(self) -> bool:
        """Whether what is defined by one step can be told of it at all."""
        return self.regular_share >= LEAST_REGULAR

    @cached_property
    def stretches(self) -> list[tuple[int, int]]:
        """First and one-past-last point of each stretch without a gap."""
        if not self.n:
            return []
        cuts = np.flatnonzero(self.gaps) + 1
        return list(zip([0, *cuts.tolist()], [*cuts.tolist(), self.n], strict=True))

    @property
    def observed_s(self) -> float:
        """Seconds inside stretches: the span without its gaps."""
        return float(sum(self.times_s[end - 1] - self.times_s[start] for start, end in self.stretches))


def make_series(
    times_s: Floats, values: Floats, step_s: float | None = None, offsets_s: Floats | None = None
) -> Series:
    """A series from points in any order: those without a time or value are left out, those of one instant averaged.

    `step_s` is the distance that counts as one step; None takes the median one.

    Raises:
        OptionError: a step that is not above 0.
    """
    if step_s is not None and not step_s > 0:
        raise OptionError(f"a step of {step_s:g} s", "give seconds above 0")
    known = np.isfinite(times_s) & np.isfinite(values)
    at, first, which = np.unique(times_s[known], return_index=True, return_inverse=True)
    counts = np.bincount(which, minlength=len(at))
    mean = np.bincount(which, weights=values[known], minlength=len(at)) / np.maximum(counts, 1)
    usual = float(np.median(np.diff(at))) if len(at) > 1 else float("nan")
    return Series(
        times_s=at,
        values=mean,
        step_s=usual if step_s is None else step_s,
        offsets_s=None if offsets_s is None else offsets_s[known][first],
        n_missing=int((~known).sum()),
        n_merged=int(known.sum()) - len(at),
    )
