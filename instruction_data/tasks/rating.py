"""Numbers and classes for feelings, in the style of SemEval-2018 Task 1 as EmoLLMs asks it (Liu et al. 2024, KDD).

Valence, arousal and dominance are EmoBank's ratings, the lists of feelings GoEmotions' annotations. How intense a
feeling seems is taken from the observations by a rule that is stated here: no corpus at hand rates it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from affectgpt.corpora import GOEMOTIONS
from affectgpt.records import Appraisal, Modality, Observation
from affectgpt.textualize.speech import clean_quote
from instruction_data.composer import VERSION
from instruction_data.drafts import Draft, Evidence, Workbench, of_said
from instruction_data.sentences import readings
from instruction_data.tasks.explaining import stage

__all__ = ["e_c", "ei_oc", "ei_reg", "intensity", "v_oc", "v_reg", "vad"]

NAMES = {
    "angry": "anger",
    "fearful": "fear",
    "happy": "joy",
    "sad": "sadness",
    "disgusted": "disgust",
    "surprised": "surprise",
    "contemptuous": "contempt",
}
AMOUNTS = ("no", "low amount of", "moderate amount of", "high amount of")
"""EI-oc's classes (Mohammad et al. 2018)."""
VALENCES = ("neutral or mixed", "slightly", "moderately", "very")
VALENCE_EDGES = (0.1, 0.3, 0.6)
"""Distance from the middle, of 1, from which a valence is slight, moderate, very. A judgement: SemEval's classes come
from raters, EmoBank's numbers do not."""
WORDS_COUNT = 0.5
"""Intensity of a feeling that words alone carry: they say which, not how much."""


def ei_reg(rng: random.Random, bench: Workbench) -> Draft:
    """Intensity of one feeling as a number from 0 to 1."""
    evidence, label, amount = _rated(rng, bench)
    prompt = bench.prompts.render("ei-reg", evidence.observations, emotion=NAMES[label])
    return Draft(prompt, f"{amount:.2f}", writer_version=VERSION).over(evidence)


def ei_oc(rng: random.Random, bench: Workbench) -> Draft:
    """Intensity of one feeling in four classes."""
    evidence, label, amount = _rated(rng, bench)
    at = 0 if amount == 0 else 1 + (amount >= 1 / 3) + (amount >= 2 / 3)
    prompt = bench.prompts.render("ei-oc", evidence.observations, emotion=NAMES[label])
    answer = f"{at}: {AMOUNTS[at]} {NAMES[label]} can be inferred"
    return Draft(prompt, answer, writer_version=VERSION).over(evidence)


def intensity(evidence: Evidence, label: str) -> float:
    """How intense a basic feeling seems, in [0, 1]: the strongest cue of a channel that is read as that feeling.

    A facial cue counts its intensity of 5, a vocal one its distance of 3 standard deviations, words `WORDS_COUNT`;
    0 where no channel is read as that feeling.
    """
    of_it = [r for r in readings(evidence.observations, evidence.appraisal) if r.top == label]
    return max((_amount(o) for r in of_it for o in r.carriers if not o.is_missing), default=0.0)


def _amount(o: Observation) -> float:
    if o.modality is Modality.SPEECH:
        return WORDS_COUNT
    return min(1.0, abs(o.value or 0.0) / (5.0 if o.modality is Modality.FACE else 3.0))


def _rated(rng: random.Random, bench: Workbench) -> tuple[Evidence, str, float]:
    """A scene and a feeling, as often as not one that some channel is read as."""
    evidence = stage(rng, bench)
    shown = _shown(evidence.appraisal)
    label = rng.choice(shown) if shown and rng.random() < 0.7 else rng.choice(tuple(NAMES))
    return evidence, label, intensity(evidence, label)


def _shown(appraisal: Appraisal) -> list[str]:
    return sorted({d.top for d in appraisal.by_modality.values()} - {"neutral"})


def v_reg(rng: random.Random, bench: Workbench) -> Draft | None:
    """Valence of a sentence from 0 to 1."""
    if not (pool := bench.pool("emobank")):
        return None
    said = rng.choice(pool)
    prompt = bench.prompts.get("v-reg").render(text=_quoted(said.text))
    return of_said(said, prompt, f"{(said.example.values['valence'] + 1) / 2:.2f}")


def v_oc(rng: random.Random, bench: Workbench) -> Draft | None:
    """Valence of a sentence in seven classes, from -3 to 3."""
    if not (pool := bench.pool("emobank")):
        return None
    said = rng.choice(pool)
    valence = said.example.values["valence"]
    far = sum(abs(valence) >= edge for edge in VALENCE_EDGES)
    sign = "positive " if valence > 0 else "negative "
    answer = f"{-far if valence < 0 else far}: {VALENCES[far]} {sign if far else ''}emotional state can be inferred"
    return of_said(said, bench.prompts.get("v-oc").render(text=_quoted(said.text)), answer)


def vad(rng: random.Random, bench: Workbench) -> Draft | None:
    """Valence, arousal and dominance of a sentence, each from -1 to 1."""
    if not (pool := bench.pool("emobank")):
        return None
    said = rng.choice(pool)
    v, a, d = (round(said.example.values[k], 2) + 0.0 for k in ("valence", "arousal", "dominance"))
    answer = f"Valence: {v:.2f}\nArousal: {a:.2f}\nDominance: {d:.2f}"
    return of_said(said, bench.prompts.get("vad").render(text=_quoted(said.text)), answer)


def e_c(rng: random.Random, bench: Workbench) -> Draft | None:
    """Every feeling that annotators chose for a comment, in the set's order."""
    if not (pool := bench.pool("goemotions")):
        return None
    said = rng.choice(pool)
    answer = ", ".join(_ordered(said.example.labels))
    return of_said(said, bench.prompts.get("e-c").render(text=_quoted(said.text)), answer)


def _ordered(labels: Sequence[str]) -> list[str]:
    return sorted(set(labels), key=GOEMOTIONS.index)


def _quoted(text: str) -> str:
    return f'"{clean_quote(text)}"'
