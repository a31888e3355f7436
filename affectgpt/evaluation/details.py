"""What stands behind the figures of a run: the confusion, the reliability of probabilities, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from affectgpt.evaluation.metrics import N_BINS, NO_ANSWER, confusion
from affectgpt.evaluation.samples import Sample

__all__ = ["confusion_table", "reliability", "surest_mistakes"]

N_MISTAKES = 10
_LONGEST = 240


def confusion_table(rows: Sequence[Sample], labels: Sequence[str]) -> dict[str, Any] | None:
    """Counts by gold and answered label, with a column for no answer; None where nobody answered with a label."""
    at = {label: i for i, label in enumerate(labels)}
    kept = [s for s in rows if s.has_gold and s.label in at]
    gold = np.array([at[s.label or ""] for s in kept])
    said = np.array([at.get(s.answer.label or "", NO_ANSWER) if s.status == "scored" else NO_ANSWER for s in kept])
    if not (said != NO_ANSWER).any():
        return None
    return {
        "labels": list(labels),
        "columns": [*labels, "(no answer)"],
        "counts": confusion(gold, said, len(labels)).tolist(),
    }


def reliability(rows: Sequence[Sample], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The bins of the calibration error that hold answers: their number, mean probability and share right."""
    kept = [s for s in rows if s.has_gold and s.label in labels and s.status == "scored" and s.answer.probabilities]
    if not kept:
        return []
    top = [max(s.answer.probabilities, key=lambda k: s.answer.probabilities[k]) for s in kept]
    p = np.clip([s.answer.probabilities[t] for s, t in zip(kept, top, strict=True)], 0.0, 1.0)
    right = np.array([t == s.label for s, t in zip(kept, top, strict=True)])
    bins = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
    return [
        {
            "n": int((bins == k).sum()),
            "probability": float(p[bins == k].mean()),
            "right": float(right[bins == k].mean()),
        }
        for k in np.unique(bins)
    ]


def surest_mistakes(rows: Sequence[Sample]) -> list[dict[str, Any]]:
    """The wrong answers with the highest probability, to be read by eye: the model's fault, or the gold's."""
    wrong = [
        (s.answer.probabilities.get(s.answer.label or "", 0.0), s)
        for s in rows
        if s.has_gold and s.label and s.status == "scored" and s.answer.probabilities and s.answer.label != s.label
    ]
    wrong.sort(key=lambda pair: -pair[0])
    return [
        {"id": s.id, "gold": s.label, "answered": s.answer.label, "probability": p, "text": s.text[:_LONGEST]}
        for p, s in wrong[:N_MISTAKES]
    ]
