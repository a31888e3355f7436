"""Tuning the sentence encoder: what is learnt, that it is the same again, and that a run broken off goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.encoder import Encoder, find_encoder
from affectgpt.appraise.low_rank import LowRankUpdate
from finetune.tune_encoder import Run, Task, Tuned, Tuning, losses, tune

WORDS = {"glad": ("happy", "joyful", "delighted", "cheerful"), "low": ("sad", "gloomy", "miserable", "dejected")}
TEXTS = [f"{who} was {word} {when}" for word in (*WORDS["glad"], *WORDS["low"]) for who in ("She", "The old man")
         for when in ("today", "at home", "again")]  # fmt: skip
GLAD = np.array([any(w in t for w in WORDS["glad"]) for t in TEXTS])
VALUES = np.stack([np.where(GLAD, 1.0, -1.0), np.where(GLAD, 0.5, np.nan)], axis=1)
TASKS = [
    Task("label", "softmax", TEXTS, GLAD.astype(np.intp), passes=2),
    Task("tags", "sigmoid", TEXTS, np.stack([GLAD, ~GLAD], axis=1).astype(np.float32)),
    Task("numbers", "regression", TEXTS, VALUES, passes=0.5),
]
TUNING = Tuning(rank=2, batch=8, checkpoint_steps=4)


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return tune(TASKS, TUNING)


def same(a: Tuned, b: Tuned) -> bool:
    return all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)


def test_one_seed_gives_the_same_bytes_and_another_does_not(tuned: Tuned) -> None:
    assert same(tuned, tune(TASKS, TUNING))
    assert not same(tuned, tune(TASKS, replace(TUNING, seed=1)))


def test_every_layer_gets_a_change_of_the_rank_and_the_encoder_takes_it(tuned: Tuned) -> None:
    update = LowRankUpdate({"sha256": "0"}, tuned.tensors)
    assert len(update.layers) == 36
    assert {tuned.tensors[f"{layer}.in"].shape[0] for layer in update.layers} == {TUNING.rank}
    changed, published = Encoder(find_encoder(), update=update), Encoder(find_encoder())
    assert np.abs(changed.features(TEXTS) - published.features(TEXTS)).max() > 0.01


def test_what_is_learnt_beats_the_best_constant_answer(tuned: Tuned) -> None:
    longer = tune([replace(TASKS[0], passes=6)], TUNING)
    told, constant = losses(longer, TASKS[:1], TUNING)["label"]
    assert constant == pytest.approx(np.log(2), abs=1e-3)
    assert told < 0.5 * constant
    assert set(losses(tuned, TASKS, TUNING)) == {"label", "tags", "numbers"}


def test_a_run_that_was_broken_off_goes_on_to_the_same_bytes(tuned: Tuned, tmp_path: Path) -> None:
    class Broken(Run):
        def _step(self, *given: object) -> object:  # type: ignore[override]
            if self.n_done == 10:
                raise KeyboardInterrupt
            return super()._step(*given)  # type: ignore[arg-type]

    import torch

    checkpoint = tmp_path / "run.checkpoint"
    torch.manual_seed(TUNING.seed)
    with pytest.raises(KeyboardInterrupt):
        Broken(TASKS, TUNING).finish(checkpoint)
    held = checkpoint.read_bytes()
    assert same(tuned, tune(TASKS, TUNING, checkpoint))
    assert not list(tmp_path.iterdir())
    # A checkpoint of another tuning is started over.
    checkpoint.write_bytes(held)
    assert same(tune(TASKS, replace(TUNING, seed=1), checkpoint), tune(TASKS, replace(TUNING, seed=1)))
