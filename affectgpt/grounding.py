"""Each claim of an explanation against the observation it cites: whether the evidence carries the words.

A sentence is a claim when it cites an observation or names a cue. It is *supported* when every id exists, every cue it
names is the cue of an observation it cites, and direction, intensity and numbers agree with that observation;
*contradicted* when one of these fails; *uncited* when it names observed cues and cites nothing. A sentence that
neither cites nor names a cue (a hedge, an alternative) claims no observation and is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from affectgpt.emotions import load_lexicon
from affectgpt.mentions import Mention, find_mentions, find_quotes
from affectgpt.records import (
    Appraisal,
    CheckedClaim,
    Claim,
    Explanation,
    Grounding,
    Modality,
    Observation,
    Observations,
    Verdict,
)

__all__ = ["check", "check_claim"]

_NUMBER = re.compile(r"(?<![A-Za-z0-9.])[+\-−]?\d+(?:\.\d+)?(?![A-Za-z0-9])")
STRONG_LEVELS = frozenset({"C", "D", "E", "much higher", "much lower"})
"""Marked or more on FACS' scale, two standard deviations or more in the voice."""
_WEAK = re.compile(
    r"\b(?:weak|slight|faint|little|unremarkable|usual|ordinary|too little|close to|at rest|apart from rest)\b", re.I
)
_QUOTED = re.compile(r"[\"“][^\"“”]*[\"”]")
_SCALE = re.compile(r"\b(?:of|out of)\s+5\b|/\s*5\b")
_ALTERNATIVE = re.compile(r"\b(?:alternative|alternatively|could also|might also|ruled out)\b", re.I)
SURE = 0.5
"""Confidence from which a conclusion is not called doubtful."""
_DOUBT = re.compile(r"\b(?:confidence in this is low|little confidence|held loosely|none of this is certain)\b", re.I)
_FIRM = re.compile(
    r"\b(?:no other reading|other readings have little|alternative would need other|no alternative comes near"
    r"|no close second|nothing here speaks for another)\b",
    re.I,
)
_CONFLICT = re.compile(r"\b(?:conflict|conflicts|contradict|contradicts|at odds)\b", re.I)
_DIFFERENCE = re.compile(r"\b(?:lean|leans|point|points) (?:in )?different (?:ways|directions)\b", re.I)
_AGREEMENT = re.compile(
    r"\b(?:agrees?|same (?:way|story)|support each other|in line with|bears? (?:each other )?out|borne out|go together"
    r"|of one mind|in keeping with)\b",
    re.I,
)
_CHANNELS = {
    "face": re.compile(r"\bfac(?:e|ial)\b", re.I),
    "voice": re.compile(r"\b(?:voice|tone)\b", re.I),
    "speech": re.compile(r"\b(?:words?|said|speech)\b", re.I),
}
_UNREAD = re.compile(
    r"\b(?:could not be (?:used|read|judged)|cannot be judged|no use could be made|nothing is known"
    r"|missing from the evidence|(?:is|are) (?:unknown|missing))\b",
    re.I,
)
_ABSENCE = re.compile(
    r"\b(?:no|not|without|nothing|never|missing|unknown|absent|unreliable|lacks?|left out|turned away|cannot)\b", re.I
)


def check(explanation: Explanation, observations: Observations, appraisal: Appraisal | None = None) -> Grounding:
    """Check every claim; the conclusion's label and numbers are not claims of observation.

    A sentence of the interpretation that claims no observation (an alternative, "face and voice agree") is counted only
    where it goes against the conclusion or, when that is given, the appraisal.
    """
    known, claims = observations.by_id(), explanation.claims
    checked = (
        check_claim(c, known) or _check_repeated(c, claims[:k]) or _check_coherence(c, explanation, appraisal)
        for k, c in enumerate(claims)
    )
    return Grounding(tuple(c for c in checked if c is not None))


