"""The same figures by group (speaker, sex, actor …), by fairlearn, with bootstrap intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from affectgpt.errors import MissingDependency
from affectgpt.evaluation.intervals import LEVEL
from affectgpt.evaluation.samples import Sample

__all__ = ["SMALLEST_GROUP", "group_report"]

SMALLEST_GROUP = 10
"""A group of fewer samples is counted by name and given no figure: its interval would span nearly everything."""
N_BOOT = 200
_NO_ANSWER = "(no answer)"


def group_report(samples: Sequence[Sample], column: str, seed: int = 0) -> dict[str, Any] | None:
    """Accuracy and macro F1 by the values of one column, the gap between the best and the worst, and their intervals.

    None where no sample has the column and a gold label. Samples are drawn one by one, so that for grouped data the
    intervals are narrower than those of a cluster bootstrap.

    Raises:
        MissingDependency: fairlearn or scikit-learn.
    """
    try:
        from fairlearn.metrics import MetricFrame  # type: ignore[import-untyped]
        from sklearn.metrics import accuracy_score, f1_score
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", "pip install 'affectgpt[eval]'") from None
    kept = [s for s in samples if s.has_gold and s.label is not None and column in s.group]
    sizes = Counter(s.group[column] for s in kept)
    told = [s for s in kept if sizes[s.group[column]] >= SMALLEST_GROUP]
    small = {name: n for name, n in sorted(sizes.items()) if n < SMALLEST_GROUP}
    if not told:
        return {"column": column, "groups": [], "gap": {}, "too_small": small} if kept else None
    edge = (1 - LEVEL) / 2
    frame = MetricFrame(
        metrics={"accuracy": accuracy_score, "macro F1": _macro_f1(f1_score)},
        y_true=np.array([s.label for s in told]),
        y_pred=np.array([_said(s) for s in told]),
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
    return (sample.answer.label or _NO_ANSWER) if sample.status == "scored" else _NO_ANSWER


def _macro_f1(f1_score: Any) -> Any:
    """Macro F1 over the classes that the group's gold holds."""

    def macro(gold: Any, said: Any) -> float:
        return float(f1_score(gold, said, labels=sorted(set(gold)), average="macro", zero_division=0))

    return macro


def _figure(value: float, low: float, high: float) -> dict[str, float | None]:
    return {
        k: (float(v) if math.isfinite(float(v)) else None) for k, v in (("value", value), ("low", low), ("high", high))
    }
