"""Whether an explanation follows its evidence: what it claims, what it names, and what moves it.

Nothing here asks another model for a verdict. A claim is checked against the observation it cites; the label is
recovered from the cues that the text names, without its emotion words; one observation is removed or turned round, and
the conclusion must move as the prior reading of the evidence does; and cues are asked after that were never there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from affectgpt.appraise.prototypes import appraise
from affectgpt.cues import load_cues, unit_of
from affectgpt.mentions import find_mentions, find_quotes
from affectgpt.records import Appraisal, Explanation, Modality, Observation, Observations, UnparsedAnswer, Verdict

__all__ = ["Change", "Question", "changes", "flips", "named_cues", "questions", "read_claims", "recover", "said_yes"]

LEAST_EXPECTED = 0.1
"""A change counts as a test only where the prior reading's valence moves by this much, of 2."""

OPPOSITES: Mapping[int, int] = {12: 15, 15: 12}
"""Lip corners up and down: zygomatic major against depressor anguli oris (FACS manual, 2002). No other pair of units
pulls one feature in opposite directions without adding a third."""

Ask = Callable[[Observations], Explanation | UnparsedAnswer]
Read = Callable[[Observations], Appraisal]


@dataclass(frozen=True, slots=True)
class Change:
    """One observation changed: the evidence after it, and how far the prior reading's valence moves (`expected`)."""

    cue: str
    kind: str
    observations: Observations
    expected: float


@dataclass(frozen=True, slots=True)
class Question:
    """A yes/no question about a cue, and the right answer."""

    cue: str
    text: str
    expected: bool


def read_claims(explanation: Explanation) -> dict[str, int]:
    """Number of claims by verdict, as the grounding check found them; empty where nothing was claimed."""
    grounding = explanation.grounding
    if grounding is None or not grounding.claims:
        return {}
    return {verdict.value: grounding.count(verdict) for verdict in Verdict}


def named_cues(explanation: Explanation) -> tuple[str, ...]:
    """Keys of the cues that the explanation says are there, in order, each once."""
    text = " ".join((*explanation.observations, explanation.interpretation))
    return tuple(dict.fromkeys(m.cue for m in find_mentions(text) if not m.negated))


def recover(explanation: Explanation, observations: Observations) -> str:
    """The basic label that the evidence named in the text carries, its emotion words unread; empty where none is named.

    The reader is the prior reading of the package: an explanation from which it cannot tell the label names its
    emotion without saying what shows it.
    """
    text = " ".join((*explanation.observations, explanation.interpretation))
    cues, quotes = set(named_cues(explanation)), [_fold(q) for q in find_quotes(text)]
    kept = [o for o in observations.items if not o.is_missing and (o.cue in cues or _is_quoted(o, quotes))]
    return appraise(Observations(tuple(kept))).fused.top if kept else ""


def _is_quoted(o: Observation, quotes: Sequence[str]) -> bool:
    return o.quote is not None and any(q and q in _fold(o.quote) for q in quotes)


def _fold(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()


# ---------------------------------------------------------------- one cue at a time


def changes(observations: Observations, n: int | None = 3, read: Read = appraise) -> list[Change]:
    """The `n` most telling ways to remove or turn round one observation, by how far the reading moves; None for all.

    `read` appraises the evidence, before and after: by the prior reading where nothing else is given.
    """
    before = read(observations).fused.valence
    found: list[Change] = []
    for o in observations.items:
        if o.is_missing:
            continue
        rest = tuple(x for x in observations.items if x is not o)
        turned = _turned(o)
        if any(not x.is_missing for x in rest):
            found.append(_change(o, "removed", Observations(rest), before, read))
        if turned is not None and all(x.cue != turned.cue for x in rest):
            swapped = tuple(turned if x is o else x for x in observations.items)
            found.append(_change(o, "turned", Observations(swapped), before, read))
    telling = [c for c in found if abs(c.expected) >= LEAST_EXPECTED]
    return sorted(telling, key=lambda c: -abs(c.expected))[:n]


def _change(o: Observation, kind: str, after: Observations, before: float, read: Read) -> Change:
    return Change(o.cue, kind, after, read(after).fused.valence - before)


def _turned(o: Observation) -> Observation | None:
    """The observation that says the contrary in the textualizer's words; None where a cue has no contrary."""
    cues = load_cues()
    unit = unit_of(o.cue)
    if unit is not None and unit in OPPOSITES:
        old, new = cues.face[unit], cues.face[OPPOSITES[unit]]
        return replace(o, cue=new.key, text=o.text.replace(f"{old.name} (AU{unit})", f"{new.name} ({new.key})"))
    if o.modality is not Modality.VOICE or o.cue not in cues.voice or o.value is None or o.level in (None, "near"):
        return None
    level = str(o.level).replace("higher", "LOWER").replace("lower", "higher").replace("LOWER", "lower")
    measure = cues.voice[o.cue]
    tail = re.search(r"\d+(?:\.\d+)? SD (?:over|under) .*", o.text)
    against = tail[0] if tail else ""
    against = re.sub(r" SD (over|under) ", lambda m: " SD under " if m[1] == "over" else " SD over ", against, count=1)
    text = ", ".join(p for p in (f"{measure.name} {measure.adjective(level)}", against) if p)
    return replace(o, text=text, value=-o.value, level=level)


def flips(observations: Observations, ask: Ask, n: int = 3) -> list[dict[str, Any]]:
    """Ask over the observations as they are, then over each change of them.

    `moved` is how far the conclusion's valence went from the first answer; an answer that cannot be read has not moved.
    """
    found = changes(observations, n)
    first = ask(observations) if found else None
    rows = []
    for change in found:
        answer = ask(change.observations) if isinstance(first, Explanation) else first
        is_read = isinstance(first, Explanation) and isinstance(answer, Explanation)
        moved = answer.conclusion.valence - first.conclusion.valence if is_read else 0.0  # type: ignore[union-attr]
        row = {"cue": change.cue, "kind": change.kind, "expected": round(change.expected, 4), "moved": round(moved, 4)}
        rows.append(row | ({"unparsed": answer.reason} if isinstance(answer, UnparsedAnswer) else {}))
    return rows


# ---------------------------------------------------------------- what was never there


def questions(observations: Observations, seed: int = 0, n: int = 2) -> list[Question]:
    """`n` cues that were observed and `n` of the same channels that were not, drawn by the seed, shuffled."""
    there = {o.cue for o in observations.items if not o.is_missing and o.quote is None}
    cues = load_cues()
    names = {c.key: c.noun for c in cues.face.values()} | {c.key: c.noun for c in cues.voice.values()}
    has_face = any(unit_of(c) for c in there)
    has_voice = any(c in cues.voice for c in there)
    absent = [
        c for c in names if c not in there and ((unit_of(c) and has_face) or (c in cues.voice and has_voice))
    ]  # a channel that was not read is unknown, which is neither yes nor no
    draw = random.Random(seed)
    shown, hidden = sorted(there & names.keys()), sorted(absent)
    k = min(n, len(shown), len(hidden))
    asked = [(c, True) for c in draw.sample(shown, k)] + [(c, False) for c in draw.sample(hidden, k)]
    draw.shuffle(asked)
    return [
        Question(c, f"Do the observations report {names[c]} as a cue of its own? Answer yes or no.", e)
        for c, e in asked
    ]


def said_yes(answer: str) -> bool | None:
    """The yes or no that an answer begins with; None where it begins with neither."""
    match = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    return None if match is None else match[1].lower() == "yes"
