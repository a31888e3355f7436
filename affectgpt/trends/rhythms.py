"""Affect by the clock and the calendar: a daily wave, weekends against weekdays, a slope over the days."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectgpt.trends.regression import fit
from affectgpt.trends.resampling import LEVEL, Bounds
from affectgpt.trends.series import Floats, Series

__all__ = ["DAY_S", "Rhythm", "daily_wave", "local_days", "slope_per_day", "weekend_difference"]

DAY_S = 86_400.0
_STRETCHES = 6
"""Parts of the day, four hours each, of which a wave must have seen four; a rule of this project."""
_LEAST_STRETCHES = 4
_LEAST_DAYS = 3
"""Days of each kind (or in all, for the wave): with two, one unusual day is half of what is seen."""
_TOLD = 0.05


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A figure with its interval, or None and the reason; `n` is what it rests on."""

    value: float | None
    bounds: Bounds
    n: int
    reason: str = ""


def slope_per_day(series: Series) -> Rhythm:
    """Least-squares change a day, over the series."""
    days = (series.times_s - series.times_s[0]) / DAY_S
    found = fit(series.values, np.column_stack([np.ones(series.n), days])) if series.n > 2 else None
    if found is None:
        return _none("the points are too few", series.n)
    return Rhythm(float(found.coefficients[1]), found.bounds(1), series.n)


def daily_wave(series: Series) -> tuple[Rhythm, Rhythm]:
    """Half the height of the wave of 24 hours, and the local hour of its top.

    The top is given where the wave can be told from none: a Wald test of both its coefficients at 0.05.
    """
    from scipy.stats import chi2

    missing = _no_wave(series)
    if missing:
        return _none(missing, series.n), _none(missing, series.n)
    assert series.offsets_s is not None
    turn = 2 * np.pi * ((series.times_s + series.offsets_s) % DAY_S) / DAY_S
    found = fit(series.values, np.column_stack([np.ones(series.n), np.cos(turn), np.sin(turn)]))
    if found is None:
        return _none("the hours are too few", series.n), _none("the hours are too few", series.n)
    wave, covariance = found.coefficients[1:], found.covariance[1:, 1:]
    height = float(np.hypot(*wave))
    slope = wave / height if height > 0 else np.zeros(2)
    reach = _normal_edge() * float(np.sqrt(slope @ covariance @ slope))
    amplitude = Rhythm(height, Bounds(max(0.0, height - reach), height + reach), series.n)
    if height <= 0 or float(wave @ np.linalg.pinv(covariance) @ wave) < chi2.ppf(1 - _TOLD, 2):
        return amplitude, _none("no wave of a day can be told from chance", series.n)
    across = np.array([-wave[1], wave[0]]) / height**2
    wide_h = _normal_edge() * float(np.sqrt(across @ covariance @ across)) * 24 / (2 * np.pi)
    top_h = float(np.arctan2(wave[1], wave[0]) % (2 * np.pi) * 24 / (2 * np.pi))
    return amplitude, Rhythm(top_h, Bounds(top_h - wide_h, top_h + wide_h), series.n)


def weekend_difference(series: Series) -> Rhythm:
    """Mean of the days of weekends less that of the others, a day counting once; Welch's interval (1947)."""
    from scipy.stats import ttest_ind

    if series.offsets_s is None:
        return _none("the times are no dates", 0)
    days, means = local_days(series)
    weekend = means[(days + 3) % 7 >= 5]  # day 0, 1970-01-01, was a Thursday: Monday is 0 then
    weekday = means[(days + 3) % 7 < 5]
    if min(len(weekend), len(weekday)) < _LEAST_DAYS:
        return _none(f"needs {_LEAST_DAYS} days of each kind, here are {len(weekend)} and {len(weekday)}", len(days))
    value = float(weekend.mean() - weekday.mean())
    if np.ptp(weekend) + np.ptp(weekday) <= 1e-12:
        return Rhythm(value, Bounds(reason="the days do not differ"), len(days))
    ends = ttest_ind(weekend, weekday, equal_var=False).confidence_interval(LEVEL)
    return Rhythm(value, Bounds(float(ends.low), float(ends.high)), len(days))


def local_days(series: Series) -> tuple[Floats, Floats]:
    """(D,) days since 1970-01-01 by the local clock, and (D,) the mean of each."""
    assert series.offsets_s is not None
    days, which = np.unique(np.floor((series.times_s + series.offsets_s) / DAY_S), return_inverse=True)
    return days, np.bincount(which, weights=series.values) / np.bincount(which)


def _no_wave(series: Series) -> str:
    if series.offsets_s is None:
        return "the times are no dates"
    local = series.times_s + series.offsets_s
    seen = len(np.unique(local % DAY_S // (DAY_S / _STRETCHES)))
    n_days = len(np.unique(local // DAY_S))
    if seen < _LEAST_STRETCHES or n_days < _LEAST_DAYS:
        return (
            f"needs {_LEAST_STRETCHES} of the day's {_STRETCHES} stretches of four hours and {_LEAST_DAYS} days, "
            f"here are {seen} and {n_days}"
        )
    return ""


def _normal_edge() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + LEVEL) / 2))


def _none(reason: str, n: int) -> Rhythm:
    return Rhythm(None, Bounds(), n, reason)
