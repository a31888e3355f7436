"""What the speakers of a conversation seem to feel now: each line's reading, drawn on by what was felt before it.

The last lines of a conversation are read, not all of it: a feeling two dozen lines old draws on nothing here, and a
conversation of hundreds of turns costs what a short one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.fuse import pool
from affectgpt.dialogue.decoding import filtered
from affectgpt.dialogue.hearing import Hearing
from affectgpt.dialogue.records import Affect, Line, SpeakerState
from affectgpt.dialogue.transitions import Transitions
from affectgpt.emotions import load_lexicon
from affectgpt.records import Appraisal, EmotionDistribution

__all__ = ["N_LINES", "affect_of", "basic", "states"]

N_LINES = 24
"""Lines that are read of a conversation. EmotionIC damps a speaker's own past by 1/(1+e^(d-3)), which is nothing by
then; but a speaker may be silent for a while."""
CLIP_SHARE = 0.5
"""What a clip weighs beside the words of its turn, where both were read: as much. No corpus with gold for both is at
hand; the clip's appraisal has weighed its own channels already."""

Double = NDArray[np.float64]


def states(
    lines: Sequence[Line], hearing: Hearing, transitions: Transitions, appraisal: Appraisal | None = None
) -> tuple[SpeakerState, ...]:
    """A state for each speaker heard in the last N_LINES, the speaker of the last line first, the agent left out.

    The agent's own lines are what somebody else said: they may be caught (contagion), and have no state here.
    `appraisal` is the clip's that belongs to the last line. Without any word there is no state.
    """
    kept = [line for line in lines if line.text.strip()][-N_LINES:]
    if not kept:
        return ()
    readings = hearing.emissions([line.text for line in lines if line.text.strip()], len(kept))
    if appraisal is not None and appraisal.by_modality:
        readings[-1] = _mixed(readings[-1], appraisal, transitions.labels)
    speakers = [line.speaker for line in kept]
    drawn = filtered(readings, speakers, transitions)
    agents = {line.speaker for line in kept if line.is_agent}
    course = [affect_of(dict(zip(transitions.labels, row, strict=True))) for row in drawn]
    found = []
    for who in dict.fromkeys(reversed(speakers)):
        if who in agents:
            continue
        own = [t for t, speaker in enumerate(speakers) if speaker == who]
        inertia, contagion = _pulls(readings, speakers, transitions, own[-1])
        belief = dict(zip(transitions.labels, map(float, drawn[own[-1]]), strict=True))
        found.append(SpeakerState(who, belief, tuple(course[t] for t in own), inertia, contagion))
    return tuple(found)


def affect_of(distribution: Mapping[str, float]) -> Affect:
    """Valence, arousal and dominance that probabilities over meld7 give, each label at its norm.

    The norms are Russell & Mehrabian's (1977), as PELD has them; neutral stands at zero.
    """
    norms = {label: load_lexicon().vad(load_lexicon().label_node(label, "meld7").name) for label in distribution}
    mean = [
        sum(float(p) * float(getattr(norms[label], name)) for label, p in distribution.items())
        for name in ("valence", "arousal", "dominance")
    ]
    return Affect(*mean)


def basic(distribution: Mapping[str, float]) -> dict[str, float]:
    """Probabilities over meld7 as ones over basic8."""
    lexicon = load_lexicon()
    moved = dict.fromkeys(lexicon.labels("basic8"), 0.0)
    for label, p in distribution.items():
        moved[lexicon.convert(label, "meld7", "basic8") or "neutral"] += p
    return moved


def _mixed(reading: Double, appraisal: Appraisal, labels: Sequence[str]) -> Double:
    lexicon = load_lexicon()
    said = EmotionDistribution(basic(dict(zip(labels, map(float, reading), strict=True))), 0.0, 0.0, 0.0)
    both = pool([(said, 1 - CLIP_SHARE), (appraisal.fused, CLIP_SHARE)]).probabilities
    row = np.zeros(len(labels))
    for label, p in both.items():
        row[labels.index(lexicon.convert(label, "basic8", "meld7") or "neutral")] += p
    return row


def _pulls(readings: Double, speakers: Sequence[str], transitions: Transitions, at: int) -> tuple[float, float]:
    """What inertia and contagion each add to the probability of the label that is likeliest with both."""
    upto, who = readings[: at + 1], list(speakers[: at + 1])
    both = filtered(upto, who, transitions)[-1]
    top = int(both.argmax())
    without = [
        filtered(upto, who, Transitions(transitions.labels, transitions.own, transitions.other, *weights))[-1][top]
        for weights in ((0.0, transitions.contagion), (transitions.inertia, 0.0))
    ]
    return float(both[top] - without[0]), float(both[top] - without[1])
