"""How conformal sets and abstention do on a run: coverage, set size, and risk against coverage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.conformal import calibrate
from affectgpt.evaluation.intervals import Figure, Resampling, interval
from affectgpt.evaluation.samples import Sample

__all__ = ["conformal_report", "risk_coverage"]

N_FOLDS = 5
_FEWEST = 50
"""Samples below which five folds leave too few to calibrate on."""


def conformal_report(
    samples: Sequence[Sample], labels: Sequence[str], coverage: float, how: Resampling
) -> dict[str, Any] | None:
    """Coverage, size and abstentions of the sets, each fold's cut set on the others; clusters stay in one fold.

    None where fewer than 50 samples have probabilities and a gold label.
    """
    at = {label: i for i, label in enumerate(labels)}
    kept = [
        (i, s) for i, s in enumerate(samples)
        if s.has_gold and s.status == "scored" and s.answer.probabilities and s.label in at
    ]  # fmt: skip
    if len(kept) < _FEWEST:
        return None
    p = np.array([[s.answer.probabilities.get(label, 0.0) for label in labels] for _, s in kept])
    p = np.clip(p / np.maximum(p.sum(1, keepdims=True), 1e-12), 0.0, 1.0)
    gold = np.array([at[s.label or ""] for _, s in kept])
    clusters = [how.clusters[i] for i, _ in kept] if how.clusters else [str(i) for i, _ in kept]
    folds = _folds(clusters, how.seed)
    true = p[np.arange(len(gold)), gold]
    size, holds, abstains = (np.zeros(len(gold)) for _ in range(3))
    cuts = []
    for fold in range(N_FOLDS):
        test = folds == fold
        cut = calibrate(true[~test], coverage)
        cuts.append(cut.least)
        size[test] = (p[test] >= cut.least).sum(1)
        holds[test] = true[test] >= cut.least
        abstains[test] = [cut.choose(dict(zip(labels, row, strict=True))).abstains for row in p[test]]
    inner = Resampling(how.n_resamples, how.seed, clusters if how.clusters else ())

    def mean_of(name: str, column: NDArray[np.float64]) -> Figure:
        return interval(name, lambda at: float(column[at].mean()), len(gold), inner, name == "coverage")

    columns = {"coverage": holds, "mean set size": size, "abstained": abstains}
    return {
        "asked_coverage": coverage,
        "n": len(gold),
        "least_probability": cuts,
        "figures": [mean_of(name, column) for name, column in columns.items()],
        "curve": risk_coverage(p.max(1), p.argmax(1) == gold),
    }


def _folds(clusters: Sequence[str], seed: int) -> NDArray[np.intp]:
    names = sorted(set(clusters))
    random.Random(seed).shuffle(names)
    fold_of = {name: i % N_FOLDS for i, name in enumerate(names)}
    return np.array([fold_of[c] for c in clusters])


def risk_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_], n_points: int = 20) -> dict[str, Any]:
    """Error among the most confident share of samples, at `n_points` shares, and the area under the curve (AURC).

    After Geifman & El-Yaniv 2017. Samples of one confidence enter together.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], 1.0 - right[order]
    risk = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    # Within a tie the order is an accident: every sample of it takes the risk at its end.
    last = np.searchsorted(-ranked, -ranked, side="right") - 1
    risk = risk[last]
    places = np.unique(np.linspace(1, len(wrong), n_points).round().astype(int)) - 1
    points = [{"coverage": float((i + 1) / len(wrong)), "risk": float(risk[i])} for i in places]
    return {"points": points, "aurc": float(risk.mean())}
