"""Which words caused the feeling: the words answered against the spans that annotators marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation.measures import Measure, ScoringPlan, with_gold
from affectgpt.evaluation.samples import Sample

__all__ = ["cause"]

_SURE = 0.5
_WORD = re.compile(r"\S+")


def cause(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """F1 over all words, and the mean AUROC within an utterance of the words inside the spans against the others.

    Over the samples whose spans stand in their own text. An answer that gives no words (a baseline) names every one;
    no answer names none. Within an utterance, one whose words are all of one kind has no AUROC and is left out.
    """
    members = with_gold(samples, lambda s: any(span and span in s.text for span in s.spans))
    each = [_read(samples[i]) for i in members]
    counts = np.array([_counts(gold, p >= _SURE) for gold, p in each], np.float64).reshape(-1, 3)
    ranked = np.array([_auroc(p, gold) for gold, p in each])

    def f1(at: NDArray[np.intp]) -> float:
        both, said, there = counts[at].sum(0)
        return float(2 * both / (said + there)) if said + there else float("nan")

    def within(at: NDArray[np.intp]) -> float:
        kept = ranked[at][np.isfinite(ranked[at])]
        return float(kept.mean()) if len(kept) else float("nan")

    alone = int((~np.isfinite(ranked)).sum())
    note = f"within an utterance; {alone} of {len(members)} hold words of one kind alone"
    return [
        Measure("cause words F1", f1, members),
        Measure("cause words AUROC", within, members, note=note),
    ]


def _read(sample: Sample) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of each answered word, in the order it stands: whether it lies in a span, and its probability."""
    said = sample.answer.facts.get("cause") if sample.status == "scored" else []
    places = [(m.start(), m.end(), 1.0) for m in _WORD.finditer(sample.text)]
    if said is not None:
        places = _placed(sample.text, said) or [(a, b, 0.0) for a, b, _ in places]
    inside = [(at, at + len(s)) for s in sample.spans if s and (at := sample.text.find(s)) >= 0]
    gold = [any(a < stop and b > start for start, stop in inside) for a, b, _ in places]
    return np.array(gold, bool), np.array([p for _, _, p in places], np.float64)


def _placed(text: str, said: Sequence[Sequence[object]]) -> list[tuple[int, int, float]]:
    found, start = [], 0
    for word, p in said:
        at = text.find(str(word), start)
        if at >= 0:
            start = at + len(str(word))
            found.append((at, start, float(p)))  # type: ignore[arg-type]
    return found


def _counts(gold: NDArray[np.bool_], said: NDArray[np.bool_]) -> tuple[int, int, int]:
    return int((gold & said).sum()), int(said.sum()), int(gold.sum())


def _auroc(p: NDArray[np.float64], gold: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties at half (Mann & Whitney 1947); NaN where all words are of one kind."""
    inside, outside = p[gold], p[~gold]
    if not len(inside) or not len(outside):
        return float("nan")
    more = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    return float(more)
