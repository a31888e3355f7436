from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.appraise.heads import save_head
from finetune.fitting import Fit, Recipe, fit, fit_ridge, temperature

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(600, 8)).astype(np.float32)
LABELS = (X[:, 0] + 0.1 * DRAW.normal(size=600) > 0).astype(np.int64) + (X[:, 1] > 1)
TAGS = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(np.float32)


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize(("kind", "y"), [("softmax", LABELS), ("sigmoid", TAGS)])
def test_one_seed_gives_the_same_bytes_and_another_does_not(hidden: int, kind: str, y: Any) -> None:
    recipe = Recipe(kind, hidden=hidden, epochs=4)
    first, second, other = (
        fit(X, y, recipe),
        fit(X, y, recipe),
        fit(X, y, Recipe(kind, hidden=hidden, epochs=4, seed=1)),
    )
    for name, tensor in first.weights.items():
        assert tensor.tobytes() == second.weights[name].tobytes()
    assert first.weights["0.weight"].tobytes() != other.weights["0.weight"].tobytes()


@pytest.mark.parametrize("hidden", [0, 16])
def test_what_is_learnt_is_what_the_saved_head_gives(tmp_path: Path, hidden: int) -> None:
    found = fit(X[:400], LABELS[:400], Recipe("softmax", hidden=hidden, epochs=20, rate=1e-2, decay=0.0))
    assert (found(X[400:]).argmax(axis=1) == LABELS[400:]).mean() > 0.7
    card = dict.fromkeys(("data", "licence", "split", "metrics", "date", "commit", "seed"), "none")
    head = save_head(
        tmp_path, "tone", found.weights,
        {**card, "classes": ["a", "b", "c"], "kind": "softmax", "temperature": 1.0, "input": {"width": 8}},
    )  # fmt: skip
    np.testing.assert_allclose(head.logits(X), found(X), atol=1e-4)


def test_a_rows_weight_moves_the_temperature() -> None:
    sure = np.array([[4.0, 0.0]] * 100)
    gold = np.array([0] * 50 + [1] * 50)
    right, wrong = np.repeat([1.0, 0.01], 50), np.repeat([0.01, 1.0], 50)
    assert temperature(sure, gold, "softmax", right) < temperature(sure, gold, "softmax") <= 7.5
    assert temperature(sure, gold, "softmax", wrong) == temperature(sure, gold, "softmax")


def test_ridge_finds_the_line_and_leaves_out_what_is_not_known() -> None:
    truth = DRAW.normal(size=(8, 2))
    y = X @ truth + 1.0
    y[::3, 1] = np.nan
    found = fit_ridge(X, y, 1e-6)
    np.testing.assert_allclose(found(X), X @ truth + 1.0, atol=0.02)


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(heat: float) -> None:
    logits = DRAW.normal(size=(20_000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gold = (p.cumsum(axis=1) > DRAW.random((20_000, 1))).argmax(axis=1)
    assert temperature(logits * heat, gold, "softmax") == pytest.approx(heat, rel=0.05)
    yes = (DRAW.random((20_000, 4)) < 1 / (1 + np.exp(-logits))).astype(float)
    assert temperature(logits * heat, yes, "sigmoid") == pytest.approx(heat, rel=0.05)


def test_taking_off_the_prior_helps_the_rare_class() -> None:
    rare = (X[:, 0] > 1.2).astype(np.int64)
    plain, corrected = (fit(X, rare, Recipe("softmax", epochs=5, prior=p)) for p in (0.0, 1.0))
    assert isinstance(plain, Fit)
    assert (corrected(X).argmax(axis=1) == 1).sum() > (plain(X).argmax(axis=1) == 1).sum()
