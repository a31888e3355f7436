"""Replies beside the one that a person gave: the same words, the same feeling, and how little they repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation.measures import Measure, ScoringPlan, with_gold
from affectgpt.evaluation.reply_metrics import count_bleu, distinct
from affectgpt.evaluation.samples import Sample

__all__ = ["reply"]

READER = "basic8"
"""The reading of the words appraiser that says what a reply feels like."""
_FALLS = "falls as more replies are looked at: compare runs of one size"


def reply(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """BLEU-2 and BLEU-4, emotion match and overlap, distinct-1 and distinct-2.

    An unanswered sample stands as an empty reply: it adds its reference's length to BLEU's, and matches no feeling.
    Nothing is told of a run without a single text.

    Raises:
        MissingDependency: sacrebleu, or the sentence encoder.
    """
    members = with_gold(samples, lambda s: any(r.strip() for r in s.references))
    said = [samples[i].answer.text.strip() if samples[i].status == "scored" else "" for i in members]
    if not any(said):
        return []
    counts = count_bleu(said, [samples[i].references for i in members])
    return [
        Measure("BLEU-2", lambda at: counts.bleu(at, 2), members),
        Measure("BLEU-4", lambda at: counts.bleu(at, 4), members),
        *_feelings([samples[i] for i in members], said, members),
        *(
            Measure(f"distinct-{n}", lambda at, n=n: distinct((said[i] for i in at), n), members, True, _FALLS, False)  # type: ignore[misc]
            for n in (1, 2)
        ),
    ]


def _feelings(samples: Sequence[Sample], said: Sequence[str], members: NDArray[np.intp]) -> list[Measure]:
    """Whether the appraiser reads the reply as it reads the person's own, each after what the speaker said."""
    from affectgpt.appraise.words import HEADS, WordsAppraiser

    given = [next(r for r in s.references if r.strip()) for s in samples]
    before = [s.text for s in samples]
    rows = list(dict.fromkeys([*zip(before, said, strict=True), *zip(before, given, strict=True)]))
    found = WordsAppraiser().probabilities(READER, [text for _, text in rows], [[b] for b, _ in rows])
    place, p = {row: k for k, row in enumerate(rows)}, np.stack(list(found.values()), axis=1)
    ours = p[[place[row] for row in zip(before, said, strict=True)]]
    theirs = p[[place[row] for row in zip(before, given, strict=True)]]
    answered = np.array([bool(text) for text in said])
    match = answered & (ours.argmax(1) == theirs.argmax(1))
    overlap = np.where(answered, np.minimum(ours, theirs).sum(1), 0.0)
    note = f"by {HEADS[READER]}"
    return [
        Measure("emotion match", lambda at: float(match[at].mean()), members, note=note),
        Measure("emotion overlap", lambda at: float(overlap[at].mean()), members, note=note),
    ]
