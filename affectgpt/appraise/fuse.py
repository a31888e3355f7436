"""Modalities weighed together: a linear pool by reliability, inertia over time, conflicts and compounds told apart.

A linear pool stays two-peaked where two modalities disagree (a product would settle on what both find bearable), and
the disagreement is reported as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from affectgpt.emotions import load_lexicon
from affectgpt.records import EmotionDistribution, Modality, Moment

__all__ = ["Reading", "certainty", "compounds", "conflicts", "pool", "share", "smooth", "weigh"]

CERTAINTY = 2.0
"""Weight of certainty in a reading's confidence, ln(quality) + 2 x certainty: of two channels read equally well, one
that is sure counts e² = 7.4 times one that is clueless. Chosen beforehand; no corpus with fused gold is at hand."""
INERTIA = 0.5
"""Pull of the reading so far: as strong as a stretch of reliability 0.5. Emotion lasts over seconds and turns
(EmotionIC and Edu-EmotionNet model the same); a stretch with little evidence should not overturn what was plain."""
SMALLEST_CONFLICT = 0.4
"""Both sides must hold their emotion at least this probable for a disagreement to be called a conflict."""
SMALLEST_VOICE = 0.15
"""Share in the pool from which a modality has a say in conflicts: one that could hardly be read contradicts nobody."""
SMALLEST_PART = 0.2
"""Each part of a compound emotion must be at least this probable, or the compound is one emotion and noise."""
OWN_WORDS = math.log(2.0)
"""Added to the confidence of a stated own feeling: a person's words outrank our reading of the face."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One modality's distribution, how well it could be read (`quality`, 0 to 1), and whether it is a self-report."""

    distribution: EmotionDistribution
    quality: float
    is_own_words: bool = False

    @property
    def confidence(self) -> float:
        """ln(quality) + CERTAINTY x certainty, and more for a person's own words; minus infinity where unreadable."""
        if self.quality <= 0:
            return -math.inf
        own = OWN_WORDS if self.is_own_words else 0.0
        return math.log(self.quality) + CERTAINTY * certainty(self.distribution) + own


def certainty(distribution: EmotionDistribution) -> float:
    """1 - entropy / ln(number of labels), in [0, 1]: 0 for the even distribution, 1 for one label alone."""
    p = [x for x in distribution.probabilities.values() if x > 0]
    n = len(distribution.probabilities)
    return max(0.0, min(1.0, 1.0 + sum(x * math.log(x) for x in p) / math.log(n))) if n > 1 else 1.0


def share(readings: Mapping[Modality, Reading]) -> dict[str, float]:
    """Each modality's part in the pool, in proportion to exp(confidence): sums to 1, or to 0 where none is readable."""
    raised = {m.value: math.exp(r.confidence) for m, r in readings.items()}
    total = sum(raised.values())
    return {m: x / total if total > 0 else 0.0 for m, x in raised.items()}


def pool(distributions: Sequence[tuple[EmotionDistribution, float]]) -> EmotionDistribution:
    """The weighted mean of distributions; without any weight, the even distribution over basic8."""
    total = sum(weight for _, weight in distributions)
    labels = load_lexicon().labels("basic8")
    if total <= 0:
        return weigh(dict.fromkeys(labels, 1 / len(labels)))
    mixed = {k: sum(d.probabilities.get(k, 0.0) * w for d, w in distributions) / total for k in labels}
    dimensions = (
        sum(getattr(d, name) * w for d, w in distributions) / total for name in ("valence", "arousal", "dominance")
    )
    return EmotionDistribution(mixed, *dimensions)


def smooth(moments: Sequence[Moment], reliability: Sequence[float]) -> tuple[Moment, ...]:
    """Moments in time order with inertia: each is mixed with the one before it, the more the less it rests on.

    `reliability` in [0, 1] is that of the best-read modality of each moment; 0 carries the reading before it on.
    """
    told: list[Moment] = []
    for moment, sure in zip(moments, reliability, strict=True):
        before = [(told[-1].fused, INERTIA)] if told else []
        told.append(replace(moment, fused=pool([*before, (moment.fused, sure if told else 1.0)])))
    return tuple(told)


def conflicts(by_modality: Mapping[str, EmotionDistribution], weights: Mapping[str, float]) -> Iterator[str]:
    """`face seems angry, speech seems happy`: two firm readings that contradict each other."""
    firm = [
        (m, d)
        for m, d in by_modality.items()
        if d.top != "neutral" and d.probabilities[d.top] >= SMALLEST_CONFLICT and weights.get(m, 0.0) >= SMALLEST_VOICE
    ]
    for i, (m, d) in enumerate(firm):
        for other, e in firm[i + 1 :]:
            opposed = d.valence * e.valence < 0
            if d.top != e.top and (opposed or e.probabilities[d.top] < 0.1):
                yield f"{m} seems {d.top}, {other} seems {e.top}"


def compounds(distribution: EmotionDistribution) -> dict[str, float]:
    """The compound emotions of C-EXPR-DB whose two parts are both probable, with the sum of the two, highest first."""
    lexicon = load_lexicon()
    by_node = {lexicon.basic(label): p for label, p in distribution.probabilities.items() if label != "neutral"}
    found = {
        name.lower(): by_node[a] + by_node[b]
        for name, (a, b) in lexicon.compounds.items()
        if min(by_node.get(a, 0.0), by_node.get(b, 0.0)) >= SMALLEST_PART
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def weigh(probabilities: Mapping[str, float]) -> EmotionDistribution:
    """The distribution with its expected valence, arousal and dominance."""
    points = [_point(label) for label in probabilities]
    v, a, d = (sum(p * point[k] for p, point in zip(probabilities.values(), points, strict=True)) for k in range(3))
    return EmotionDistribution(dict(probabilities), v, a, d)


@cache
def _point(label: str) -> tuple[float, float, float]:
    """A label's valence, arousal and dominance; looking the word up each time took a tenth of a row's making."""
    found = load_lexicon().vad(label)
    return found.valence, found.arousal, found.dominance
