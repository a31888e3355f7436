"""Count how feelings follow each other on MELD, and measure what that adds: `python -m finetune.dialogue.transitions`.

Counted on the training dialogues that the words' heads were fitted on. How much inertia and contagion count is set on
the tenth of the training dialogues that nothing was fitted on, by log loss of the beliefs; figures are of the
development side, which sets nothing, with and without, over whole dialogues.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import cards
from affectgpt.corpora import MELD, Example, read_meld
from affectgpt.dialogue.decoding import decode, filtered
from affectgpt.dialogue.hearing import EncoderHearing
from affectgpt.dialogue.transitions import Transitions, count, log_ratios, weights_folder
from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, difference, interval
from finetune.cards import making
from finetune.word_corpora import dialogues as dialogue_of
from finetune.word_corpora import drawn

__all__ = ["Dialogue", "beliefs", "dialogues", "figures", "main", "tune"]

HELD_SHARE = 0.1
"""As in `finetune.word_corpora`: the same draw, so that what is held here was held there."""
GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
LineHead = Literal["basic8", "meld7"]
Double = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Dialogue:
    """One dialogue: who said each of T lines, the labels' numbers (T,), and the readings (T, 7) where it was read."""

    name: str
    speakers: tuple[str, ...]
    labels: Ints
    readings: Double


def dialogues(rows: Sequence[Example], hearing: EncoderHearing | None) -> list[Dialogue]:
    """Whole dialogues of MELD's rows, in order; read line by line where somebody hears."""
    by_name: dict[str, list[Example]] = {}
    for row in rows:
        by_name.setdefault(row.group["dialogue"], []).append(row)
    found = []
    for name, lines in by_name.items():
        said = [e.text or "" for e in lines]
        readings = hearing.emissions(said, len(said)) if hearing else np.zeros((len(said), len(MELD)))
        labels = np.array([MELD.index(str(e.label)) for e in lines], np.intp)
        found.append(Dialogue(name, tuple(e.group["speaker"] for e in lines), labels, readings))
    return found


def tune(held: Sequence[Dialogue], own: Double, other: Double) -> tuple[float, float]:
    """Inertia and contagion of GRID with the least log loss of the beliefs; ties go to the smaller."""
    losses = {}
    for inertia, contagion in product(GRID, GRID):
        transitions = Transitions(MELD, log_ratios(own), log_ratios(other), inertia, contagion)
        p = beliefs(held, transitions)
        gold = np.concatenate([d.labels for d in held])
        losses[inertia, contagion] = float(-np.log(np.maximum(p[np.arange(len(gold)), gold], 1e-12)).mean())
    return min(losses, key=lambda k: (round(losses[k], 6), k))


def beliefs(read: Sequence[Dialogue], transitions: Transitions) -> Double:
    """What every line's label is believed to be from the lines up to it: (lines, 7)."""
    return np.concatenate([filtered(d.readings, d.speakers, transitions) for d in read])


def figures(read: Sequence[Dialogue], transitions: Transitions) -> dict[str, Any]:
    """Macro and weighted F1 without, by the best course and by beliefs, and the differences, by whole dialogues."""
    gold = np.concatenate([d.labels for d in read])
    answers = {
        "lines_alone": np.concatenate([d.readings.argmax(axis=1) for d in read]),
        "best_course": np.concatenate([decode(d.readings, d.speakers, transitions) for d in read]),
        "beliefs": beliefs(read, transitions).argmax(axis=1),
        "inertia_only": beliefs(read, _only(transitions, "inertia")).argmax(axis=1),
        "contagion_only": beliefs(read, _only(transitions, "contagion")).argmax(axis=1),
    }
    how = Resampling(1000, 0, [d.name for d in read for _ in d.labels])
    found: dict[str, Any] = {"n": len(gold), "n_dialogues": len(read)}
    for average in ("macro", "weighted"):
        scored = {name: _scorer(gold, said, average) for name, said in answers.items()}
        for name, score in scored.items():
            found[f"{name}_{average}_f1"] = _listed(interval(name, score, len(gold), how))
            if name != "lines_alone":
                figure, p = difference(name, score, scored["lines_alone"], len(gold), how)
                found[f"{name}_{average}_f1_gain"] = [*_listed(figure), round(p, 4)]
    return found


def main(argv: list[str] | None = None) -> None:
    """Count, set, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds text/meld")
    parser.add_argument("--out", type=Path, default=weights_folder())
    parser.add_argument("--line-head", choices=get_args(LineHead), default="basic8")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    folder = asked.shared / "text" / "meld"
    hearing = EncoderHearing(line_head=asked.line_head)
    train = read_meld(folder / "train_sent_emo.csv").usable
    aside = drawn(dialogue_of(train), HELD_SHARE, asked.seed)
    fitted = dialogues([e for e, held in zip(train, aside, strict=True) if not held], None)
    held = dialogues([e for e, held in zip(train, aside, strict=True) if held], hearing)
    own, other = count([list(zip(d.speakers, d.labels.tolist(), strict=True)) for d in fitted], len(MELD))
    inertia, contagion = tune(held, own, other)
    judged = dialogues(read_meld(folder / "dev_sent_emo.csv").usable, hearing)
    found = figures(judged, Transitions(MELD, log_ratios(own), log_ratios(other), inertia, contagion))
    card = {
        "data": ["MELD"],
        "licence": {"MELD": "GPL-3.0"},
        "split": "counted on MELD's train less a tenth of it, which set inertia and contagion; figures on its dev",
        "labels": list(MELD),
        "inertia": inertia,
        "contagion": contagion,
        "line_head": asked.line_head,
        "metrics": found,
        "gain": "each gain: difference, its interval, and the two-sided bootstrap p",
        **making(asked.seed),
    }
    _write(asked.out, own, other, card)
    print(json.dumps(found | {"inertia": inertia, "contagion": contagion}, indent=1))


def _write(out: Path, own: Double, other: Double, card: Mapping[str, Any]) -> None:
    tensors = {"own": own.astype(np.float32), "other": other.astype(np.float32)}
    data, full = cards.sealed(tensors, card)
    cards.write_weights(out, "transitions", data, full)


def _only(transitions: Transitions, which: str) -> Transitions:
    weights = {
        "inertia": (transitions.inertia, 0.0),
        "contagion": (0.0, transitions.contagion),
    }[which]
    return Transitions(transitions.labels, transitions.own, transitions.other, *weights)


def _scorer(gold: Ints, said: Ints, average: str) -> Any:
    def f1(at: Ints) -> float:
        return metrics.f1(metrics.confusion(gold[at], said[at], len(MELD)), average)

    return f1


def _listed(figure: Any) -> list[float]:
    return [round(x, 4) for x in (figure.value, figure.low, figure.high)]


if __name__ == "__main__":
    main()
