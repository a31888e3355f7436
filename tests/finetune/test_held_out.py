"""A person's own clips and photographs have no say in the answers over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.given import GivenAnswers
from finetune import held_out
from finetune.appraise_face import FaceRows
from finetune.appraise_voice import Rows


@pytest.fixture(scope="module")
def voices() -> Rows:
    draw = np.random.default_rng(0)
    label = np.tile(np.arange(8), 20)
    actor = np.repeat([f"{k:02d}" for k in range(1, 11)], 16)
    x = draw.normal(size=(160, 6)) + np.eye(8)[label][:, :6] * 3
    return Rows(x, label, np.full(160, "clean"), actor, np.full(160, "1"))


@pytest.mark.slow
def test_a_speakers_labels_do_not_move_the_answers_over_that_speaker(voices: Rows) -> None:
    p = held_out.voice_answers(voices)
    assert p.sum(axis=1) == pytest.approx(np.ones(160))
    assert (p.argmax(axis=1) == voices.label).mean() > 0.4
    folds = held_out.appraise_voice.held_out_speakers(voices, 0)
    own = folds[0]
    moved = replace(voices, label=np.where(own, (voices.label + 1) % 8, voices.label))
    # The temperature, set on the others, may move: it stretches a row and keeps its order.
    assert (held_out.voice_answers(moved)[own].argsort(axis=1) == p[own].argsort(axis=1)).all()


def test_photographs_that_hold_nothing_in_common_are_answered_by_chance() -> None:
    draw = np.random.default_rng(1)
    label, person = np.tile(np.arange(4), 40), np.array([f"p{k}" for k in range(160)])
    even = np.log(np.full((160, 8), 1 / 8))
    told = FaceRows(draw.normal(size=(160, 5)) + np.eye(5)[label] * 2, even, label, person, (1, 2, 4, 5, 6))
    # So many numbers that a fit on the same photographs would name every label.
    noise = FaceRows(draw.normal(size=(160, 120)), even, label, person, (1,))
    right = [(held_out.face_answers(rows, 0.01).argmax(axis=1) == label).mean() for rows in (told, noise)]
    assert right[0] > 0.6
    assert right[1] < 0.4


def test_answers_are_written_as_evaluation_reads_them(tmp_path: Path) -> None:
    labels = LabelSet("basic8")
    p = np.eye(8)[:3] * 0.93 + 0.01
    n = held_out.write(tmp_path / "deep" / "a.jsonl", held_out.rows(["x", "y", "z"], labels.labels, p, "folds"))
    given = GivenAnswers(labels, str(tmp_path / "deep" / "a.jsonl"))
    assert n == 3
    assert given.origin == "folds"
    assert [given._one(name).label for name in "xyz"] == list(labels.labels[:3])  # type: ignore[union-attr]
