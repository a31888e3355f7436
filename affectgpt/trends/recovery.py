"""How fast affect returns to its level, at any spacing of the points: an Ornstein-Uhlenbeck process fitted to them.

The process forgets a distance from its level by the half every `half_life_s` (Uhlenbeck & Ornstein 1930, Phys. Rev. 36,
823-841; for core affect: Oravecz, Tuerlinckx & Vandekerckhove 2011, Psychol. Methods 16, 468-490). Its transition
density is exact for any distance in time, so gaps and uneven sampling need no grid. What the fit takes for a fast
return may be error of measurement: the model has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from affectgpt.trends.resampling import LEVEL
from affectgpt.trends.series import Floats, Series

__all__ = ["Recovery", "fit_recovery"]

_N_GRID = 400
_AT_ONCE = 2_000_000
_SHORTEST = 0.1
"""Half-lives from this many steps are looked for; below it successive points say nothing about each other."""
_LONGEST = 10.0
"""And up to this many spans, beyond which a series is a walk without a level."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The half-life and its profile-likelihood interval in seconds.

    An end that the series cannot tell is None; `reason` then says why, or why there is no value at all.
    """

    half_life_s: float | None
    low_s: float | None
    high_s: float | None
    reason: str = ""


def fit_recovery(series: Series) -> Recovery:
    """The maximum-likelihood half-life of a series of three or more points that are not all the same.

    The interval holds every half-life whose likelihood, the other two parameters at their best, is within the LEVEL
    quantile of chi-squared (Wilks 1938, Ann. Math. Stat. 9, 60-62; Venzon & Moolgavkar 1988, Appl. Stat. 37, 87-94).
    """
    from scipy.stats import chi2

    if np.ptp(series.values) <= 1e-12:
        return Recovery(None, None, None, "all values are the same")
    steps = np.diff(series.times_s)
    grid = np.geomspace(_SHORTEST * series.step_s, _LONGEST * max(series.span_s, series.step_s), _N_GRID)
    likelihood = _profile(series.values, steps, grid)
    best = int(np.argmax(likelihood))
    if best == 0:
        return Recovery(None, None, None, f"shorter than {_SHORTEST:g} steps, if there is one: points show no memory")
    if best == len(grid) - 1:
        return Recovery(None, None, None, f"longer than {_LONGEST:g} times the series: no return to a level is seen")
    inside = np.flatnonzero(2 * (likelihood[best] - likelihood) <= chi2.ppf(LEVEL, 1))
    low, high = int(inside[0]), int(inside[-1])
    reason = "" if high < len(grid) - 1 else "no upper end: the series may have no level that it returns to"
    return Recovery(
        float(np.exp(_peak(np.log(grid), likelihood, best))),
        float(grid[low]) if low > 0 else 0.0,
        float(grid[high]) if high < len(grid) - 1 else None,
        reason,
    )


def _profile(values: Floats, steps: Floats, half_lives_s: Floats) -> Floats:
    """(G,) log-likelihood of each half-life with the level and the spread that suit it best."""
    rows = max(1, _AT_ONCE // len(steps))
    before, after = values[:-1], values[1:]
    told = []
    for start in range(0, len(half_lives_s), rows):
        fall = -np.log(2) * steps / half_lives_s[start : start + rows, None]
        kept, pull, lost = np.exp(fall), -np.expm1(fall), -np.expm1(2 * fall)  # a, 1 - a, 1 - a²
        level = np.sum(pull * (after - kept * before) / lost, axis=1) / np.sum(pull**2 / lost, axis=1)
        left = after - kept * before - level[:, None] * pull
        spread = np.mean(left**2 / lost, axis=1)
        told.append(-0.5 * len(steps) * np.log(spread.clip(1e-300)) - 0.5 * np.sum(np.log(lost), axis=1))
    return np.concatenate(told)


def _peak(x: Floats, y: Floats, best: int) -> float:
    """Where the parabola through the highest point and its two neighbours is highest; `x` is evenly spaced."""
    below, top, above = y[best - 1 : best + 2]
    bend = below - 2 * top + above
    shift = 0.5 * (below - above) / bend if bend < 0 else 0.0
    return float(x[best] + np.clip(shift, -1, 1) * (x[1] - x[0]))
