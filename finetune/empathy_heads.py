"""Fit the head of empathy and distress: `python -m finetune.empathy_heads --shared DATA`.

Empathic Reactions has 1,455 messages by 291 people and no side to judge on, so that the figures are of folds: each
message is answered by a head that never saw a message of its writer, its penalty chosen on the other folds' people. The
head that ships is fitted on all of them. `--answers FILE` writes the folds' answers for `affectgpt evaluate`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.empathy import HEAD, SCALES, reaction_rows
from affectgpt.appraise.encoder import load_encoder
from affectgpt.appraise.heads import Head, head_folder, load_head, save_head
from affectgpt.appraise.words import HEADS, LAYERS
from affectgpt.corpora import Example, read_empathic_reactions
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, difference
from finetune import held_out
from finetune import word_figures as figures
from finetune.cards import making
from finetune.fitting import Fit, fit_ridge, threads
from finetune.folding import N_FOLDS, choose_penalty, folds
from finetune.word_heads import Features, straightened

__all__ = ["fit_head", "held_out_answers", "train"]

PENALTIES = (0.3, 1.0, 3.0, 10.0)
SETS = (False, True)
"""Permissive or not: CC BY 4.0 lets the head stand in both."""
DATA = {"Empathic Reactions": "CC BY 4.0", "GoEmotions": "Apache-2.0", "EmoBank": "CC BY-SA 4.0"}
"""The latter two by way of the tuned encoder and its tags."""

Doubles = NDArray[np.float64]


def train(
    shared: Path, out: Path, seed: int = 0, answers: Path | None = None, features: Features | None = None
) -> dict[str, Any]:
    """Fit, judge by folds and write the head into both sets under `out`; the figures.

    features: the tuned encoder's, unless they are given. answers: where the folds' answers go as JSON lines.

    Raises:
        InputError: the corpus is not there.
    """
    messages = read_empathic_reactions(shared / "text" / "empathic_reactions" / "messages.csv").usable
    y = np.array([[e.values[name] for name in SCALES] for e in messages])
    people = [e.group["person"] for e in messages]
    read, tags = features or _tuned, load_head(HEADS["goemotions28"])
    x = reaction_rows([e.text or "" for e in messages], read, tags.logits)
    with threads(1):
        fold = folds(people, seed)
        guess = held_out_answers(x, y, people, fold, seed)
        length = length_answers(messages, y, fold)
        found, penalty = fit_head(x, y, people, seed)
    measured = _figures(guess, length, y, people)
    card = {
        "data": list(DATA), "licence": DATA, "classes": list(SCALES), "kind": "regression", "range": [1.0, 7.0],
        "temperature": 1.0, "penalty": penalty, "metrics": measured,
        "split": f"fitted on all; slopes and figures from {N_FOLDS} folds without the writer who is answered for",
    }  # fmt: skip
    for permissive in SETS:
        _save(out / head_folder(permissive).name, permissive, found, card | making(seed))
    if answers:
        _write_answers(answers, messages, guess)
    return measured


def held_out_answers(x: NDArray[np.float32], y: Doubles, people: Sequence[str], fold: Any, seed: int) -> Doubles:
    """What heads say of messages (B, 2) whose writers they never saw, penalty and slopes set on other folds."""
    guess = np.zeros_like(y)
    for k in range(N_FOLDS):
        rest = fold != k
        others = [p for p, is_rest in zip(people, rest, strict=True) if is_rest]
        penalty, inner = choose_penalty(x[rest], y[rest], others, PENALTIES, seed + 1 + k)
        found = straightened(fit_ridge(x[rest], y[rest], penalty), inner, y[rest])
        guess[~rest] = np.clip(found(x[~rest]), 1, 7)
    return guess


def fit_head(x: NDArray[np.float32], y: Doubles, people: Sequence[str], seed: int) -> tuple[Fit, float]:
    """The head fitted on all messages, with the penalty that does best by folds, and that penalty."""
    penalty, inner = choose_penalty(x, y, people, PENALTIES, seed)
    return straightened(fit_ridge(x, y, penalty), inner, y), penalty


def length_answers(messages: Sequence[Example], y: Doubles, fold: NDArray[np.intp]) -> Doubles:
    """What the number of words alone says (B, 2), by the same folds: a line on its logarithm."""
    words = np.log1p([len((e.text or "").split()) for e in messages])
    guess = np.zeros_like(y)
    for k in range(N_FOLDS):
        rest = fold != k
        for c in range(y.shape[1]):
            guess[~rest, c] = np.polyval(np.polyfit(words[rest], y[rest, c], 1), words[~rest])
    return guess


def _figures(guess: Doubles, length: Doubles, y: Doubles, people: Sequence[str]) -> dict[str, Any]:
    """Pearson's r with its interval over people, beside the number of words alone, and how much better than that."""
    how = Resampling(clusters=tuple(people))
    told: dict[str, Any] = figures.of_numbers(guess, y, SCALES, y.mean(axis=0).tolist())
    for c, name in enumerate(SCALES):

        def ours(at: NDArray[np.intp], c: int = c) -> float:
            return metrics.pearson(y[at, c], guess[at, c])

        def words(at: NDArray[np.intp], c: int = c) -> float:
            return metrics.pearson(y[at, c], length[at, c])

        told[f"pearson_{name}"] = figures.figure(ours, len(y), how)
        told[f"pearson_{name}_length"] = figures.figure(words, len(y), how)
        gain, p = difference(name, ours, words, len(y), how)
        told[f"pearson_{name}_gain"] = [round(v, 4) for v in (gain.value, gain.low, gain.high, p)]
    return told | {"n_people": len(set(people))}


def _tuned(texts: Sequence[str]) -> NDArray[np.float32]:
    return load_encoder(tuned="default").features(texts, LAYERS)


def _save(folder: Path, permissive: bool, found: Fit, card: dict[str, Any]) -> Head:
    tags = load_head(HEADS["goemotions28"], permissive)
    given = {"width": len(found.weights["0.weight"]), **{k: v for k, v in tags.card["input"].items() if k != "width"}}
    return save_head(folder, HEAD, found.weights, card | {"input": given})


def _write_answers(path: Path, messages: Sequence[Example], guess: Doubles) -> None:
    origin = f"{HEAD}, fitted in {N_FOLDS} folds without the writer who is answered for"
    rows = [
        {"id": e.id, "values": dict(zip(SCALES, map(float, g), strict=True))}
        for e, g in zip(messages, guess, strict=True)
    ]
    held_out.write(path, [rows[0] | {"origin": origin}, *rows[1:]])


def main(argv: list[str] | None = None) -> None:
    """Train and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--out", type=Path, default=head_folder().parent, help="default: where the package reads them")
    parser.add_argument("--answers", type=Path, help="write the folds' answers as JSON lines")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    print(json.dumps(train(asked.shared, asked.out, asked.seed, asked.answers), indent=1))


if __name__ == "__main__":
    main()
