"""Observations and an appraisal to a three-part answer, without a model: a grammar that cannot miscite.

Every sentence is filled from an observation, so each citation is right by construction; order, wording, hedging and
length vary with the random generator. The sentences stand in grammar.toml.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from affectgpt.answers import write_answer
from affectgpt.appraise.prototypes import prototypes
from affectgpt.cues import load_cues, unit_of
from affectgpt.emotions import load_lexicon
from affectgpt.grounding import STRONG_LEVELS
from affectgpt.records import Appraisal, Conclusion, EmotionDistribution, Modality, Observation, Observations

__all__ = ["compose", "conclude", "interpret", "restate"]

CHANNEL = {Modality.FACE: "the face", Modality.VOICE: "the voice", Modality.SPEECH: "the words"}
SECOND_READING = 0.12
"""Probability from which a second emotion is named as an alternative."""
THIN = 0.45
"""Confidence below which the answer calls itself tentative."""


def compose(observations: Observations, appraisal: Appraisal, rng: random.Random) -> str:
    """The whole answer in the three-part form."""
    lines = [restate(o, rng) for o in observations.items]
    conclusion = conclude(observations, appraisal)
    return write_answer(lines, interpret(observations, appraisal, conclusion, rng), conclusion)


def conclude(observations: Observations, appraisal: Appraisal) -> Conclusion:
    """Label, words and numbers from the fused appraisal; `cannot tell` where no modality gave evidence."""
    if not appraisal.by_modality:
        return Conclusion((), None, 0.0, 0.0, 0.0, 0.0)
    fused = appraisal.fused
    ranked = sorted(fused.probabilities, key=lambda k: fused.probabilities[k], reverse=True)
    present = len(appraisal.by_modality)
    confidence = fused.probabilities[ranked[0]] * (0.7 + 0.1 * present) * (0.8 if appraisal.conflicts else 1.0)
    return Conclusion(
        emotions=_words(ranked, fused, _strength(observations)),
        label=ranked[0],
        valence=round(fused.valence, 1) + 0.0,
        arousal=round(fused.arousal, 1) + 0.0,
        dominance=round(fused.dominance, 1) + 0.0,
        confidence=round(max(0.1, min(0.9, confidence)), 1),
    )


def restate(o: Observation, rng: random.Random) -> str:
    """One observation as a sentence that cites it."""
    if o.is_missing:
        return f"{_upper(o.text)} [{o.id}]."
    if o.modality is Modality.FACE:
        return _restate_face(o, rng)
    return _restate_voice(o, rng) if o.modality is Modality.VOICE else _restate_speech(o, rng)


def interpret(observations: Observations, appraisal: Appraisal, conclusion: Conclusion, rng: random.Random) -> str:
    """How the cues combine or conflict, what is unknown, and an alternative."""
    g = _grammar()
    if conclusion.label is None:
        return rng.choice(g["close"]["nothing"])
    told = [s for m in Modality for s in _of_modality(m, observations, appraisal, rng)]
    told += _relate(appraisal, rng)
    told += _of_missing(observations, rng)
    ranked = sorted(appraisal.fused.probabilities.items(), key=lambda kv: -kv[1])
    if conclusion.confidence < THIN:
        told.append(rng.choice(g["close"]["thin"]))
    if ranked[1][1] >= SECOND_READING:
        told.append(_fill(rng.choice(g["close"]["alternative"]), noun=rng.choice(g["nouns"][ranked[1][0]])))
    else:
        told.append(rng.choice(g["close"]["firm"]))
    return " ".join(told)


def _restate_face(o: Observation, rng: random.Random) -> str:
    g, cues = _grammar()["face"], load_cues()
    unit = unit_of(o.cue)
    cue = cues.face[unit if unit is not None else 0]
    when = ""
    if o.start_s is not None and o.end_s is not None:
        when = rng.choice(g["during"]).format(a=f"{o.start_s:.1f}", b=f"{o.end_s:.1f}")
    return _fill(
        rng.choice(g["observed"]),
        movement=cue.movement,
        name=cue.name,
        au=cue.key,
        word=cues.face_word(o.level or "A"),
        value=f"{o.value:.1f}",
        when=when,
        id=o.id,
    )


def _restate_voice(o: Observation, rng: random.Random) -> str:
    cue = load_cues().voice[o.cue]
    parts = o.text.split(", ")
    when = "" if o.start_s is None else f", {o.start_s:.1f}–{o.end_s:.1f} s"
    return _fill(
        rng.choice(_grammar()["voice"]["observed"]),
        name=cue.name,
        adj=cue.adjective(o.level or "near"),
        printed=parts[1],
        apart=parts[2],
        when=when,
        id=o.id,
    )


def _restate_speech(o: Observation, rng: random.Random) -> str:
    g = _grammar()["speech"]
    when = "" if o.start_s is None else f", {o.start_s:.1f}–{o.end_s:.1f} s"
    who, _, spoken = o.text.partition(' said "')
    form = rng.choice(g["named" if spoken else "observed"])
    return form.format(who=who, quote=o.quote, when=when, id=o.id)


def _of_modality(modality: Modality, observations: Observations, appraisal: Appraisal, rng: random.Random) -> list[str]:
    """What one modality suggests, in one or two sentences."""
    g, read = _grammar(), appraisal.by_modality.get(modality.value)
    evidence = [o for o in observations.of(modality) if not o.is_missing]
    if read is None or not evidence:
        return []
    section = g[modality.value]
    supporting = [o for o in evidence if _supports(o, read.top)][:3]
    if modality is Modality.SPEECH:
        supporting = evidence[:2]
    if read.top == "neutral" or not supporting:
        strong = any(o.level in STRONG_LEVELS for o in evidence[:2])
        return [section_text(section["unclear" if strong else "weak"], rng, ids=_ids(evidence[:2]))]
    noun = rng.choice(g["nouns"][read.top])
    together = rng.choice(g["face"]["together"]) if len(supporting) > 1 else ""
    said = section_text(
        section["pattern"],
        rng,
        cues=_join([_named(o) for o in supporting]),
        ids=_ids(supporting),
        noun=noun,
        together=together,
        **_verbs(supporting),
    )
    outside = [o for o in evidence if o not in supporting and (o.value or 0) >= 1.5]
    if modality is Modality.FACE and outside and rng.random() < 0.6:
        cues = _join([_named(o) for o in outside[:2]])
        return [said, section_text(section["outside"], rng, cues=cues, **_verbs(outside[:2]))]
    return [said]


def section_text(forms: Sequence[str], rng: random.Random, **places: str) -> str:
    """One wording of a meaning, filled."""
    return _fill(rng.choice(list(forms)), **places)


def _relate(appraisal: Appraisal, rng: random.Random) -> list[str]:
    """Agreement, conflict, or which channel carries the reading; nothing where only one channel speaks."""
    g = _grammar()
    clear = [m for m in Modality if (d := appraisal.by_modality.get(m.value)) and d.top != "neutral"]
    told = []
    for conflict in appraisal.conflicts[:1]:
        match = re.fullmatch(r"(\w+) seems (\w+), (\w+) seems (\w+)", conflict)
        assert match is not None
        a, x, b, y = match.groups()
        form = g["relation"]["conflict_words" if b == "speech" else "conflict"]
        nouns = {"noun_a": g["nouns"][x][0], "noun_b": g["nouns"][y][0]}
        told.append(section_text(form, rng, a=CHANNEL[Modality(a)], b=CHANNEL[Modality(b)], **nouns))
    if told or len(appraisal.by_modality) < 2:
        return told
    if len(clear) >= 2:
        tops = {appraisal.by_modality[m.value].top for m in clear}
        if len(tops) == 1:
            told.append(section_text(g["relation"]["agree"], rng, a=CHANNEL[clear[0]], b=CHANNEL[clear[1]]))
    elif len(clear) == 1:
        told.append(section_text(g["relation"]["carries"], rng, a=CHANNEL[clear[0]]))
    return told


def _of_missing(observations: Observations, rng: random.Random) -> list[str]:
    """A modality that gave nothing at all is said to be unknown."""
    told = []
    for m in Modality:
        of_m = observations.of(m)
        if of_m and all(o.is_missing for o in of_m) and not any(o.cue == "missing_movement" for o in of_m):
            told.append(section_text(_grammar()["missing"][m.value], rng, ids=_ids(of_m[:1])))
    return told


def _supports(o: Observation, label: str) -> bool:
    if o.modality is Modality.SPEECH:
        return True
    weight = prototypes()[o.modality.value].get(label, {}).get(o.cue, 0.0)
    return weight * (o.value or 0.0) > 0 and o.level != "near"


def _named(o: Observation) -> str:
    """A cue as a noun with its citation: `raised cheeks [F2]`, `much higher pitch [V1]`."""
    cues = load_cues()
    unit = unit_of(o.cue)
    if unit is not None:
        return f"{cues.face[unit].noun} [{o.id}]"
    if o.cue not in cues.voice:
        return f"the words [{o.id}]"
    cue = cues.voice[o.cue]
    return f"a {cue.adjective(o.level or 'near')} {cue.noun} [{o.id}]"


def _verbs(observations: Sequence[Observation]) -> dict[str, str]:
    """The verbs of the grammar, agreeing with the cues: a lone "dropped jaw" fits, "raised cheeks" fit."""
    plural = len(observations) > 1 or not _named(observations[0]).startswith(("a ", "an "))
    if plural:
        return {v: v for v in ("fit", "make", "suggest", "point", "stand", "do")}
    return {v: f"{v}s" for v in ("fit", "make", "suggest", "point", "stand")} | {"do": "does"}


def _strength(observations: Observations) -> float:
    """How strong the strongest cue is, in [0, 1]: intensity of 5, or standard deviations of 3; words count half."""
    face = max((o.value or 0.0 for o in observations.of(Modality.FACE)), default=0.0) / 5.0
    voice = max((abs(o.value or 0.0) for o in observations.of(Modality.VOICE)), default=0.0) / 3.0
    words = 0.5 if any(o.quote for o in observations.of(Modality.SPEECH)) else 0.0
    return min(1.0, max(face, voice, words))


def _words(ranked: Sequence[str], fused: EmotionDistribution, strength: float) -> tuple[str, ...]:
    """Open-vocabulary words: two of the label nearest the strength, one of a second reading that is close."""
    lexicon = load_lexicon()
    near = sorted(lexicon.words(ranked[0]), key=lambda w: abs(w.intensity - strength))
    chosen = [w.text for w in near[:2]]
    if fused.probabilities[ranked[1]] >= 2 * SECOND_READING:
        chosen.append(min(lexicon.words(ranked[1]), key=lambda w: abs(w.intensity - strength)).text)
    return tuple(chosen)


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _ids(observations: Sequence[Observation]) -> str:
    return " ".join(f"[{o.id}]" for o in observations)


def _fill(form: str, **places: str) -> str:
    capitals = {k[:1].upper() + k[1:]: _upper(v) for k, v in places.items()}
    return form.format(**places, **capitals)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def _grammar() -> Mapping[str, Mapping[str, list[str]]]:
    return tomllib.loads(files("instruction_data").joinpath("grammar.toml").read_text(encoding="utf-8"))
