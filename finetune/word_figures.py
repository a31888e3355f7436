"""The figures on the words' cards: with 95 % intervals, beside what a constant answer would score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, interval

__all__ = ["figure", "multilabel_ece", "of_labels", "of_numbers", "of_tags", "sigmoid", "softmax", "threshold"]

N_BINS = 15
Ints = NDArray[np.intp]


def of_labels(logits: NDArray[Any], gold: Ints, heat: float, clusters: Sequence[str] = ()) -> dict[str, Any]:
    """One label of many: F1 and accuracy, the most frequent label's, and ECE before and after the temperature."""
    n = logits.shape[1]
    said, most = logits.argmax(axis=1), np.full(len(gold), np.bincount(gold, minlength=n).argmax())
    how = Resampling(clusters=tuple(clusters))

    def f1(answers: Ints, average: str) -> Callable[[Ints], float]:
        return lambda i: metrics.f1(metrics.confusion(gold[i], answers[i], n), average)

    every = np.arange(len(gold))
    return {
        "weighted_f1": figure(f1(said, "weighted"), len(gold), how),
        "macro_f1": figure(f1(said, "macro"), len(gold), how),
        "accuracy": figure(lambda i: float((said[i] == gold[i]).mean()), len(gold), how),
        "majority_weighted_f1": round(f1(most, "weighted")(every), 4),
        "majority_macro_f1": round(f1(most, "macro")(every), 4),
        "majority_accuracy": round(float((most == gold).mean()), 4),
        "ece_before": round(metrics.ece(softmax(logits), gold), 4),
        "ece_after": round(metrics.ece(softmax(logits / heat), gold), 4),
        "n": len(gold),
    }


def of_tags(logits: NDArray[Any], gold: NDArray[Any], heat: float, thresholds: NDArray[np.float64]) -> dict[str, Any]:
    """Any number of labels: F1 at the thresholds, that of the most frequent tag alone, and ECE before and after."""
    there = gold > 0
    said = sigmoid(logits / heat) >= thresholds
    most = np.zeros_like(there)
    most[:, there.sum(axis=0).argmax()] = True
    figures: dict[str, Any] = {}
    for average in ("macro", "micro"):

        def f1(i: Ints, answers: NDArray[np.bool_] = said, average: str = average) -> float:
            return metrics.multilabel_f1(there[i], answers[i], average)

        figures[f"{average}_f1"] = figure(f1, len(there))
        figures[f"majority_{average}_f1"] = round(f1(np.arange(len(there)), most), 4)
    figures["ece_before"] = multilabel_ece(sigmoid(logits), there)
    figures["ece_after"] = multilabel_ece(sigmoid(logits / heat), there)
    return figures | {"n": len(there)}


def of_numbers(guess: NDArray[Any], gold: NDArray[Any], names: Sequence[str], usual: Sequence[float]) -> dict[str, Any]:
    """Numbers, a column each: Pearson's r, CCC, error, and the error of always saying `usual` (whose r and CCC are 0).

    `slope` is that of the gold on the guess: 1 where the guess neither exaggerates nor holds back.
    """
    figures: dict[str, Any] = {}
    for c, name in enumerate(names):
        known = np.isfinite(gold[:, c])
        g, p = gold[known, c], guess[known, c]

        def r(i: Ints, g: NDArray[Any] = g, p: NDArray[Any] = p) -> float:
            return metrics.pearson(g[i], p[i])

        figures[f"pearson_{name}"] = figure(r, len(g))
        figures[f"ccc_{name}"] = round(metrics.ccc(g, p), 4)
        figures[f"rmse_{name}"] = round(float(np.sqrt(np.mean((g - p) ** 2))), 4)
        figures[f"rmse_{name}_constant"] = round(float(np.sqrt(np.mean((g - usual[c]) ** 2))), 4)
        figures[f"slope_{name}"] = round(float(np.cov(g, p, bias=True)[0, 1] / max(p.var(), 1e-12)), 3)
    return figures | {"n": len(gold)}


def figure(statistic: Callable[[Ints], float], n: int, how: Resampling | None = None) -> list[float]:
    """The figure and its 95 % interval."""
    found = interval("", statistic, n, how or Resampling())
    return [round(v, 4) for v in (found.value, found.low, found.high)]


def multilabel_ece(p: NDArray[Any], gold: NDArray[np.bool_]) -> float:
    """Expected calibration error over all yes-or-no answers together, in equal-width bins."""
    bins = np.minimum((p.ravel() * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, weights=gold.ravel() - p.ravel(), minlength=N_BINS)
    return round(float(np.abs(gaps).sum() / p.size), 4)


def threshold(gold: NDArray[Any], p: NDArray[Any]) -> float:
    """The threshold with the best F1 of a class, of those between 0.05 and 0.6; a class that never occurs gets 0.3."""
    if not gold.any():
        return 0.3
    grid = np.linspace(0.05, 0.6, 56)
    scores = [2 * (gold[p >= t]).sum() / ((p >= t).sum() + gold.sum()) for t in grid]
    return float(grid[int(np.argmax(scores))])


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """The logistic function."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def softmax(x: NDArray[Any]) -> NDArray[Any]:
    """Rows that sum to one."""
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
