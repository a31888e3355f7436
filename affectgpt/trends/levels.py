"""Figures over the points of a series: where affect lies, how widely it spreads, how valence and arousal go together.

Every function takes values (…, n) and gives a figure for each row, NaN where it has none, so that one array holds all
resamples. Formulas and sources stand in data/affect_metrics.toml.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from affectgpt.trends.series import Floats

__all__ = ["JOINT", "POINTS"]


def sd(x: Floats) -> Floats:
    """Standard deviation with n - 1."""
    return np.asarray(np.std(x, axis=-1, ddof=1))


def skewness(x: Floats) -> Floats:
    """Third standardised moment; NaN for a constant."""
    centred = x - x.mean(axis=-1, keepdims=True)
    square = centred * centred  # a power of 3 would cost ten times as much
    return np.asarray(np.mean(centred * square, axis=-1) / _some(np.mean(square, axis=-1)) ** 1.5)


def iqr(x: Floats) -> Floats:
    """Third quartile less the first."""
    low, high = np.quantile(x, [0.25, 0.75], axis=-1)
    return np.asarray(high - low)


def relative_sd(x: Floats) -> Floats:
    """SD as a share of the largest that points in [-1, 1] with this mean can have; NaN where that is 0, or beyond."""
    n, mean = x.shape[-1], x.mean(axis=-1)
    most = (1 - mean) * (mean + 1) * n / (n - 1) if n > 1 else np.full(mean.shape, np.nan)
    inside = np.all(np.abs(x) <= 1, axis=-1)
    return np.where(inside, sd(x) / np.sqrt(_some(most)), np.nan)


def correlation(x: Floats, y: Floats) -> Floats:
    """Pearson's r along the last axis; NaN where either is constant."""
    a, b = (v - v.mean(axis=-1, keepdims=True) for v in (x, y))
    spread = np.sum(a * a, axis=-1) * np.sum(b * b, axis=-1)
    return np.asarray(np.clip(np.sum(a * b, axis=-1) / np.sqrt(_some(spread)), -1, 1))


def intensity(valence: Floats, arousal: Floats) -> Floats:
    """Mean distance from the neutral point of the affect plane."""
    return np.asarray(np.mean(np.hypot(valence, arousal), axis=-1))


def pulse(valence: Floats, arousal: Floats) -> Floats:
    """SD of that distance."""
    return sd(np.hypot(valence, arousal))


def spin(valence: Floats, arousal: Floats) -> Floats:
    """Circular SD of the direction in the affect plane, in radians; points at the very centre have none."""
    length = np.hypot(valence, arousal)
    n = np.sum(length > 0, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        east, north = (np.sum(np.where(length > 0, v / length, 0), axis=-1) / n for v in (valence, arousal))
        mean = np.clip(np.hypot(east, north), 0, 1)
        return np.asarray(np.sqrt(-2 * np.log(_some(mean))))


def _some(value: Floats) -> Floats:
    """The value, or NaN where it is nothing but rounding."""
    return np.where(value > 1e-15, value, np.nan)


POINTS: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda x: np.mean(x, axis=-1),
    "median": lambda x: np.median(x, axis=-1),
    "skewness": skewness,
    "sd": sd,
    "iqr": iqr,
    "relative_sd": relative_sd,
}
"""Metric -> values (…, n) -> figure (…)."""

JOINT: dict[str, Callable[[Floats, Floats], Floats]] = {
    "valence_arousal_correlation": correlation,
    "intensity": intensity,
    "pulse": pulse,
    "spin": spin,
}
"""Metric -> valence and arousal (…, n) of the same points -> figure (…)."""