def check_claim(claim: Claim, known: Mapping[str, Observation]) -> CheckedClaim | None:
    """The verdict on one sentence, or None where it claims no observation."""
    mentions = find_mentions(claim.text)
    quotes = find_quotes(claim.text)
    if not claim.cites and not mentions and claim.section == "interpretation":
        return None
    if unknown := [i for i in claim.cites if i not in known]:
        return CheckedClaim(claim, Verdict.CONTRADICTED, f"there is no observation {', '.join(unknown)}")
    cited = [known[i] for i in claim.cites]
    reason = next(_faults(claim, mentions, quotes, cited, known), "")
    if reason:
        return CheckedClaim(claim, Verdict.CONTRADICTED, reason)
    if not claim.cites:
        return CheckedClaim(claim, Verdict.UNCITED, "names what was observed and cites nothing")
    return CheckedClaim(claim, Verdict.SUPPORTED)


def _check_repeated(claim: Claim, before: Sequence[Claim]) -> CheckedClaim | None:
    """A sentence that cites nothing and says again, or with another feeling, what one before it said."""
    said = _without_feelings(claim.text)
    if any(not other.cites and _without_feelings(other.text) == said for other in before):
        return CheckedClaim(claim, Verdict.CONTRADICTED, "says again what was said before it")
    return None


def _without_feelings(text: str) -> list[str]:
    lexicon = load_lexicon()
    return [word for word in _fold(text).split() if not lexicon.to_set(word, "basic8")]


def _check_coherence(claim: Claim, explanation: Explanation, appraisal: Appraisal | None) -> CheckedClaim | None:
    label, text = explanation.conclusion.label, claim.text
    reason = ""
    if _ALTERNATIVE.search(text) and label and _named_emotions(text) == {label}:
        reason = f"offers {label}, the label itself, as an alternative"
    elif _UNREAD.search(text) and appraisal is not None and (read := _denied_channel(text, appraisal)):
        reason = f"says that nothing is known of the {read}, which was read"
    elif _DOUBT.search(text) and appraisal is not None and round(appraisal.confidence, 1) >= SURE:
        reason = f"calls the reading doubtful, its confidence is {appraisal.confidence:.1f}"
    elif _FIRM.search(text) and appraisal is not None and (close := _close_second(appraisal)):
        reason = f"calls no other reading near, yet {close} is half as likely as the first or more"
    elif appraisal is not None and appraisal.by_modality:
        tops = {m: read.top for m, read in appraisal.by_modality.items() if read.top != "neutral"}
        named = {m: top for m, top in tops.items() if _CHANNELS[m].search(text)}
        if _CONFLICT.search(text) and not _ABSENCE.search(text) and len({*tops.values()}) < 2:
            reason = "tells of a conflict, the channels show none"
        elif _DIFFERENCE.search(text) and len(named) > 1 and len({*named.values()}) == 1:
            reason = f"tells of a difference, yet {' and '.join(named)} both seem {next(iter(named.values()))}"
        elif len({*(said := _said_to_agree(text, appraisal)).values()}) > 1:
            reason = f"tells of agreement, yet {', '.join(f'{m} seems {top}' for m, top in said.items())}"
    return CheckedClaim(claim, Verdict.CONTRADICTED, reason) if reason else None


def _close_second(appraisal: Appraisal) -> str:
    """The second label where it is at least half as probable as the first, else empty."""
    ranked = sorted(appraisal.fused.probabilities.items(), key=lambda item: -item[1])[:2]
    return ranked[1][0] if len(ranked) == 2 and 2 * ranked[1][1] >= ranked[0][1] else ""


def _said_to_agree(text: str, appraisal: Appraisal) -> dict[str, str]:
    """What each channel seems to show of which the text says that they agree; `unknown` where it was not read."""
    if not _AGREEMENT.search(text) or _ABSENCE.search(text):
        return {}
    named = [m for m, pattern in _CHANNELS.items() if pattern.search(text)]
    return {m: appraisal.by_modality[m].top if m in appraisal.by_modality else "unknown" for m in named}


def _denied_channel(text: str, appraisal: Appraisal) -> str:
    """The channel that the text names although the appraisal read it, else empty."""
    return next((m for m in appraisal.by_modality if m in _CHANNELS and _CHANNELS[m].search(text)), "")


def _named_emotions(text: str) -> set[str]:
    lexicon = load_lexicon()
    return {label for word in re.findall(r"[a-z]+", text.lower()) if (label := lexicon.to_set(word, "basic8"))}


