"""What is measured: every metric's title, unit, formula, source, least length and kind of interval, from its table."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Estimate", "Metric", "catalogue"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of data/affect_metrics.toml; its head says what the fields mean."""

    name: str
    title: str
    kind: str
    unit: str
    formula: str
    source: str
    least: int
    why_least: str
    interval: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """One metric of one channel of one group.

    value: the figure, or None where `reason` says why there is none; never 0 for want of data.
    low, high: the 95 % interval, made as `interval` says; None where there is none, and `reason` says why.
    n: what it rests on, in the metric's own units (points, pairs, moments, visits, excursions).
    p: the chance of a figure as large where none is, for those that have a test.
    """

    metric: str
    channel: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    interval: str = ""
    reason: str = ""
    p: float | None = None


@cache
def catalogue() -> Mapping[str, Metric]:
    """Every metric by its name, in the table's order."""
    text = (files("affectgpt") / "data" / "affect_metrics.toml").read_text(encoding="utf-8")
    return {name: Metric(name=name, **row) for name, row in tomllib.loads(text).items()}
