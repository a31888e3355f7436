"""Figures over pairs of neighbours: how much affect changes in one step, and how much of it stays.

Every function takes the values before and after, (…, P) each, and gives a figure for each row. Formulas and sources
stand in data/affect_metrics.toml.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np

from affectgpt.trends.levels import correlation
from affectgpt.trends.series import Floats, Ints, Series

__all__ = ["ACUTE_SHARE", "N_PATTERNS", "PAIRS", "acute_change", "order_patterns", "pattern_entropy"]

ACUTE_SHARE = 0.9
"""A change is acute beyond this quantile of the changes of everybody in the run (Trull et al. 2008)."""

_ORDER = 3
N_PATTERNS = 6
"""Orders in which three values can stand, 3!."""


def mssd(before: Floats, after: Floats) -> Floats:
    """Mean square of successive differences."""
    return np.asarray(np.mean((after - before) ** 2, axis=-1))


def von_neumann(before: Floats, after: Floats) -> Floats:
    """MSSD by the variance of the same values: about 2 for noise, less where affect lingers; NaN for a constant."""
    both = np.concatenate([before, after], axis=-1)
    variance = np.var(both, axis=-1)
    return np.asarray(mssd(before, after) / np.where(variance > 1e-15, variance, np.nan))


def inertia_corrected(before: Floats, after: Floats) -> Floats:
    """Inertia without the bias that a short series has, in [-1, 1]."""
    n = before.shape[-1]
    if n <= 3:  # what stands below the line would be nothing, or turn the sign
        return np.full(before.shape[:-1], np.nan)
    return np.asarray(np.clip((n * correlation(before, after) + 1) / (n - 3), -1, 1))


def acute_change(threshold: float) -> Callable[[Floats, Floats], Floats]:
    """The share of pairs that change by `threshold` or more; NaN where there is no threshold (NaN)."""

    def share(before: Floats, after: Floats) -> Floats:
        told = np.mean(np.abs(after - before) >= threshold, axis=-1)
        return np.asarray(np.where(np.isnan(threshold), np.nan, told))

    return share


PAIRS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "mssd": mssd,
    "rmssd": lambda before, after: np.sqrt(mssd(before, after)),
    "masd": lambda before, after: np.mean(np.abs(after - before), axis=-1),
    "von_neumann": von_neumann,
    "inertia": correlation,
    "inertia_corrected": inertia_corrected,
}
"""Metric -> values before and after (…, P) -> figure (…)."""


def order_patterns(series: Series) -> Ints:
    """The order in which each three neighbours stand, as its number in 0 .. 5; equal values count as rising."""
    here = series.pairs
    starts = here[:-1][np.diff(here) == 1] if len(here) > 1 else here[:0]
    if not len(starts):
        return np.empty(0, np.intp)
    triples = series.values[starts[:, None] + np.arange(_ORDER)]
    ranks = np.argsort(triples, axis=1, kind="stable")
    codes = {order: code for code, order in enumerate(permutations(range(_ORDER)))}
    return np.array([codes[tuple(rank)] for rank in ranks.tolist()], np.intp)


def pattern_entropy(counts: Floats) -> Floats:
    """Entropy of the patterns counted in (…, 6), as a share of the largest, log 6."""
    share = counts / np.sum(counts, axis=-1, keepdims=True)
    logs = np.log(np.where(share > 0, share, 1.0))
    return np.asarray(-np.sum(share * logs, axis=-1) / np.log(N_PATTERNS))
