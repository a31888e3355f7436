"""Courses of affect whose inertia, half-life, states and contagion are known, because they were made so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectgpt.trends.series import Series, make_series

Floats = NDArray[np.float64]

START_S = 1_767_571_200.0
"""Monday, 5 January 2026, 00:00 UTC."""


def autoregressive(n: int, inertia: float, seed: int, *, mean: float = 0.0, sd: float = 0.25) -> Floats:
    """(n,) a stationary AR(1) course."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(n) * sd * np.sqrt(1 - inertia**2)
    values = np.empty(n)
    values[0] = rng.standard_normal() * sd
    for t in range(1, n):
        values[t] = inertia * values[t - 1] + shocks[t]
    return values + mean


def returning(times_s: Floats, half_life_s: float, seed: int, sd: float = 0.25) -> Floats:
    """(T,) an Ornstein-Uhlenbeck course at these times, by its exact transitions."""
    rng = np.random.default_rng(seed)
    values = np.empty(len(times_s))
    values[0] = rng.standard_normal() * sd
    for t in range(1, len(times_s)):
        kept = 2 ** (-(times_s[t] - times_s[t - 1]) / half_life_s)
        values[t] = kept * values[t - 1] + rng.standard_normal() * sd * np.sqrt(1 - kept**2)
    return values


def coupled(n: int, n_people: int, inertia: float, contagion: float, seed: int) -> Floats:
    """(people, n) courses in which the first person takes over `contagion` of the mean of the others; they nothing."""
    rng = np.random.default_rng(seed)
    values = np.zeros((n_people, n))
    for t in range(1, n):
        values[:, t] = inertia * values[:, t - 1] + 0.2 * rng.standard_normal(n_people)
        values[0, t] += contagion * values[1:, t - 1].mean()
    return values


def every(step_s: float, values: Floats, offsets_s: Floats | None = None) -> Series:
    """A series of these values, `step_s` apart."""
    return make_series(START_S + step_s * np.arange(len(values)), values, None, offsets_s)
