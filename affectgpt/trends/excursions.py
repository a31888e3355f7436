"""Leaving home and coming back: stretches in which affect is further from its mean than one standard deviation.

The measures are those of Utterance Emotion Dynamics (Hipson & Mohammad 2021, PLoS ONE 16, e0256153): how long an
excursion lasts, how far from home it peaks, how fast it gets there and how fast it recovers.
Home reaching one standard deviation to either side is this project's choice: how often affect leaves it and how far it
gets depend on that width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectgpt.trends.series import Series

__all__ = ["FIGURES", "Excursion", "find_excursions", "hourly_rate"]


@dataclass(frozen=True, slots=True)
class Excursion:
    """One way out and back, seen whole.

    rise_s: from the last point at home to the peak; recovery_s: from the peak to the first point at home again.
    peak: distance of the furthest point from the nearer edge of home, above 0.
    """

    rise_s: float
    recovery_s: float
    peak: float

    @property
    def length_s(self) -> float:
        """From the last point at home to the first one at home again."""
        return self.rise_s + self.recovery_s


FIGURES: dict[str, Callable[[Excursion], float]] = {
    "excursion_length": lambda e: e.length_s,
    "excursion_peak": lambda e: e.peak,
    "rise_rate": lambda e: e.peak / e.rise_s * 3600,
    "recovery_rate": lambda e: e.peak / e.recovery_s * 3600,
}
"""Metric -> what one excursion has of it; the figure is the mean over excursions."""


def find_excursions(series: Series) -> list[Excursion]:
    """The excursions of a series, in order; one that a gap or an end cuts off is left out."""
    if series.n < 3 or np.ptp(series.values) <= 1e-12:
        return []
    beyond = np.abs(series.values - series.values.mean()) - series.values.std(ddof=1)
    found = []
    for start, end in series.stretches:
        for first, last in _runs(beyond[start:end] > 0):
            if first > 0 and last < end - start - 1:
                peak = start + first + int(np.argmax(beyond[start + first : start + last + 1]))
                left_s, back_s = series.times_s[start + first - 1], series.times_s[start + last + 1]
                at_s = series.times_s[peak]
                found.append(Excursion(float(at_s - left_s), float(back_s - at_s), float(beyond[peak])))
    return found


def hourly_rate(n: int, observed_s: float, level: float) -> tuple[float, float, float]:
    """Excursions an hour of what was observed, with the exact interval of a Poisson rate (Garwood 1936)."""
    from scipy.stats import chi2

    hours, tail = observed_s / 3600, (1 - level) / 2
    low = chi2.ppf(tail, 2 * n) / 2 if n else 0.0
    return n / hours, float(low / hours), float(chi2.ppf(1 - tail, 2 * n + 2) / 2 / hours)


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last place of each run of True."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True)
