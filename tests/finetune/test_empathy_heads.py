"""The head of empathy is judged on writers that it never saw, and its files are made again byte for byte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.empathy import HEAD, SCALES
from affectgpt.appraise.heads import load_head
from finetune import empathy_heads
from finetune.folding import N_FOLDS, folds

N_PEOPLE = 20
WIDTH = 1152


def features(texts: Sequence[str]) -> np.ndarray:
    """Vectors of the encoder's width whose first number is how often a text says `sad`."""
    rows = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in zip(rows, texts, strict=True):
        draw = np.random.default_rng(sum(text.encode()))
        row[:] = 0.1 * draw.normal(size=WIDTH)
        row[:40] += text.split().count("sad")
    return rows


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A corpus of 20 people who wrote four messages each; who says `sad` more often is more moved."""
    folder = tmp_path / "shared" / "text" / "empathic_reactions"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    lines = ["message_id,response_id,article_id,empathy,distress,empathy_bin,distress_bin,essay"]
    for k in range(4 * N_PEOPLE):
        n = int(draw.integers(0, 6))
        empathy, distress = np.clip([1 + n + 0.3 * draw.normal(), 2 + 0.5 * n + 0.3 * draw.normal()], 1, 7)
        essay = " ".join(["it is"] * int(draw.integers(3, 20)) + ["sad"] * n)
        lines.append(f"m{k},p{k // 4},1,{empathy:.3f},{distress:.3f},0,0,{essay}")
    (folder / "messages.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "shared"


@pytest.mark.slow
def test_a_head_is_fitted_judged_by_people_and_made_again(shared: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    told = [
        empathy_heads.train(shared, tmp_path / name, 0, answers if name == "a" else None, features) for name in "ab"
    ]
    assert told[0] == told[1]
    assert told[0]["n_people"] == N_PEOPLE
    for name in SCALES:
        r, low, high = told[0][f"pearson_{name}"]
        assert 0.7 < low <= r <= high
        assert told[0][f"pearson_{name}_gain"][1] > 0
    for side in ("default", "permissive"):
        head = load_head(HEAD, folder=tmp_path / "a" / side)
        assert head.classes == SCALES
        assert head.card["sha256"] == load_head(HEAD, folder=tmp_path / "b" / side).card["sha256"]
    rows = [json.loads(line) for line in answers.read_text("utf-8").splitlines()]
    assert len(rows) == 4 * N_PEOPLE
    assert "without the writer" in rows[0]["origin"]
    assert all(1 <= v <= 7 for r in rows for v in r["values"].values())


def test_nobody_is_answered_for_by_a_head_that_saw_them() -> None:
    # Each person has a mark of their own and a mood that nothing but the mark tells.
    draw = np.random.default_rng(4)
    people = [f"p{k // 5}" for k in range(150)]
    x = np.repeat(draw.normal(size=(30, 50)), 5, axis=0).astype(np.float32)
    y = 4 + np.repeat(draw.normal(size=(30, 2)), 5, axis=0)
    guess = empathy_heads.held_out_answers(x, y, people, folds(people, 0), 0)
    assert all(abs(np.corrcoef(guess[:, c], y[:, c])[0, 1]) < 0.6 for c in range(2))
    assert len(set(folds(people, 0))) == N_FOLDS
