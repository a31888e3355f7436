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
from affectgpt.cues import load_cues, unit_of
from affectgpt.emotions import load_lexicon
from affectgpt.records import Appraisal, Conclusion, EmotionDistribution, Modality, Observation, Observations
from affectgpt.textualize import restate

__all__ = ["compose", "conclude", "interpret"]

CHANNEL = {Modality.FACE: "the face", Modality.VOICE: "the voice", Modality.SPEECH: "the words"}
SECOND_READING = 0.12
"""Probability from which a second emotion is named as an alternative."""
THIN = 0.45
"""Confidence below which the answer calls itself tentative."""
OUTSIDE = 1.5
"""Intensity (of 5) from which a movement outside the read pattern may be mentioned: half-way up FACS' slight."""


def compose(observations: Observations, appraisal: Appraisal, rng: random.Random) -> str:
    """The whole answer in the three-part form."""
    lines = [restate(o) for o in observations.items]
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


def interpret(observations: Observations, appraisal: Appraisal, conclusion: Conclusion, rng: random.Random) -> str:
    """How the cues combine or conflict, what is unknown, and an alternative."""
    g = _grammar()
    if conclusion.label is None:
        return rng.choice(g["close"]["nothing"])
    told = [s for m in Modality for s in _of_modality(m, observations, appraisal, rng)]
    told += _relate(appraisal, rng)
    told += _of_missing(observations, appraisal, rng)
    ranked = sorted(appraisal.fused.probabilities.items(), key=lambda kv: -kv[1])
    if conclusion.confidence < THIN:
        told.append(rng.choice(g["close"]["thin"]))
    if ranked[1][1] >= SECOND_READING:
        told.append(_fill(rng.choice(g["close"]["alternative"]), noun=rng.choice(g["nouns"][ranked[1][0]])))
    else:
        told.append(rng.choice(g["close"]["firm"]))
    return " ".join(told)


def _of_modality(modality: Modality, observations: Observations, appraisal: Appraisal, rng: random.Random) -> list[str]:
    """What one modality suggests, in one or two sentences over the observations that carry its reading."""
    g, read, known = _grammar(), appraisal.by_modality.get(modality.value), observations.by_id()
    supporting = [known[i] for i in appraisal.carried_by.get(modality.value, ())]
    if read is None or not supporting:
        return []
    section = g[modality.value]
    if all(o.is_missing for o in supporting):
        return [section_text(section["still"], rng, ids=_ids(supporting))]
    if read.top == "neutral":
        return [section_text(section["unclear"], rng, ids=_ids(supporting))]
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
    outside = [o for o in observations.of(modality) if o not in supporting and (o.value or 0) >= OUTSIDE]
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
        nouns = {
            f"noun_{k}": g["nouns"][appraisal.by_modality[m.value].top][0] for k, m in zip("ab", clear, strict=False)
        }
        form = g["relation"]["agree" if len(tops) == 1 else "differ"]
        told.append(section_text(form, rng, a=CHANNEL[clear[0]], b=CHANNEL[clear[1]], **nouns))
    elif len(clear) == 1:
        told.append(section_text(g["relation"]["carries"], rng, a=CHANNEL[clear[0]]))
    return told


def _of_missing(observations: Observations, appraisal: Appraisal, rng: random.Random) -> list[str]:
    """A modality that gave nothing at all is said to be unknown."""
    told = []
    for m in Modality:
        of_m = observations.of(m)
        if of_m and m.value not in appraisal.by_modality:
            told.append(section_text(_grammar()["missing"][m.value], rng, ids=_ids(of_m[:1])))
    return told


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
