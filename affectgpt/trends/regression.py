"""Least squares whose errors may follow one another: coefficients, and an interval for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from affectgpt.trends.resampling import LEVEL, Bounds
from affectgpt.trends.series import Floats

__all__ = ["Fit", "Scale", "fit", "mean_bounds"]

Scale = Literal["plain", "share", "log", "root"]
"""How an interval lies about a mean: as it is; within 0 and 1; by a factor; by a factor about the mean's root."""


_FLAT = 1e-10
"""Smallest singular value, as a share of the largest, of columns that still tell different things."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Coefficients (K,), their covariance (K, K), and the degrees of freedom of the covariance."""

    coefficients: Floats
    covariance: Floats
    n_free: int

    def bounds(self, which: int) -> Bounds:
        """The interval of one coefficient, by Student's t."""
        from scipy.stats import t

        reach = float(t.ppf((1 + LEVEL) / 2, self.n_free)) * float(np.sqrt(self.covariance[which, which]))
        value = float(self.coefficients[which])
        return Bounds(value - reach, value + reach)


def fit(y: Floats, columns: Floats) -> Fit | None:
    """Fit y (n,) by columns (n, K); None where the columns do not tell the coefficients apart, or n is at most K.

    The errors' long-run covariance is the equal-weighted cosine estimate with 0.4 n^(2/3) cosines, which is also the
    degrees of freedom of its t (Lazarus, Lewis, Stock & Watson 2018, J. Bus. Econ. Stat. 36, 541-559): its intervals
    hold better in short series than those of Newey and West.
    """
    from scipy.fft import dct

    n, k = columns.shape
    if n <= k:
        return None
    scale = np.linalg.norm(columns, axis=0)
    if not np.all(scale > 0):
        return None
    singular = np.linalg.svd(columns / scale, compute_uv=False)
    if singular[-1] < _FLAT * singular[0]:
        return None
    bread = np.linalg.inv((columns / scale).T @ (columns / scale)) / np.outer(scale, scale)
    coefficients = bread @ columns.T @ y
    scores = columns * (y - columns @ coefficients)[:, None]
    n_cosines = max(1, min(int(0.4 * n ** (2 / 3)), n - k))
    long_run = dct(scores, axis=0)[1 : n_cosines + 1] / np.sqrt(2 * n)
    meat = n * (long_run.T @ long_run) / n_cosines
    return Fit(coefficients, bread @ meat @ bread, n_cosines)


def mean_bounds(terms: Floats, scale: Scale, value: float) -> Bounds:
    """The interval of `value`, which is the mean of `terms` (n,), or its root, n at least 2.

    What cannot be negative is taken on the scale of its logarithm, where an interval is more nearly even on both sides.
    """
    found = fit(terms, np.ones((len(terms), 1)))
    assert found is not None  # a constant alone can always be told
    ends = found.bounds(0)
    if scale == "plain" or ends.low is None or ends.high is None:
        return ends
    reach, mean = (ends.high - ends.low) / 2, float(terms.mean())
    if reach <= 1e-15:
        return Bounds(reason="every term of it is the same: no interval can be told")
    if scale == "share":
        return Bounds(max(0.0, ends.low), min(1.0, ends.high))
    factor = float(np.exp(reach / mean * (0.5 if scale == "root" else 1.0)))
    return Bounds(value / factor, value * factor)
