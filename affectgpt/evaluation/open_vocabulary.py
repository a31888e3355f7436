"""Free emotion words against free emotion words, by the tree of this project's lexicon.

For a sample, every answered word is as right as its nearest gold word is near, and every gold word as found as its
nearest answered word is near: nearness is 1 - tree distance. So neutral is a feeling like any other; a word that the
lexicon does not know is near to nothing but itself and costs precision; and listing many words buys recall at the price
of precision, which the mean of per-sample F does not forgive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from affectgpt.emotions import load_lexicon, normalise

__all__ = ["WordScore", "score_words"]


@dataclass(frozen=True, slots=True)
class WordScore:
    """One sample. precision, recall, f in [0, 1]; distance in [0, 1] from the gold to the word named first.

    `unknown` lists the answered words that are in no lexicon.
    """

    precision: float
    recall: float
    f: float
    distance: float
    unknown: tuple[str, ...] = ()


def score_words(gold: Sequence[str], answered: Sequence[str]) -> WordScore:
    """Score one sample's words. An empty answer scores 0 and stands at distance 1; so does an empty gold."""
    truth, said = _distinct(gold), _distinct(answered)
    unknown = tuple(name for name, known in said.items() if not known)
    if not truth or not said:
        return WordScore(0.0, 0.0, 0.0, 1.0, unknown)
    near = {(g, s): 1.0 - _distance(g, truth[g], s, said[s]) for g in truth for s in said}
    precision = sum(max(near[g, s] for g in truth) for s in said) / len(said)
    recall = sum(max(near[g, s] for s in said) for g in truth) / len(truth)
    total = precision + recall
    first = next(iter(said))
    nearest = 1.0 - max(near[g, first] for g in truth)
    return WordScore(precision, recall, 2 * precision * recall / total if total else 0.0, nearest, unknown)


def _distinct(words: Sequence[str]) -> dict[str, bool]:
    """Node name -> True, or the normalised text -> False where the lexicon does not know it; in order, no repeats."""
    return dict(_node(w) for w in words if w.strip())


@lru_cache(maxsize=100_000)
def _node(word: str) -> tuple[str, bool]:
    found = load_lexicon().resolve(word)
    # A blank stands before what is unknown, so that it can never be taken for a node of the same spelling.
    return (found.node, True) if found else (f" {normalise(word) or word.strip()}", False)


def _distance(a: str, a_known: bool, b: str, b_known: bool) -> float:
    if a == b:
        return 0.0
    return load_lexicon().distance(a, b) if a_known and b_known else 1.0
