"""Bootstrap confidence intervals of any figure, alone or as the difference of two runs over the same samples.

A figure is a statistic over sample numbers, so that one resampling serves every metric, and two runs can be resampled
together. The interval is the percentile one (Efron & Tibshirani 1993, ch. 13), drawn by `scipy.stats.bootstrap`; with
`clusters` whole dialogues or speakers are drawn instead of single samples, since samples of one are not independent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Figure", "Resampling", "Statistic", "difference", "interval"]

LEVEL = 0.95
"""Coverage of every interval."""

_MOST_DRAWN = 2_000_000
"""Sample numbers drawn at once: 16 MB, however many samples there are."""

Statistic = Callable[[NDArray[np.intp]], float]
"""Sample numbers (with repeats) -> the figure over them; NaN where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report with its 95 % interval, over `n` samples; `low` and `high` are NaN where it has none."""

    name: str
    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn. `clusters` names each sample's cluster, or is empty: every sample is its own."""

    n_resamples: int = 1000
    seed: int = 0
    clusters: Sequence[str] = ()


def interval(name: str, statistic: Statistic, n: int, how: Resampling, better: bool = True, note: str = "") -> Figure:
    """The figure over samples 0 .. n-1 and its interval. Deterministic in `how.seed`."""
    if n == 0:
        return Figure(name, float("nan"), float("nan"), float("nan"), 0, better, note or "no samples")
    value = float(statistic(np.arange(n)))
    low, high = _bounds(statistic, n, how)
    return Figure(name, value, low, high, n, better, note)


def difference(name: str, a: Statistic, b: Statistic, n: int, how: Resampling) -> tuple[Figure, float]:
    """Run `a` minus run `b` over the same samples, and the two-sided bootstrap p of no difference.

    p is twice the smaller share of resampled differences at or beyond 0, with one added to both counts so that it is
    never 0 (Davison & Hinkley 1997, 4.4.3).
    """
    drawn: list[float] = []

    def both(at: NDArray[np.intp]) -> float:
        drawn.append(float(a(at)) - float(b(at)))
        return drawn[-1]

    figure = interval(name, both, n, how)
    diffs = np.array([d for d in drawn[1:] if np.isfinite(d)])
    if not len(diffs):
        return figure, float("nan")
    tail = min(int((diffs <= 0).sum()), int((diffs >= 0).sum()))
    return figure, min(1.0, 2 * (tail + 1) / (len(diffs) + 1))


def _bounds(statistic: Statistic, n: int, how: Resampling) -> tuple[float, float]:
    from scipy.stats import bootstrap

    members = _members(n, how.clusters)
    if len(members) < 2 or how.n_resamples < 2:
        return float("nan"), float("nan")

    def over(drawn: NDArray[np.float64]) -> float:
        at = np.concatenate([members[int(i)] for i in drawn]) if how.clusters else drawn.astype(np.intp)
        return float(statistic(at))

    with warnings.catch_warnings():
        # A resample may hold one class alone: its NaN is left out below, not warned of a thousand times.
        warnings.simplefilter("ignore")
        result = bootstrap(
            (np.arange(len(members)),),
            over,
            n_resamples=how.n_resamples,
            vectorized=False,
            method="percentile",
            confidence_level=LEVEL,
            batch=max(1, _MOST_DRAWN // len(members)),
            rng=np.random.default_rng(how.seed),
        )
    kept = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    if len(kept) < 2:
        return float("nan"), float("nan")
    edge = 100 * (1 - LEVEL) / 2
    return float(np.percentile(kept, edge)), float(np.percentile(kept, 100 - edge))


def _members(n: int, clusters: Sequence[str]) -> list[NDArray[np.intp]]:
    """The sample numbers of each cluster."""
    if not clusters:
        return [np.array([i]) for i in range(n)]
    names: dict[str, list[int]] = {}
    for i, cluster in enumerate(clusters):
        names.setdefault(cluster, []).append(i)
    return [np.array(at) for at in names.values()]
