"""Least squares whose errors may follow one another: coefficients, and their covariance after Newey and West."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectgpt.trends.resampling import LEVEL, Bounds
from affectgpt.trends.series import Floats

__all__ = ["Fit", "fit"]

_FLAT = 1e-10
"""Smallest singular value, as a share of the largest, of columns that still tell different things."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Coefficients (K,), their covariance (K, K), and the degrees of freedom that are left."""

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

    Covariance after Newey & West (1987, Econometrica 55, 703-708), with their Bartlett weights, the lag
    4 (n/100)^(2/9) of Newey & West (1994, Rev. Econ. Stud. 61, 631-653), and n / (n - K) for the degrees of freedom.
    """
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
    lags = int(4 * (n / 100) ** (2 / 9))
    meat = scores.T @ scores
    for lag in range(1, min(lags, n - 1) + 1):
        later = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (lags + 1)) * (later + later.T)
    return Fit(coefficients, bread @ meat @ bread * n / (n - k), n - k)
