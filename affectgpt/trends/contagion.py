"""Affect from one person to another: whether the others' affect one step ago tells a person's affect now.

A person's affect is regressed on their own one step before and on the mean of the others one step before; the second
coefficient is the contagion received. Holding the person's own past fixed is what keeps mere inertia from passing for
it (Granger 1969, Econometrica 37, 424-438; for affect between partners: Butler 2011, Pers. Soc. Psychol. Rev. 15,
367-393). A cause that all of them share, such as the weather or the hour, looks the same: this proves no influence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from affectgpt.trends.levels import correlation
from affectgpt.trends.regression import fit
from affectgpt.trends.resampling import Bounds, Resampling, Units, block_length, bootstrap
from affectgpt.trends.series import Floats, Series

__all__ = ["LEAST_MOMENTS", "Contagion", "Grid", "grid_of", "pairwise", "received"]

LEAST_MOMENTS = 30
"""Moments that a regression on a constant and two predictors needs: ten a coefficient (Harrell 2015, Regression
Modeling Strategies, 4.4, asks for 10 to 20)."""

_MOST_MOMENTS = 5_000_000
"""Cells of a grid of people by moments; beyond it the step is too fine for the time that the points span."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Several people on one clock: values (people, moments), NaN where somebody was not read."""

    people: tuple[str, ...]
    values: Floats
    step_s: float


@dataclass(frozen=True, slots=True)
class Contagion:
    """What a person takes over from others: the coefficient, its interval, the chance of it, and the synchrony.

    coefficient: change of the person's affect now a unit of the others' one step ago, all else equal.
    p: share of circular shifts of the others' course that give as large a coefficient, None where there is none.
    synchrony: correlation of what is new at the same moment, in the person and in the others.
    n: moments that it rests on. `reason` says why there is nothing.
    """

    coefficient: float | None = None
    bounds: Bounds = field(default_factory=Bounds)
    p: float | None = None
    synchrony: float | None = None
    synchrony_bounds: Bounds = field(default_factory=Bounds)
    n: int = 0
    reason: str = ""


def grid_of(series: Mapping[str, Series], step_s: float | None = None) -> Grid | str:
    """All people on moments `step_s` apart (None: the longest of their own steps), each the mean of the nearest points.

    In words, why there is no grid, where there is none.
    """
    known = {person: s for person, s in series.items() if s.n > 1}
    if len(known) < 2:
        return "needs two people with two points or more"
    step = step_s or max(s.step_s for s in known.values())
    start = min(float(s.times_s[0]) for s in known.values())
    n = round((max(float(s.times_s[-1]) for s in known.values()) - start) / step) + 1
    if n * len(known) > _MOST_MOMENTS:
        return f"{n} moments of {step:g} s for {len(known)} people are too many: give a longer step"
    values = np.full((len(known), n), np.nan)
    for row, s in zip(values, known.values(), strict=True):
        at = np.rint((s.times_s - start) / step).astype(np.intp)
        counts = np.bincount(at, minlength=n)
        row[counts > 0] = np.bincount(at, weights=s.values, minlength=n)[counts > 0] / counts[counts > 0]
    return Grid(tuple(known), values, step)


def received(grid: Grid, how: Resampling) -> dict[str, Contagion]:
    """For each person, what comes from the mean of all others who were read at the moment before."""
    found = {}
    for number, person in enumerate(grid.people):
        others = np.delete(grid.values, number, axis=0)
        there = np.isfinite(others)
        n = there.sum(axis=0)
        mean = np.where(n > 0, np.where(there, others, 0).sum(axis=0) / np.maximum(n, 1), np.nan)
        found[person] = _between(grid.values[number], mean, how)
    return found


def pairwise(grid: Grid, how: Resampling) -> dict[tuple[str, str], Contagion]:
    """From each person to each other one, without those between: {(from, to): contagion}."""
    return {
        (source, target): _between(grid.values[j], grid.values[i], how)
        for i, source in enumerate(grid.people)
        for j, target in enumerate(grid.people)
        if i != j
    }


def _between(own: Floats, others: Floats, how: Resampling) -> Contagion:
    """What the course `others` (M,) tells of the next moment of `own` (M,)."""
    usable = np.isfinite(own[1:]) & np.isfinite(own[:-1]) & np.isfinite(others[:-1])
    n = int(usable.sum())
    if n < LEAST_MOMENTS:
        return Contagion(n=n, reason=f"needs {LEAST_MOMENTS} moments of both in a row, here are {n}")
    now, before, told = own[1:][usable], own[:-1][usable], others[:-1][usable]
    found = fit(now, np.column_stack([np.ones(n), before, told]))
    if found is None:
        return Contagion(n=n, reason="one of the two hardly changes, or both are the same")
    coefficient = float(found.coefficients[2])
    at_once, bounds = _synchrony(own, others, how)
    return Contagion(coefficient, found.bounds(2), _chance(own, others, coefficient, how), at_once, bounds, n)


def _chance(own: Floats, others: Floats, coefficient: float, how: Resampling) -> float | None:
    """The p of a coefficient as large when the courses are out of step: shifts keep each one's own memory.

    (r + 1) / (s + 1) over s shifts (Davison & Hinkley 1997, 4.1.2).
    """
    rng = np.random.default_rng(how.seed)
    margin = max(2, len(own) // 20)  # shifts by less would leave part of the true order in place
    if len(own) < 4 * margin:
        return None
    as_large = tried = 0
    for shift in rng.integers(margin, len(own) - margin, how.n_resamples // 5):
        other = np.roll(others, int(shift))
        usable = np.isfinite(own[1:]) & np.isfinite(own[:-1]) & np.isfinite(other[:-1])
        if usable.sum() < LEAST_MOMENTS:
            continue
        columns = np.column_stack([np.ones(int(usable.sum())), own[:-1][usable], other[:-1][usable]])
        slope = np.linalg.lstsq(columns, own[1:][usable], rcond=None)[0][2]
        tried += 1
        as_large += bool(abs(slope) >= abs(coefficient))
    return (as_large + 1) / (tried + 1) if tried >= 19 else None


def _synchrony(own: Floats, others: Floats, how: Resampling) -> tuple[float | None, Bounds]:
    """Correlation of both at the same moment, each without what its own past tells, and a block-bootstrap interval."""
    usable = np.isfinite(own[1:]) & np.isfinite(own[:-1]) & np.isfinite(others[1:]) & np.isfinite(others[:-1])
    n = int(usable.sum())
    if n < LEAST_MOMENTS:
        return None, Bounds()
    fresh = []
    for course in (own, others):
        columns = np.column_stack([np.ones(n), course[:-1][usable]])
        found = np.linalg.lstsq(columns, course[1:][usable], rcond=None)[0]
        fresh.append(course[1:][usable] - columns @ found)
    mine, theirs = fresh
    if min(np.ptp(mine), np.ptp(theirs)) <= 1e-12:
        return None, Bounds()
    block = max(block_length(mine), block_length(theirs))
    return bootstrap(Units((mine, theirs), block), {"synchrony": correlation}, how)["synchrony"]
