"""What the speakers of a conversation seem to feel now: each line's reading, drawn on by what was felt before it.

The last lines of a conversation are read, not all of it: a feeling two dozen lines old draws on nothing here, and a
conversation of hundreds of turns costs what a short one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.fuse import pool
from affectgpt.dialogue.decoding import filtered
from affectgpt.dialogue.hearing import Hearing
from affectgpt.dialogue.records import Affect, Line, SpeakerState
from affectgpt.dialogue.transitions import Transitions
from affectgpt.emotions import load_lexicon
from affectgpt.records import Appraisal, EmotionDistribution

__all__ = ["N_LINES", "View", "affect_of", "basic", "states"]

N_LINES = 24
"""Lines that are read of a conversation. EmotionIC damps a speaker's own past by 1/(1+e^(d-3)), which is nothing by
then; but a speaker may be silent for a while."""
N_PULLING = 8
"""Lines over which is told what inertia and contagion added: three more passes, dear over the whole view."""
CLIP_SHARE = 0.5
"""What a clip weighs beside the words of its turn, where both were read: as much. No corpus with gold for both is at
hand; the clip's appraisal has weighed its own channels already."""

REPORTED = 0.9
"""What a stated own feeling weighs in the reading of its line: a person's word stands above any reading of them."""

Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the last line beside its words: the clip's appraisal, and the label that its speaker names."""

    appraisal: Appraisal | None = None
    reported: str | None = None


def states(
    lines: Sequence[Line], hearing: Hearing, transitions: Transitions, view: View | None = None
) -> tuple[SpeakerState, ...]:
    """A state for each speaker heard in the last N_LINES, the speaker of the last line first, the agent left out.

    The agent's own lines are what somebody else said: they may be caught (contagion), and have no state here.
    What the last speaker says of their own feeling outweighs words and clip. Without any word there is no state.
    """
    view = view or View()
    kept = [line for line in lines if line.text.strip()][-N_LINES:]
    if not kept:
        return ()
    readings = hearing.emissions([line.text for line in lines if line.text.strip()], len(kept))
    if view.appraisal is not None and view.appraisal.by_modality:
        readings[-1] = _mixed(readings[-1], view.appraisal, transitions.labels)
    if view.reported is not None:
        readings[-1] *= 1 - REPORTED
        readings[-1][transitions.labels.index(view.reported)] += REPORTED
    speakers = [line.speaker for line in kept]
    drawn = filtered(readings, speakers, transitions)
    agents = {line.speaker for line in kept if line.is_agent}
    course = [affect_of(dict(zip(transitions.labels, row, strict=True))) for row in drawn]
    found = []
    for who in dict.fromkeys(reversed(speakers)):
        if who in agents:
            continue
        own = [t for t, speaker in enumerate(speakers) if speaker == who]
        inertia, contagion = _pulls(readings, speakers, transitions) if own[-1] == len(kept) - 1 else (0.0, 0.0)
        belief = dict(zip(transitions.labels, map(float, drawn[own[-1]]), strict=True))
        found.append(SpeakerState(who, belief, tuple(course[t] for t in own), inertia, contagion))
    return tuple(found)


def affect_of(distribution: Mapping[str, float]) -> Affect:
    """Valence, arousal and dominance that probabilities over meld7 give, each label at its norm.

    The norms are Russell & Mehrabian's (1977), as PELD has them; neutral stands at zero.
    """
    norms = [(float(p), _norm(label)) for label, p in distribution.items()]
    mean = (sum(p * norm[k] for p, norm in norms) for k in range(3))
    return Affect(*mean)


@cache
def _norm(label: str) -> tuple[float, float, float]:
    vad = load_lexicon().vad(load_lexicon().label_node(label, "meld7").name)
    return vad.valence, vad.arousal, vad.dominance


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


def _pulls(readings: Double, speakers: Sequence[str], transitions: Transitions) -> tuple[float, float]:
    """What inertia and contagion each add to the last line's likeliest label, over the last N_PULLING lines."""
    near, who = readings[-N_PULLING:], list(speakers[-N_PULLING:])

    def last(inertia: float, contagion: float) -> Double:
        weighed = Transitions(transitions.labels, transitions.own, transitions.other, inertia, contagion)
        return np.asarray(filtered(near, who, weighed)[-1])

    both = last(transitions.inertia, transitions.contagion)
    top = int(both.argmax())
    return float(both[top] - last(0.0, transitions.contagion)[top]), float(
        both[top] - last(transitions.inertia, 0.0)[top]
    )
