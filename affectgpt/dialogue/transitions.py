"""How feelings follow each other in a dialogue: two matrices counted from labelled talk, EmotionIC's SkipCRF plainly.

EmotionIC (Liu et al. 2023, arXiv 2303.11117) learns two matrices of K x K: from a speaker's own last feeling to theirs
now (inertia), and from the last feeling of somebody else (contagion). Read plainly, both are counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.cards import read_card, read_weights
from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError, ModelError

__all__ = [
    "PSEUDOCOUNT",
    "Steps",
    "Transitions",
    "count",
    "load_transitions",
    "log_ratios",
    "no_transitions",
    "steps",
    "weights_folder",
]

Double = NDArray[np.float64]

PSEUDOCOUNT = 1.0
"""Added to every cell (Laplace): the rarest pair of MELD's labels was never seen in its training side."""
_NAME = "transitions"


@dataclass(frozen=True, slots=True)
class Steps:
    """For each of T lines the place of its speaker's line before, and of the last line by anybody else; -1 for none."""

    own: tuple[int, ...]
    other: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """Log ratios (K, K), from a row's label to a column's: ln p(now | before) - ln p(now), and how much each counts.

    own: from the speaker's own last label. other: from the last label of somebody else. inertia and contagion are the
    exponents of the two, 0 for none of it. Ratios, since a reading of the line itself already holds how frequent a
    label is.
    """

    labels: tuple[str, ...]
    own: Double
    other: Double
    inertia: float = 1.0
    contagion: float = 1.0


def steps(speakers: Sequence[str]) -> Steps:
    """Where each line's own and other predecessors stand."""
    last: dict[str, int] = {}
    own, other = [], []
    for t, speaker in enumerate(speakers):
        own.append(last.get(speaker, -1))
        other.append(max((at for who, at in last.items() if who != speaker), default=-1))
        last[speaker] = t
    return Steps(tuple(own), tuple(other))


def count(dialogues: Sequence[Sequence[tuple[str, int]]], n_labels: int) -> tuple[Double, Double]:
    """Pairs of labels (K, K), own and other, over dialogues of (speaker, label number).

    Raises:
        InputError: a label's number outside 0 .. n_labels - 1.
    """
    own, other = np.zeros((n_labels, n_labels)), np.zeros((n_labels, n_labels))
    for lines in dialogues:
        if any(not 0 <= label < n_labels for _, label in lines):
            raise InputError("a label outside the set is counted", f"number them 0 to {n_labels - 1}")
        before = steps([speaker for speaker, _ in lines])
        for t, (_, label) in enumerate(lines):
            for matrix, place in ((own, before.own[t]), (other, before.other[t])):
                if place >= 0:
                    matrix[lines[place][1], label] += 1
    return own, other


def log_ratios(counts: Double) -> Double:
    """Ln p(column | row) - ln p(column) of counted pairs, smoothed; (K, K)."""
    smoothed = counts + PSEUDOCOUNT
    given = smoothed / smoothed.sum(axis=1, keepdims=True)
    alone = smoothed.sum(axis=0) / smoothed.sum()
    return np.asarray(np.log(given) - np.log(alone))


def weights_folder() -> Path:
    """Where the small tables of this room lie."""
    return Path(__file__).parent.parent / "weights" / "dialogue"


def no_transitions() -> Transitions:
    """No line counts for the next, over meld7: for whoever may not use counts of a corpus under the GPL."""
    labels = load_lexicon().labels("meld7")
    nothing = np.zeros((len(labels), len(labels)))
    return Transitions(labels, nothing, nothing, 0.0, 0.0)


@lru_cache(maxsize=4)
def load_transitions(folder: Path | None = None) -> Transitions:
    """The shipped matrices, or those of `folder`, checked against their card.

    Raises:
        ModelError: none there, changed since, or of shapes that do not fit.
    """
    folder = folder or weights_folder()
    card = read_card(folder, _NAME)
    tensors = read_weights(folder, _NAME, card)
    labels, k = tuple(card["labels"]), len(card["labels"])
    own, other = (np.asarray(tensors.get(name, ()), np.float64) for name in ("own", "other"))
    if own.shape != (k, k) or other.shape != (k, k):
        raise ModelError(f"{_NAME} does not fit together: {own.shape}, {other.shape} for {k} labels", "count it anew")
    return Transitions(labels, log_ratios(own), log_ratios(other), float(card["inertia"]), float(card["contagion"]))
