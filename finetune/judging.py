"""What an answer to a dev row is worth: whether it parses, whom it agrees with, and whether its evidence is there.

The same parser and the same check of claims as in inference and evaluation; nothing here knows a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from affectgpt.answers import labels
from affectgpt.evaluation import metrics
from affectgpt.grounding import check
from affectgpt.mentions import find_mentions
from affectgpt.parsing import parse, parse_text
from affectgpt.records import Completion, Explanation, Observations, Verdict
from finetune.observed import read_observations
from finetune.rows import Row

__all__ = ["Judged", "judge", "summarise"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer: `gold` and `label` of three-part rows (None is cannot tell), counts of claims and of named cues.

    `is_three_part` tells which task the row is of by its own answer; other rows are judged by `is_exact` alone.
    """

    row_number: int
    text: str
    is_three_part: bool
    is_parsed: bool
    is_exact: bool
    gold: str | None = None
    label: str | None = None
    n_claims: int = 0
    n_supported: int = 0
    n_named: int = 0
    n_imagined: int = 0
    n_shown: int = 0
    n_covered: int = 0
    faults: tuple[str, ...] = field(default=())


def judge(row: Row, completion: Completion) -> Judged:
    """The answer set beside the row's own answer and the evidence that its prompt shows."""
    wanted = parse_text(row.answer)
    is_exact = _fold(completion.text) == _fold(row.answer)
    if not isinstance(wanted, Explanation):
        return Judged(row.number, completion.text, False, completion.finish_reason != "length", is_exact)
    answer, seen = parse(completion), read_observations(row.messages)
    if not isinstance(answer, Explanation):
        return Judged(
            row.number, completion.text, True, False, is_exact, wanted.conclusion.label, n_shown=len(seen.items),
            faults=(answer.reason,),
        )  # fmt: skip
    grounding = check(answer, seen)
    named, imagined = _named(answer, seen)
    cited = {i for claim in answer.claims for i in claim.cites}
    return Judged(
        row.number,
        completion.text,
        True,
        True,
        is_exact,
        wanted.conclusion.label,
        answer.conclusion.label,
        len(grounding.claims),
        grounding.count(Verdict.SUPPORTED),
        named,
        imagined,
        len(seen.items),
        sum(o.id in cited for o in seen.items),
        tuple(f"{c.reason}: {c.claim.text}" for c in grounding.claims if c.verdict is not Verdict.SUPPORTED),
    )


def summarise(judged: Sequence[Judged]) -> dict[str, float]:
    """The figures over all answers, in [0, 1]; a figure that nothing was asked for is left out.

    parsed: share of answers that were read. label_f1: weighted F1 of the conclusion's label, cannot tell a class of
    its own, an unread answer a miss. supported: share of claims that what they cite carries. hallucinated: share of
    named cues that were not observed. covered: share of shown observations that were cited. exact: share of answers of
    the other tasks that equal the row's, case and punctuation aside.
    """
    parts = [j for j in judged if j.is_three_part]
    rest = [j for j in judged if not j.is_three_part]
    found: dict[str, float] = {"parsed": _share(sum(j.is_parsed for j in judged), len(judged))}
    if parts:
        found["label_f1"] = _label_f1(parts)
        found["supported"] = _share(sum(j.n_supported for j in parts), sum(j.n_claims for j in parts))
        found["hallucinated"] = _share(sum(j.n_imagined for j in parts), sum(j.n_named for j in parts))
        found["covered"] = _share(sum(j.n_covered for j in parts), sum(j.n_shown for j in parts))
    if rest:
        found["exact"] = _share(sum(j.is_exact for j in rest), len(rest))
    return {k: v for k, v in found.items() if v == v}


def _label_f1(parts: Sequence[Judged]) -> float:
    classes: Mapping[str | None, int] = {name: i for i, name in enumerate((*labels(), None))}
    gold = np.array([classes[j.gold] for j in parts], np.intp)
    said = np.array([classes[j.label] if j.is_parsed else metrics.NO_ANSWER for j in parts], np.intp)
    return metrics.f1(metrics.confusion(gold, said, len(classes)), "weighted")


def _named(answer: Explanation, seen: Observations) -> tuple[int, int]:
    """Cues that the explanation says are there, and how many of them were not observed."""
    observed = {o.cue for o in seen.items}
    told_missing = " ".join(o.text for o in seen.items if o.is_missing).lower()
    mentions = [m for claim in answer.claims for m in find_mentions(claim.text) if not m.negated]
    imagined = [m for m in mentions if m.cue not in observed and m.words.lower() not in told_missing]
    return len(mentions), len(imagined)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _fold(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
