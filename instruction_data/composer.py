"""Observations and an appraisal to a three-part answer, without a model: a grammar that cannot miscite.

Every sentence is filled from an observation, so each citation is right by construction; order, wording, hedging and
length vary with the random generator. The sentences stand in grammar.toml, their plan in discourse.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from affectgpt.answers import write_answer
from affectgpt.emotions import load_lexicon
from affectgpt.records import Appraisal, Conclusion, EmotionDistribution, Modality, Observations
from affectgpt.textualize import restate
from instruction_data.discourse import SECOND_READING, interpret

__all__ = ["VERSION", "compose", "conclude", "strength"]

VERSION = "4"
"""Raised with every change of what the same evidence and seed are told as; it stands in each row's provenance."""


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
    return Conclusion(
        emotions=_words(ranked, fused, strength(observations)),
        label=ranked[0],
        valence=round(fused.valence, 1) + 0.0,
        arousal=round(fused.arousal, 1) + 0.0,
        dominance=round(fused.dominance, 1) + 0.0,
        confidence=round(appraisal.confidence, 1),
    )


def strength(observations: Observations) -> float:
    """How strong the strongest cue is, in [0, 1]: intensity of 5, or standard deviations of 3; words count half."""
    face = max((o.value or 0.0 for o in observations.of(Modality.FACE)), default=0.0) / 5.0
    voice = max((abs(o.value or 0.0) for o in observations.of(Modality.VOICE)), default=0.0) / 3.0
    words = 0.5 if any(o.quote for o in observations.of(Modality.SPEECH)) else 0.0
    return min(1.0, max(face, voice, words))


def _words(ranked: Sequence[str], fused: EmotionDistribution, intensity: float) -> tuple[str, ...]:
    """Open-vocabulary words: two of the label nearest the strength, one of a second reading that is close."""
    lexicon = load_lexicon()
    near = sorted(lexicon.words(ranked[0]), key=lambda w: abs(w.intensity - intensity))
    chosen = [w.text for w in near[:2]]
    if fused.probabilities[ranked[1]] >= 2 * SECOND_READING:
        chosen.append(min(lexicon.words(ranked[1]), key=lambda w: abs(w.intensity - intensity)).text)
    return tuple(chosen)
