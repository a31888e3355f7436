"""Affect as a few states: how often each is visited, how one follows another, and how long it lasts.

Valence falls into negative, neutral and positive; labels are states as they come. Counts (…, K) or (…, K, K) of all
resamples go in, one figure each comes out. Formulas and sources stand in data/affect_metrics.toml.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from affectgpt.trends.series import Floats, Ints, Series

__all__ = [
    "NEGATIVE", "NEUTRAL", "POSITIVE", "SHARES", "STATES", "TRANSITIONS",
    "Dwell", "count", "dwells", "emodiversity", "valence_states",
]  # fmt: skip

NEGATIVE, NEUTRAL, POSITIVE = STATES = (0, 1, 2)


def valence_states(values: Floats, neutral: float) -> Ints:
    """(T,) the state of each point: neutral within `neutral` of 0, ends included."""
    return np.where(values < -neutral, NEGATIVE, np.where(values > neutral, POSITIVE, NEUTRAL)).astype(np.intp)


def count(codes: Ints, n_states: int) -> Floats:
    """How often each code 0 .. n_states-1 stands in each row of (…, n): (…, n_states)."""
    rows = codes.reshape(-1, codes.shape[-1])
    offset = np.arange(len(rows))[:, None] * n_states
    counted = np.bincount((rows + offset).ravel(), minlength=len(rows) * n_states)
    return counted.reshape(*codes.shape[:-1], n_states).astype(np.float64)


def emodiversity(counts: Floats) -> Floats:
    """Shannon entropy of the states' shares in nats, Miller's correction added, at most log K; counts (…, K)."""
    n = np.sum(counts, axis=-1, keepdims=True)
    share = counts / n
    plain = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1)
    return np.asarray(np.minimum(plain + (np.sum(counts > 0, axis=-1) - 1) / (2 * n[..., 0]), _most(counts)))


def transition_entropy(counts: Floats) -> Floats:
    """Entropy of the next state given this one, as a share of the largest, log K, Miller's correction added.

    counts (…, K, K), from row to column.
    """
    left = np.sum(counts, axis=-1, keepdims=True)
    chance = counts / np.where(left > 0, left, 1.0)
    each = -np.sum(chance * np.log(np.where(chance > 0, chance, 1.0)), axis=-1)
    n = np.sum(left, axis=(-1, -2))
    weight = left[..., 0] / n[..., None]
    free = np.sum(np.clip(np.sum(counts > 0, axis=-1) - 1, 0, None), axis=-1)
    return np.asarray(np.minimum((np.sum(weight * each, axis=-1) + free / (2 * n)) / _most(counts), 1.0))


def _most(counts: Floats) -> float:
    return float(np.log(counts.shape[-1]))


def switching(counts: Floats) -> Floats:
    """Share of pairs whose two states differ."""
    return np.asarray(1 - np.trace(counts, axis1=-2, axis2=-1) / np.sum(counts, axis=(-2, -1)))


def negative_persistence(counts: Floats) -> Floats:
    """Chance that the point after a negative one is negative; NaN where none is."""
    left = np.sum(counts[..., NEGATIVE, :], axis=-1)
    return np.asarray(counts[..., NEGATIVE, NEGATIVE] / np.where(left > 0, left, np.nan))


def positive_negative_ratio(counts: Floats) -> Floats:
    """Positive points a negative one; NaN where none is negative."""
    return np.asarray(counts[..., POSITIVE] / np.where(counts[..., NEGATIVE] > 0, counts[..., NEGATIVE], np.nan))


def _share(state: int) -> Callable[[Floats], Floats]:
    return lambda counts: counts[..., state] / np.sum(counts, axis=-1)


SHARES: dict[str, Callable[[Floats], Floats]] = {
    "share_positive": _share(POSITIVE),
    "share_negative": _share(NEGATIVE),
    "positive_negative_ratio": positive_negative_ratio,
}
"""Metric -> counts of valence states (…, 3) -> figure (…)."""

TRANSITIONS: dict[str, Callable[[Floats], Floats]] = {
    "transition_entropy": transition_entropy,
    "predictability": lambda counts: 1 - transition_entropy(counts),
    "switching": switching,
    "negative_persistence": negative_persistence,
}
"""Metric -> counts of transitions (…, K, K) -> figure (…)."""


@dataclass(frozen=True, slots=True)
class Dwell:
    """How long visits to one state last: seconds spent in it, and how many visits were seen to end."""

    spent_s: float
    n_ended: int

    @property
    def mean_s(self) -> float:
        """Seconds a visit, NaN where none was seen to end."""
        return self.spent_s / self.n_ended if self.n_ended else float("nan")

    def bounds(self, level: float) -> tuple[float, float]:
        """The exact interval for visits of exponential length (Epstein & Sobel 1953; time-censored: Cox 1953)."""
        from scipy.stats import chi2

        tail, twice = (1 - level) / 2, 2 * self.spent_s
        return float(twice / chi2.ppf(1 - tail, 2 * self.n_ended + 2)), float(twice / chi2.ppf(tail, 2 * self.n_ended))


def dwells(series: Series, codes: Ints, n_states: int) -> list[Dwell]:
    """One `Dwell` a state. A visit lasts from its first point to the first point of the next state.

    One that a gap or the end cuts off adds the time that was seen of it and no ending, so that long visits are not
    taken for short ones.
    """
    inside = ~series.gaps
    steps = np.diff(series.times_s)[inside]
    from_, to = codes[:-1][inside], codes[1:][inside]
    spent = np.bincount(from_, weights=steps, minlength=n_states)
    ended = np.bincount(from_[from_ != to], minlength=n_states)
    return [Dwell(float(s), int(e)) for s, e in zip(spent, ended, strict=True)]