def _faults(
    claim: Claim,
    mentions: Sequence[Mention],
    quotes: Sequence[str],
    cited: Sequence[Observation],
    known: Mapping[str, Observation],
) -> Iterator[str]:
    pool = cited or list(known.values())
    for mention in mentions:
        yield from _fault_of(mention, pool, bool(cited))
    for quote in quotes:
        if not any(_fold(quote) in _fold(o.quote or o.text) for o in pool):
            yield f"nobody is quoted as saying {quote[:60]!r}"
    if cited:
        if not mentions:
            yield from _belittled(claim.text, cited)
        yield from _numbers(claim.text, cited)
        yield from _denied(claim.text, cited)
        # What is missing supports no statement but that it is missing, wherever the sentence stands.
        if all(o.is_missing for o in cited) and not _ABSENCE.search(claim.text):
            yield f"{cited[0].id} states an absence, the claim does not"
        if claim.section == "observations":
            yield from _empty(claim, mentions, quotes, cited)


def _fault_of(mention: Mention, pool: Sequence[Observation], is_cited: bool) -> Iterator[str]:
    """A cue named against the observations it may rest on."""
    same = [o for o in pool if o.cue == mention.cue]
    if not same:
        # What is missing may name a cue too: "the sound is clipped, so loudness is unreliable".
        told_missing = any(o.is_missing and mention.words.lower() in o.text.lower() for o in pool)
        if not mention.negated and not told_missing:
            where = "the citation does not show" if is_cited else "was not observed"
            yield f"{mention.words!r} names {mention.cue}, which {where}"
        return
    if mention.negated:
        yield f"{mention.words!r} denies {mention.cue}, which was observed"
    elif mention.levels and not any(o.level in mention.levels for o in same):
        yield f"{mention.words!r} is called {mention.level_word}, observed is {same[0].text.split(',')[0]!r}"
    elif mention.direction and not any(_direction(o) == mention.direction for o in same):
        yield f"{mention.words!r} goes the other way than {same[0].text.split(',')[0]!r}"


def _belittled(text: str, cited: Sequence[Observation]) -> Iterator[str]:
    """A sentence that names no cue and calls weak or ordinary what was observed as marked, or much off its baseline."""
    if not _WEAK.search(_QUOTED.sub(" ", text)):
        return
    for o in cited:
        if o.level in STRONG_LEVELS:
            yield f"calls weak what is observed as {o.text.split(',')[0]!r}"


def _denied(text: str, cited: Sequence[Observation]) -> Iterator[str]:
    """A clause that calls a channel unknown and cites what was observed in it."""
    for clause in re.split(r"[,;:]|\bbut\b|\bwhile\b", _QUOTED.sub(" ", text)):
        for o in cited if _UNREAD.search(clause) else ():
            if f"[{o.id}]" in clause and not o.is_missing and _CHANNELS[o.modality.value].search(clause):
                yield f"says that nothing is known of the {o.modality.value}, and cites {o.id}"


def _direction(o: Observation) -> int:
    if o.modality is not Modality.VOICE or o.level in (None, "near"):
        return 0
    return 1 if str(o.level).endswith("higher") else -1


def _numbers(text: str, cited: Sequence[Observation]) -> Iterator[str]:
    """Numbers in a claim, outside citations and quotes, must stand in a cited observation."""
    shown = {n for o in cited for n in _read_numbers(o.text)}
    bare = re.sub(r"\[[^\]]*\]", " ", text)
    for quote in find_quotes(bare):
        bare = bare.replace(quote, " ")
    for number in _read_numbers(_SCALE.sub(" ", bare)):
        if number not in shown:
            yield f"the number {number:g} stands in no cited observation"


def _read_numbers(text: str) -> list[float]:
    plain = text.replace("–", " ").replace("—", " ")
    return [abs(float(n.replace("−", "-"))) for n in _NUMBER.findall(plain)]


def _empty(
    claim: Claim, mentions: Sequence[Mention], quotes: Sequence[str], cited: Sequence[Observation]
) -> Iterator[str]:
    """A key observation must say what it cites: name the cue, quote the words, or state the absence."""
    named = {m.cue for m in mentions}
    for o in cited:
        if o.is_missing:
            if not _ABSENCE.search(claim.text):
                yield f"{o.id} states an absence, the claim does not"
        elif o.quote is not None:
            if not quotes:
                yield f"{o.id} is a quote, the claim does not quote it"
        elif o.cue not in named:
            yield f"the claim cites {o.id} and does not name {o.cue}"


def _fold(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
