"""Folds by name, and the ridge penalty that does best on them: nothing of one name is fitted on and answered for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation import metrics

__all__ = ["N_FOLDS", "answer_by_penalty", "choose_penalty", "folds"]

N_FOLDS = 5

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def folds(names: Sequence[str], seed: int) -> NDArray[np.intp]:
    """The fold of each row (B,), 0 to N_FOLDS - 1: rows of one name stand in one."""
    unlike = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(unlike))
    place = {unlike[k]: int(n % N_FOLDS) for n, k in enumerate(order)}
    return np.array([place[name] for name in names], np.intp)


def choose_penalty(
    x: Floats, y: Doubles, names: Sequence[str], penalties: Sequence[float], seed: int
) -> tuple[float, Doubles]:
    """The penalty with the best mean of Pearson's r over the columns, by folds, and what those folds said (B, C).

    NaN marks a number that is not known; a row that lacks one is answered for and not fitted on.
    """
    fold = folds(names, seed)
    said = np.zeros((len(penalties), *y.shape))
    for k in range(N_FOLDS):
        rest = fold != k
        said[:, ~rest] = answer_by_penalty(x[rest], y[rest], x[~rest], penalties)
    best = max(range(len(penalties)), key=lambda p: _mean_r(y, said[p]))
    return penalties[best], said[best]


def answer_by_penalty(x: Floats, y: Doubles, asked: Floats, penalties: Sequence[float]) -> Doubles:
    """What `fitting.fit_ridge` with each penalty says of the rows asked (P, B, C), but for its rounding to half floats.

    The product of the rows is taken once for all penalties and columns.
    """
    from scipy.linalg import cho_factor, cho_solve

    known = np.isfinite(y).all(axis=1)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    rows, other = ((x[known] - mean) / scale).astype(np.float64), ((asked - mean) / scale).astype(np.float64)
    usual = y[known].mean(axis=0)
    inner, right = rows.T @ rows, rows.T @ (y[known] - usual)
    diagonal = np.eye(len(inner)) * len(rows)
    return np.stack([other @ cho_solve(cho_factor(inner + p * diagonal), right) + usual for p in penalties])


def _mean_r(y: Doubles, said: Doubles) -> float:
    known = np.isfinite(y)
    return float(np.mean([metrics.pearson(y[k, c], said[k, c]) for c, k in enumerate(known.T)]))
