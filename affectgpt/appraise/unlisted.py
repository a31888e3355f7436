"""Words for feelings that the lexicon does not list: the nearest feeling by sentence vectors, its polarity guarded.

In that space opposites are neighbours (*angry* lies nearer to *calm* than to *furious*), so nearness alone is not
believed: a polarity and a basic feeling are fitted on the lexicon's own words, a feeling of the wrong sign is paid for,
and a word whose sign is in doubt names nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import N_LAYERS, Encoder
from affectgpt.appraise.heads import Head
from affectgpt.emotions import load_lexicon, normalise

__all__ = ["LAYERS", "POLARITIES", "UnlistedFeeling", "UnlistedHeads", "feelings", "polarity_of", "word_rows"]

LAYERS = (2, 4, N_LAYERS)
POLARITIES = ("negative", "neither", "positive")
SMALLEST_VALENCE = 0.15
"""A node's valence below which it is neither negative nor positive: neutral and surprise stand there."""
POLARITY_WEIGHT, BASIC_WEIGHT = 0.15, 0.10
"""Cosine that one nat of log probability is worth. On held-out stems of the lexicon this pair, the only one tried,
brings the right basic from 56 to 67 of 100 words and the wrong sign from 18 to 10."""
SMALLEST_MARGIN = 0.4
"""Difference between the two signs' probabilities below which a word is in doubt: on held-out stems 17 of 100 words
that have a sign; of the rest 93 get the right one."""
MAX_WORDS = 4
_FLOOR = 1e-3

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class UnlistedFeeling:
    """A guess: the lexicon's node and basic, the cosine to that node's words, and the word's own polarity, -1 to 1."""

    node: str
    basic: str
    similarity: float
    polarity: float


@dataclass(frozen=True, slots=True, eq=False)
class UnlistedHeads:
    """The three heads: cosine to each node's words, the polarity, and the basic feeling."""

    nodes: Head
    polarity: Head
    basic: Head


def feelings(words: Sequence[str], encoder: Encoder, heads: UnlistedHeads) -> list[UnlistedFeeling | None]:
    """What each word or short phrase names; None for a sentence, for nothing, and where the guard is in doubt."""
    lexicon = load_lexicon()
    short = [normalise(w) for w in words]
    asked = [k for k, w in enumerate(short) if w and len(w.split()) <= MAX_WORDS]
    found: list[UnlistedFeeling | None] = [None] * len(words)
    if not asked:
        return found
    rows = word_rows([short[k] for k in asked], encoder)
    near = heads.nodes.logits(unit(rows[:, -encoder_width(rows) :]))
    signs, basics = heads.polarity.probabilities(rows), heads.basic.probabilities(rows)
    node_sign = [POLARITIES.index(polarity_of(n)) for n in heads.nodes.classes]
    node_basic = [heads.basic.classes.index(lexicon.nodes[n].basic) for n in heads.nodes.classes]
    score = near + POLARITY_WEIGHT * np.log(signs + _FLOOR)[:, node_sign]
    score += BASIC_WEIGHT * np.log(basics + _FLOOR)[:, node_basic]
    smallest = float(heads.nodes.card["smallest_similarity"])
    for row, k in enumerate(asked):
        best, polarity = int(score[row].argmax()), float(signs[row, 2] - signs[row, 0])
        name, sign = heads.nodes.classes[best], node_sign[best] - 1
        if near[row, best] < smallest or sign * polarity < 0 or (sign and abs(polarity) < SMALLEST_MARGIN):
            continue
        found[k] = UnlistedFeeling(name, lexicon.nodes[name].basic, float(near[row, best]), polarity)
    return found


def word_rows(words: Sequence[str], encoder: Encoder) -> Float:
    """Rows (B, 2304): each word's features alone, then in "I feel …."; the last 384 are the sentence's last layer."""
    alone = encoder.features(words, LAYERS)
    return np.concatenate([alone, encoder.features([f"I feel {w}." for w in words], LAYERS)], axis=1)


def unit(rows: Float) -> Float:
    """Rows of unit length."""
    scaled: Float = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def encoder_width(rows: Float) -> int:
    """Width of one layer in rows of `word_rows`."""
    return rows.shape[1] // (2 * len(LAYERS))


def polarity_of(node: str) -> str:
    """The polarity of a lexicon node, by its valence."""
    valence = load_lexicon().vad(node).valence
    return POLARITIES[1 + (valence > SMALLEST_VALENCE) - (valence < -SMALLEST_VALENCE)]
