"""The prior reading: what the literature's prototypes make of the observations, before anything is fitted to data.

Face and voice are matched against data/prototypes.toml; words are looked up in the emotion lexicon. It is plain on
purpose: it labels the composed training rows, and it is the prior that fitted appraisers start from.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from affectgpt.appraise.fuse import conflicts, pool, weigh
from affectgpt.emotions import load_lexicon
from affectgpt.records import Appraisal, EmotionDistribution, Modality, Observation, Observations

__all__ = [
    "MOST_CARRIERS",
    "appraise",
    "carriers",
    "distribute",
    "is_self_report",
    "prototypes",
    "read_face",
    "read_voice",
    "read_words",
]

SHARPNESS = 6.0
"""Logit of a full match. With the neutral logit below, a prototype's leading unit at C (2.5 of 5) and confidence 0.8
gives 6 x 0.5 x 0.8 = 2.4 against neutral's 1.5: enough to be the likeliest, not to be certain."""
NEUTRAL = 1.5
"""Logit of neutral: evidence below a trace-to-slight cue of the leading unit leaves neutral the likeliest."""
FULL_Z = 3.0
"""Standard deviations at which a voice cue counts in full."""
SELF_REPORT = 2.0
"""How many times more a stated own feeling weighs than any other evidence: a person's words outrank our reading."""

MOST_CARRIERS = 3
"""Observations named as carrying one modality's reading: what a sentence can hold."""

_SELF_REPORT = re.compile(r"\b(?:i am|i'm|im|i feel|i felt|i was|makes me|made me|we are|we're)\b", re.I)


def appraise(observations: Observations, words: EmotionDistribution | None = None) -> Appraisal:
    """Appraise every modality that is present and fuse; `words` replaces the lexicon's reading of the quotes."""
    read: dict[Modality, tuple[EmotionDistribution, float]] = {}
    face, voice, quotes = (_evidence(observations, m) for m in (Modality.FACE, Modality.VOICE, Modality.SPEECH))
    # A face that is seen and does not move is evidence of calm; a face that is not seen is none.
    still = any(o.cue == "missing_movement" for o in observations.items)
    if face or still:
        read[Modality.FACE] = read_face(face), max((o.confidence for o in face), default=0.3)
    if voice:
        read[Modality.VOICE] = read_voice(voice), 0.6 * max(o.confidence for o in voice)
    if quotes:
        said = words or read_words([o.quote or "" for o in quotes])
        own = said.top != "neutral" and any(is_self_report(o.quote or "") for o in quotes)
        sure = max(o.confidence for o in quotes)
        read[Modality.SPEECH] = said, sure * (SELF_REPORT if own else 0.3 if said.top == "neutral" else 0.9)
    by_modality = {m.value: reading for m, (reading, _) in read.items()}
    total = sum(weight for _, weight in read.values()) or 1.0
    weights = {m.value: weight / total for m, (_, weight) in read.items()}
    return Appraisal(
        by_modality=by_modality,
        reliability={m.value: min(1.0, weight) for m, (_, weight) in read.items()},
        # Linear: a conflict stays two-peaked.
        fused=pool(list(read.values())) if read else distribute({}),
        conflicts=tuple(conflicts(by_modality, weights)),
        carried_by={
            m.value: tuple(o.id for o in carriers(observations, m, reading)) for m, (reading, _) in read.items()
        },
        weights=weights,
    )


def is_self_report(text: str) -> bool:
    """Whether a quote says how its speaker is: `I am …`, `it makes me …`."""
    return bool(_SELF_REPORT.search(text))


def carriers(observations: Observations, modality: Modality, read: EmotionDistribution) -> list[Observation]:
    """The observations that carry a modality's reading, the most telling first.

    For an emotion, those that its prototype asks for; for neutral, the two foremost of what was weighed; for a face
    that is seen and does not move, that it does not move.
    """
    evidence = _evidence(observations, modality)
    if not evidence:
        return [o for o in observations.of(modality) if o.cue == "missing_movement"]
    if read.top == "neutral":
        return evidence[:2]
    if modality is Modality.SPEECH:
        return [o for o in evidence if read_words([o.quote or ""]).top == read.top][:2] or evidence[:2]
    row = prototypes()[modality.value].get(read.top, {})
    share = {o.id: row.get(o.cue, 0.0) * (o.value or 0.0) * o.confidence for o in evidence if o.level != "near"}
    telling = sorted((o for o in evidence if share.get(o.id, 0.0) > 0), key=lambda o: -share[o.id])
    return telling[:MOST_CARRIERS] or evidence[:2]


def read_face(observations: Sequence[Observation]) -> EmotionDistribution:
    """Match action units against the prototypes; each counts by intensity x confidence."""
    weights = {o.cue: (o.value or 0.0) / 5.0 * o.confidence for o in observations}
    return _match("face", weights)


def read_voice(observations: Sequence[Observation]) -> EmotionDistribution:
    """Match acoustic measures against the prototypes; each counts by its signed distance from the baseline."""
    weights = {o.cue: max(-1.0, min(1.0, (o.value or 0.0) / FULL_Z)) * o.confidence for o in observations}
    return _match("voice", weights)


def read_words(quotes: Sequence[str]) -> EmotionDistribution:
    """Count the emotion words that the lexicon resolves; none leaves neutral the likeliest."""
    lexicon, matches = load_lexicon(), dict.fromkeys(_labels(), 0.0)
    for quote in quotes:
        for word in re.findall(r"(?:\bnot |\bno |\bnever )?[\w'-]+", quote.lower()):
            label = lexicon.to_set(word, "basic8")
            if label is not None and label != "neutral":
                matches[label] += 0.5
    return distribute({k: min(1.0, v) for k, v in matches.items() if k != "neutral"})


def distribute(matches: Mapping[str, float]) -> EmotionDistribution:
    """Matches in [-1, 1] by label to a distribution: softmax of SHARPNESS x match, with neutral at its own logit."""
    logits = {label: SHARPNESS * matches.get(label, 0.0) for label in _labels()}
    logits["neutral"] = NEUTRAL
    top = max(logits.values())
    raised = {label: math.exp(x - top) for label, x in logits.items()}
    total = sum(raised.values())
    return weigh({label: x / total for label, x in raised.items()})


def _match(table: str, cues: Mapping[str, float]) -> EmotionDistribution:
    rows: Mapping[str, Mapping[str, float]] = prototypes()[table]
    return distribute({label: sum(w * cues.get(cue, 0.0) for cue, w in row.items()) for label, row in rows.items()})


def _evidence(observations: Observations, modality: Modality) -> list[Observation]:
    return [o for o in observations.of(modality) if not o.is_missing]


@cache
def _labels() -> tuple[str, ...]:
    return tuple(load_lexicon().labels("basic8"))


@cache
def prototypes() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Modality -> label -> cue -> weight."""
    text = files("affectgpt").joinpath("data", "prototypes.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return {"face": table["face"], "voice": table["voice"]}
