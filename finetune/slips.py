"""What an interpretation says beside its claims: which feelings it names, whether it tells of a conflict, its slips.

A claim cites an observation or names a cue, and is checked against it. Much of an interpretation does neither: that
channels agree, that one is unknown, that no other reading is near. It is held against the appraisal here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from affectgpt.answers import CANNOT_TELL
from affectgpt.emotions import load_lexicon
from affectgpt.parsing import citations, sentences
from affectgpt.records import Appraisal, Conclusion, Explanation, Observations

__all__ = ["NAMES_CONFLICT", "count_feelings", "find_slips", "named_labels", "names_conflict"]

NAMES_CONFLICT = re.compile(r"\b(?:conflicts?|disagrees?|contradicts?|at odds)\b", re.IGNORECASE)
"""The words by which the training rows name a conflict, and nothing else."""
_DENIED = re.compile(r"\b(?:no|not|without|never|neither|nothing)\b", re.IGNORECASE)
_ABSENT = re.compile(
    r"\b(?:unknown|missing|no use|could not be used|cannot be judged|nothing is known)\b", re.IGNORECASE
)
_CHANNEL_WORDS = {
    "face": re.compile(r"\bfac(?:e|ial)\b", re.IGNORECASE),
    "voice": re.compile(r"\b(?:voice|sounded|tone)\b", re.IGNORECASE),
    "speech": re.compile(r"\b(?:words?|what (?:was|is) said|transcript)\b", re.IGNORECASE),
}
_MODEST = re.compile(
    r"\b(?:confidence in this is low|little confidence|tentative|only a guess|held loosely)\b", re.IGNORECASE
)
_ALIKE = re.compile(r"\b(?:agrees?|same way|same story|go together|of one mind|support each other)\b", re.IGNORECASE)
_WHOLE = re.compile(
    r"\b(?:likeliest|the person (?:seems|comes across)|reads? as|evidence leans|impression is|hence the reading)\b",
    re.IGNORECASE,
)
_ALONE = re.compile(r"\b(?:no alternative comes near|no close second|speaks for another reading)\b", re.IGNORECASE)
FIRM = 0.5
"""Confidence from which calling it low is wrong; the training rows call up to .3 low."""
_ARGUING = frozenset(
    ("alone", "still", "open", "like", "likely", "content", "confidence", "confident", "certain", "sure", "unsure",
     "caution", "low", "loosely")
)  # fmt: skip
"""Words that the lexicon knows as feelings and that an account of evidence uses for something else: `the content of the
words`, `seen alone`, `a confidence of 0.4`."""


def names_conflict(text: str) -> bool:
    """Whether a sentence of the text says that channels conflict, and does not deny it."""
    return any(
        _DENIED.search(s[: found.start()]) is None for s in sentences(text) if (found := NAMES_CONFLICT.search(s))
    )


def named_labels(text: str) -> set[str]:
    """The basic labels that single words of the text resolve to; quotes, citations and words of argument aside."""
    bare = re.sub(r"\[[^\]]*\]", " ", re.sub(r"[\"“][^\"“”]*[\"”]", " ", text)).lower()
    words = (word for word in re.findall(r"[a-z]+", bare) if word not in _ARGUING)
    return {label for word in words if (label := load_lexicon().to_set(word, "basic8"))}


def count_feelings(text: str, seen: Observations, appraisal: Appraisal | None) -> tuple[int, int, int, int]:
    """Feelings named, those that the appraisal has in that place, channels read as a feeling, and those told so."""
    if appraisal is None:
        return 0, 0, 0, 0
    tops = {m: d.top for m, d in appraisal.by_modality.items()}
    clear = {m for m, top in tops.items() if top != "neutral" and appraisal.carried_by.get(m)}
    modality, n_named, n_right, told = {o.id: o.modality.value for o in seen.items}, 0, 0, set()
    for sentence in sentences(text):
        named = named_labels(sentence) - {"neutral"}
        channels = {modality[i] for i in citations(sentence) if i in modality} & tops.keys()
        held = {tops[m] for m in channels} or {*appraisal.fused.probabilities, *tops.values()}
        n_named += len(named)
        n_right += len(named & held)
        told |= {m for m in channels & clear if tops[m] in named}
    return n_named, n_right, len(clear), len(told)


def find_slips(answer: Explanation, appraisal: Appraisal | None) -> tuple[str, ...]:
    """What a stranger would stumble over, sentence by sentence."""
    told = sentences(answer.interpretation)
    found = [f"said twice: {s}" for s in dict.fromkeys(told) if told.count(s) > 1]
    return (*found, *(f"{slip}: {s}" for s in told for slip in _slips_of(s, answer.conclusion, appraisal)))


def _slips_of(s: str, conclusion: Conclusion, appraisal: Appraisal | None) -> Iterator[str]:
    tops = {m: d.top for m, d in appraisal.by_modality.items()} if appraisal else {}
    channels = {m for m, words in _CHANNEL_WORDS.items() if words.search(s)}
    if channels and channels <= tops.keys() and _ABSENT.search(s):
        yield f"{' and '.join(sorted(channels))} was read"
    if tops and (unread := channels - tops.keys()) and _ABSENT.search(s) is None:
        yield f"{' and '.join(sorted(unread))} was not read"
    if _MODEST.search(s) and conclusion.confidence >= FIRM:
        yield f"the confidence is {conclusion.confidence:.1f}"
    if _ALIKE.search(s) and _DENIED.search(s) is None and len({tops[m] for m in channels & tops.keys()}) > 1:
        yield "the channels differ"
    if _WHOLE.search(s) and not citations(s) and (other := named_labels(s) - {conclusion.label, "neutral"}):
        yield f"the label is {conclusion.label or CANNOT_TELL}, not {min(other)}"
    ranked = sorted(appraisal.fused.probabilities.values(), reverse=True) if appraisal else []
    if len(ranked) > 1 and 2 * ranked[1] >= ranked[0] and _ALONE.search(s):
        yield "the second reading is half as likely or more"
