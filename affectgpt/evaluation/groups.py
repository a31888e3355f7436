"""The same figures by group (speaker, sex, actor …), by fairlearn, with bootstrap intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from affectgpt.errors import MissingDependency
from affectgpt.evaluation.intervals import LEVEL
from affectgpt.evaluation.metrics import NO_ANSWER, confusion, f1
from affectgpt.evaluation.samples import Sample

__all__ = ["SMALLEST_GROUP", "group_report"]

SMALLEST_GROUP = 10
"""A group of fewer samples is counted by name and given no figure: its interval would span nearly everything."""
N_BOOT = 200


def group_report(samples: Sequence[Sample], column: str, seed: int = 0) -> dict[str, Any] | None:
    """Accuracy and macro F1 by the values of one column, the gap between the best and the worst, and their intervals.

    None where no sample has the column and a gold label. Samples are drawn one by one, so that for grouped data the
    intervals are narrower than those of a cluster bootstrap.

    Raises:
        MissingDependency: fairlearn.
    """
    try:
        from fairlearn.metrics import MetricFrame  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", "pip install 'affectgpt[eval]'") from None
    kept = [s for s in samples if s.has_gold and s.label is not None and column in s.group]
    sizes = Counter(s.group[column] for s in kept)
    told = [s for s in kept if sizes[s.group[column]] >= SMALLEST_GROUP]
    small = {name: n for name, n in sorted(sizes.items()) if n < SMALLEST_GROUP}
    if not told:
        return {"column": column, "groups": [], "gap": {}, "too_small": small} if kept else None
    at = {label: i for i, label in enumerate(sorted({s.label or "" for s in told}))}
    edge = (1 - LEVEL) / 2
    frame = MetricFrame(
        metrics={"accuracy": lambda gold, said: float(np.mean(gold == said)), "macro F1": _macro_f1},
        y_true=np.array([at[s.label or ""] for s in told]),
        y_pred=np.array([at.get(_said(s), NO_ANSWER) for s in told]),
        sensitive_features=np.array([s.group[column] for s in told]),
        n_boot=N_BOOT,
        ci_quantiles=[edge, 1 - edge],
        random_state=seed,
    )
    low, high = frame.by_group_ci
    rows = [
        {
            "group": str(name),
            "n": sizes[str(name)],
            **{m: _figure(frame.by_group[m][name], low[m][name], high[m][name]) for m in ("accuracy", "macro F1")},
        }
        for name in frame.by_group.index
    ]
    gap, (gap_low, gap_high) = frame.difference(), frame.difference_ci()
    gaps = {m: _figure(gap[m], gap_low[m], gap_high[m]) for m in ("accuracy", "macro F1")}
    return {"column": column, "groups": rows, "gap": gaps, "too_small": small, "n_boot": N_BOOT}


def _said(sample: Sample) -> str:
    return sample.answer.label or "" if sample.status == "scored" else ""


def _macro_f1(gold: Any, said: Any) -> float:
    """Macro F1 over the classes that the group's gold holds; an answer outside them is a miss like none."""
    classes, own = np.unique(gold, return_inverse=True)
    place = {int(c): i for i, c in enumerate(classes)}
    answered = np.array([place.get(int(c), NO_ANSWER) for c in said])
    return f1(confusion(own, answered, len(classes)), "macro")


def _figure(value: float, low: float, high: float) -> dict[str, float | None]:
    return {
        k: (float(v) if math.isfinite(float(v)) else None) for k, v in (("value", value), ("low", low), ("high", high))
    }
