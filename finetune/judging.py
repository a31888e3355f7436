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
from affectgpt.evaluation.faithfulness import said_yes
from affectgpt.evaluation.reply_metrics import distinct, word_groups
from affectgpt.grounding import check
from affectgpt.mentions import find_mentions
from affectgpt.parsing import citations, parse, parse_text
from affectgpt.records import CheckedClaim, Claim, Completion, Explanation, Observations, Verdict
from finetune.observed import read_appraisal, read_observations
from finetune.rows import Row
from finetune.slips import count_feelings, find_slips, names_conflict

__all__ = ["Judged", "distinct_2", "judge", "summarise", "word_pairs"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer: `gold` and `label` of three-part rows (None is cannot tell), counts of claims and of named cues.

    `is_three_part` tells which task the row is of by its own answer; other rows are judged by `is_exact` alone, and
    where the row's own answer is a yes or a no (`gold_yes`) by whether `said_yes` agrees.
    `own_…` counts leave out what the prompt's opening gave: the key observations that the program restated.
    `n_feelings` are named in the interpretation, `n_feelings_right` of them where the appraisal has them: beside a
    citation what that channel is read as, else on the shortlist. Of `n_clear` channels that are read as a feeling,
    `n_clear_told` are told so with a citation.
    `slips` are sentences of the interpretation that are wrong though no claim counts them: a channel called unknown
    that was read, one weighed that was not, channels that agree and do not, a whole that is not the label, a close
    second called far, a firm reading called unsure, the same sentence twice.
    `n_weighed` of the `n_channels` that gave evidence are cited in the interpretation; `has_conflict` where the prompt
    tells of a conflict, `names_conflict` where the interpretation does.
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
    own_claims: int = 0
    own_supported: int = 0
    own_named: int = 0
    own_imagined: int = 0
    is_opened: bool = False
    n_channels: int = 0
    n_weighed: int = 0
    n_feelings: int = 0
    n_feelings_right: int = 0
    n_clear: int = 0
    n_clear_told: int = 0
    has_conflict: bool = False
    names_conflict: bool = False
    gold_yes: bool | None = None
    said_yes: bool | None = None
    interpretation: str = ""
    slips: tuple[str, ...] = ()
    faults: tuple[str, ...] = field(default=())


def judge(row: Row, completion: Completion) -> Judged:
    """The answer set beside the row's own answer and the evidence that its prompt shows."""
    wanted = parse_text(row.answer)
    is_exact = _fold(completion.text) == _fold(row.answer)
    if not isinstance(wanted, Explanation):
        return Judged(
            row.number, completion.text, False, completion.finish_reason != "length", is_exact,
            gold_yes=said_yes(row.answer), said_yes=said_yes(completion.text),
        )  # fmt: skip
    answer, seen, appraisal = parse(completion), read_observations(row.messages), read_appraisal(row.messages)
    has_conflict = bool(appraisal and appraisal.conflicts)
    channels = {o.modality for o in seen.items if not o.is_missing}
    if not isinstance(answer, Explanation):
        return Judged(
            row.number, completion.text, True, False, is_exact, wanted.conclusion.label, n_shown=len(seen.items),
            n_channels=len(channels), has_conflict=has_conflict, is_opened=bool(row.opening), faults=(answer.reason,),
        )  # fmt: skip
    grounding = check(answer, seen, appraisal)
    given = _given(row.opening, completion.text)
    own = [c for c in grounding.claims if c.claim.text not in given]
    named, imagined = _named(answer.claims, seen)
    own_named, own_imagined = _named([c for c in answer.claims if c.text not in given], seen)
    cited = {i for claim in answer.claims for i in claim.cites}
    weighed = set(citations(answer.interpretation))
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
        len(own),
        _supported(own),
        own_named,
        own_imagined,
        bool(given),
        len(channels),
        len({o.modality for o in seen.items if not o.is_missing and o.id in weighed}),
        *count_feelings(answer.interpretation, seen, appraisal),
        has_conflict,
        names_conflict(answer.interpretation),
        interpretation=answer.interpretation,
        slips=find_slips(answer, appraisal),
        faults=tuple(f"{c.reason}: {c.claim.text}" for c in grounding.claims if c.verdict is not Verdict.SUPPORTED),
    )


def distinct_2(texts: Sequence[str]) -> float:
    """Share of different pairs of neighbouring words among all of them, lower case; NaN where there is no pair.

    Li et al. 2016 (arXiv 1510.03055), over words instead of tokens. It falls as more texts are looked at: compare sets
    of one size.
    """
    return distinct(texts, 2)


def word_pairs(text: str) -> list[tuple[str, str]]:
    """Neighbouring words of a text, lower case."""
    return word_groups(text, 2)  # type: ignore[return-value]


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


def _given(opening: str, text: str) -> set[str]:
    """The key observations that the answer was begun with; empty where it was not, or does not go on from there."""
    if not opening or not text.startswith(opening):
        return set()
    return {line.removeprefix("- ").strip() for line in opening.splitlines() if line.startswith("- ")}


def _supported(claims: Sequence[CheckedClaim]) -> int:
    return sum(c.verdict is Verdict.SUPPORTED for c in claims)


def _named(claims: Sequence[Claim], seen: Observations) -> tuple[int, int]:
    """Cues that sentences say are there, and how many of them were not observed."""
    observed = {o.cue for o in seen.items}
    told_missing = " ".join(o.text for o in seen.items if o.is_missing).lower()
    mentions = [m for claim in claims for m in find_mentions(claim.text) if not m.negated]
    imagined = [m for m in mentions if m.cue not in observed and m.words.lower() not in told_missing]
    return len(mentions), len(imagined)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _fold(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
