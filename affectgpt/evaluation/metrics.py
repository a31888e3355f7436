"""Figures over arrays: classification, regression, calibration, label distributions.

Those of classification are taken from one confusion matrix, with a column of its own for "no answer": a sample that
was not answered is a miss, never left out. They equal scikit-learn's where both are defined (the tests compare them);
they are counted here because a bootstrap asks for each a thousand times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LABEL_DISTRIBUTION",
    "NO_ANSWER",
    "accuracy",
    "brier",
    "ccc",
    "confusion",
    "ece",
    "f1",
    "label_distribution",
    "multilabel_f1",
    "pearson",
    "sentiment_waf",
    "skill",
    "uar",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

NO_ANSWER = -1
"""The predicted class of a sample without an answer."""

N_BINS = 15
"""Bins of the calibration error, as Guo et al. 2017 take them."""

LABEL_DISTRIBUTION: Mapping[str, bool] = {
    "chebyshev": False, "clark": False, "canberra": False, "kl": False, "cosine": True, "intersection": True,
}  # fmt: skip
"""The six measures of Geng 2016 (Label distribution learning, table 2): whether more is better."""

_SMALLEST = 1e-9


def confusion(gold: Ints, predicted: Ints, n_classes: int) -> Ints:
    """(C, C + 1) counts: gold in rows, predicted in columns, the last column for no answer (`NO_ANSWER`)."""
    column = np.where(predicted == NO_ANSWER, n_classes, predicted)
    flat = np.bincount(gold * (n_classes + 1) + column, minlength=n_classes * (n_classes + 1))
    return flat.reshape(n_classes, n_classes + 1)


def accuracy(table: Ints) -> float:
    """Share of samples on the diagonal, in [0, 1]."""
    return _ratio(np.trace(table), table.sum())


def uar(table: Ints) -> float:
    """Unweighted average recall over the classes that occur in the gold, in [0, 1]."""
    support = table.sum(1)
    there = support > 0
    return float(np.mean(np.diag(table)[there] / support[there])) if there.any() else float("nan")


def f1(table: Ints, average: str) -> float:
    """F1 in [0, 1]: `macro` (classes that occur in gold or answers), `weighted` by gold, or `micro`.

    Micro counts no answer as a miss and not as a false alarm, so it is below accuracy's cousin precision there.
    """
    hits = np.diag(table).astype(np.float64)
    support, claimed = table.sum(1), table[:, :-1].sum(0)
    if average == "micro":
        return _ratio(2 * hits.sum(), support.sum() + claimed.sum())
    there = support + claimed > 0
    each = np.divide(2 * hits, support + claimed, out=np.zeros_like(hits), where=there)
    if average == "macro":
        return float(each[there].mean()) if there.any() else float("nan")
    return _ratio(float(each @ support), support.sum())


def multilabel_f1(gold: NDArray[np.bool_], predicted: NDArray[np.bool_], average: str) -> float:
    """F1 over (B, C) indicator matrices: `macro` over classes that occur, `micro`, or `samples` (mean over rows)."""
    if average == "micro":
        return _ratio(2 * (gold & predicted).sum(), gold.sum() + predicted.sum())
    axis = 0 if average == "macro" else 1
    size = gold.sum(axis) + predicted.sum(axis)
    there = size > 0
    return float(np.mean(2 * (gold & predicted).sum(axis)[there] / size[there])) if there.any() else float("nan")


def pearson(gold: Floats, predicted: Floats) -> float:
    """Pearson's r in [-1, 1]; 0 for a constant prediction, which tells nothing; NaN for a constant gold."""
    g, p = gold - gold.mean(), predicted - predicted.mean()
    if not g.any():
        return float("nan")
    size = float(np.sqrt((g @ g) * (p @ p)))
    return float(g @ p) / size if size > _SMALLEST else 0.0


def ccc(gold: Floats, predicted: Floats) -> float:
    """Lin's concordance correlation (1989) in [-1, 1]: 2 cov / (var + var + squared distance of the means)."""
    covariance = float(np.mean((gold - gold.mean()) * (predicted - predicted.mean())))
    spread = float(gold.var() + predicted.var() + (gold.mean() - predicted.mean()) ** 2)
    return 2 * covariance / spread if spread > 0 else float("nan")


def ece(probabilities: Floats, gold: Ints, n_bins: int = N_BINS) -> float:
    """Expected calibration error of the top label, equal-width bins, in [0, 1] (Guo et al. 2017, eq. 3)."""
    top = probabilities.max(1)
    right = probabilities.argmax(1) == gold
    bin_of = np.minimum((top * n_bins).astype(np.intp), n_bins - 1)
    gap = np.bincount(bin_of, weights=right - top, minlength=n_bins)
    return float(np.abs(gap).sum() / len(gold))


def brier(probabilities: Floats, gold: Ints) -> float:
    """Brier's score (1950) over all classes, in [0, 2]; lower is better."""
    truth = np.eye(probabilities.shape[1])[gold]
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def sentiment_waf(gold: Floats, predicted_positive: NDArray[np.bool_]) -> float:
    """MER-UniBench's sentiment WAF: gold 0 is left out, the rest is positive or negative; weighted F1."""
    kept = gold != 0
    sides = (gold[kept] > 0).astype(np.intp)
    return f1(confusion(sides, predicted_positive[kept].astype(np.intp), 2), "weighted")


def label_distribution(gold: Floats, predicted: Floats) -> dict[str, Floats]:
    """The six label-distribution measures of (B, C) distributions, one number a sample each (B,)."""
    apart, both = np.abs(gold - predicted), gold + predicted
    there = both > 0
    safe = np.where(there, both, 1.0)
    ratio = np.where(there, apart / safe, 0.0)
    p, q = np.maximum(gold, _SMALLEST), np.maximum(predicted, _SMALLEST)
    sizes = np.linalg.norm(gold, axis=1) * np.linalg.norm(predicted, axis=1)
    return {
        "chebyshev": apart.max(1),
        "clark": np.sqrt((ratio**2).sum(1)),
        "canberra": ratio.sum(1),
        "kl": np.sum(np.where(gold > 0, p * np.log(p / q), 0.0), axis=1),
        "cosine": (gold * predicted).sum(1) / np.maximum(sizes, _SMALLEST),
        "intersection": np.minimum(gold, predicted).sum(1),
    }


def skill(value: float, reference: float, higher_is_better: bool) -> float:
    """How much of the way from the reference to perfection was made: 1 perfect, 0 no better, below 0 worse.

    A similarity is perfect at 1, a distance at 0 (Murphy 1988: skill scores).
    """
    best = 1.0 if higher_is_better else 0.0
    return (value - reference) / (best - reference) if abs(best - reference) > _SMALLEST else float("nan")


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")
