"""Figures made into estimates: with an interval, or missing with a reason."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from affectgpt.trends.catalogue import Estimate, catalogue
from affectgpt.trends.regression import Scale, mean_bounds
from affectgpt.trends.resampling import LEAST_UNITS, Bounds, Figure, Resampling, Units, bootstrap
from affectgpt.trends.series import Floats

__all__ = ["by_cosines", "given", "missing", "resampled"]

_UNITS = {"points": "points", "pairs": "pairs of neighbours", "patterns": "threes of neighbours", "joint": "points",
          "states": "points", "transitions": "pairs of neighbours", "labels": "labelled points",
          "excursions": "excursions seen whole"}  # fmt: skip

_WHY_NONE = {
    "relative_sd": "values outside [-1, 1], or all at one end of it",
    "positive_negative_ratio": "no point is negative",
    "negative_persistence": "no pair starts negative",
    "spin": "no direction: every point is neutral, or the directions cancel out",
}
"""Why a metric cannot be told although there are points enough; for the others: the values do not vary."""


def resampled(
    channel: str,
    units: Units,
    figures: Mapping[str, Figure],
    how: Resampling,
    why: str = "",
    least: Mapping[str, int] | None = None,
) -> list[Estimate]:
    """Each figure of the units with its bootstrap interval; `why` says that none of them can be told."""
    rows, known = [], {}
    for name, figure in figures.items():
        metric = catalogue()[name]
        wanted = max(1, metric.least, (least or {}).get(name, 0))
        if why or units.n < wanted:
            reason = why or f"needs {wanted} {_UNITS[metric.kind]}, here are {units.n}"
            rows.append(missing(name, channel, units.n, reason))
        else:
            known[name] = figure
    for name, (value, bounds) in (bootstrap(units, known, how) if known else {}).items():
        if np.isfinite(value):
            rows.append(given(name, channel, value, units.n, bounds))
        else:
            rows.append(missing(name, channel, units.n, _WHY_NONE.get(name, "the values do not vary")))
    return rows


def by_cosines(rows: list[Estimate], means: Mapping[str, tuple[Floats, Scale]]) -> list[Estimate]:
    """Figures that are means, or roots of means, with a regression's interval: it holds better than resampling does."""
    return [
        given(e.metric, e.channel, e.value, e.n, mean_bounds(*means[e.metric], e.value))
        if e.value is not None and e.metric in means and e.n >= LEAST_UNITS
        else e
        for e in rows
    ]


def given(name: str, channel: str, value: float, n: int, bounds: Bounds) -> Estimate:
    """A figure that there is, with what its bounds say."""
    how = catalogue()[name].interval if bounds.low is not None or bounds.high is not None else ""
    return Estimate(name, channel, value, bounds.low, bounds.high, n, how, bounds.reason)


def missing(name: str, channel: str, n: int, reason: str) -> Estimate:
    """A figure that there is not, and why."""
    return Estimate(name, channel, None, n=n, reason=reason)
