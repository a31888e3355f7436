"""The records of a turn: what was understood, which strategy was chosen, what was replied and with which own emotion.

Each step of the chain is a frozen record of its own, so that a page can fold it away and a test can hold it to account.
Distributions are over meld7 (`affectgpt.emotions`), feelings over the appraiser's finer set. All is an estimate of how
somebody seems in words; what a person says of their own feeling stands above it (`Feeling.decided_by`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from affectgpt.records import Appraisal, Completion
from affectgpt.safety import Finding

__all__ = [
    "Affect", "Asked", "Cause", "DecidedBy", "Feeling", "Line", "Memory", "Need", "OwnEmotion", "Reply", "ReplyBy",
    "RuledOut", "SpeakerState", "Strategy", "StrategyChoice", "Turn", "Understanding", "Utility",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Affect:
    """Valence, arousal and dominance, each in [-1, 1]."""

    valence: float
    arousal: float
    dominance: float


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said, and who said it. `is_agent` marks what this system replied."""

    speaker: str
    text: str
    is_agent: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a turn starts from.

    words: of this turn. history: what was said before, oldest first, the agent's replies among it. appraisal: of the
    turn's clip, or None. observed: the clip's observations in words, the most telling first. wishes: what was asked of
    the conversation (a client's own system message); data, never an instruction above the rules. strategies: those
    chosen in earlier turns, oldest first; where the caller kept none, questions are told by their mark. own: the
    agent's emotion after its last reply, or None at the start. locale: BCP 47, for help lines and stand-in texts.
    """

    words: str
    history: tuple[Line, ...] = ()
    appraisal: Appraisal | None = None
    observed: tuple[str, ...] = ()
    wishes: str = ""
    strategies: tuple[Strategy, ...] = ()
    own: Affect | None = None
    locale: str = "en"


DecidedBy = Literal["words", "engine first", "engine rest", "self-report"]
"""Who named the feeling: the small model, the language model among its likeliest or among the rest, or the person."""


@dataclass(frozen=True, slots=True)
class Feeling:
    """The feeling that the words tell of, with its alternatives (label, probability), likeliest first.

    `label_set` is the set that the labels are of. `note` says why the language model did not decide, where it was to.
    """

    label: str
    alternatives: tuple[tuple[str, float], ...]
    label_set: str
    decided_by: DecidedBy = "words"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cause:
    """Words that seem to have caused the feeling: `text`, its place in the turn in characters, mean probability."""

    text: str
    start: int
    end: int
    probability: float


class Need(StrEnum):
    """What a turn asks for; see data/reply_needs.toml."""

    BE_HEARD = "to be heard"
    COMFORT = "comfort"
    ADVICE = "advice"
    INFORMATION = "information"
    SHARE_JOY = "to share joy"
    COMPANY = "ordinary talk"


@dataclass(frozen=True, slots=True)
class SpeakerState:
    """One speaker after the last line read: `distribution` over meld7, and the affect of their lines, oldest first.

    `inertia` and `contagion` are what their own last line and the other's added to the likeliest label's probability;
    told of whoever spoke last, 0 for the others.
    """

    speaker: str
    distribution: Mapping[str, float]
    trajectory: tuple[Affect, ...]
    inertia: float = 0.0
    contagion: float = 0.0

    @property
    def top(self) -> str:
        """The likeliest emotion; ties go to the first in order."""
        return max(self.distribution, key=lambda k: self.distribution[k])


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier lines are remembered by: sentences with facts, sentences with feelings, in the order said.

    `n_lines` were read for it, `n_tokens` is its length by the estimate of `memory.count_tokens`. `is_retold` says that
    a language model told it shorter: then all stands in `facts`, and no longer word for word.
    """

    facts: tuple[str, ...] = ()
    feelings: tuple[str, ...] = ()
    n_lines: int = 0
    n_tokens: int = 0
    is_retold: bool = False


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a turn seems to say.

    intensity in [0, 1] is the probability that the turn is not neutral, context included. self_report is the person's
    own words for how they are, empty where they said nothing of it; differs: what was observed is surely of another
    kind, which is told to nobody and shuts what might contradict them. speakers: a state each, the person first.
    """

    feeling: Feeling
    cause: Cause | None
    cause_words: tuple[tuple[str, float], ...]
    need: Need
    intensity: float
    affect: Affect
    self_report: str
    speakers: tuple[SpeakerState, ...]
    memory: Memory
    differs: bool = False


class Strategy(StrEnum):
    """The eight support strategies of ESConv (Liu et al. 2021), after Hill's helping skills, as it spells them."""

    QUESTIONS = "Questions"
    RESTATEMENT = "Restatement or Paraphrasing"
    REFLECTION = "Reflection of feelings"
    SELF_DISCLOSURE = "Self-disclosure"
    AFFIRMATION = "Affirmation and Reassurance"
    SUGGESTIONS = "Providing Suggestions"
    INFORMATION = "Information"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Utility:
    """What speaks for a strategy, each part in [0, 1].

    alignment: how well it meets the need and feeling now. wellbeing: what it does for the person beyond this talk
    (autonomy, their own people, coping). total: their weighted sum. No part knows how long the talk lasts.
    """

    alignment: float
    wellbeing: float
    total: float


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A strategy that a hard constraint forbade, whatever its utility."""

    strategy: Strategy
    constraint: str
    reason: str


@dataclass(frozen=True, slots=True)
class StrategyChoice:
    """The strategy of a reply, why, and what stood against it; `chosen_by` is `rules` or the name of a policy."""

    chosen: Strategy
    because: str
    utilities: Mapping[str, Utility]
    ruled_out: tuple[RuledOut, ...] = ()
    chosen_by: str = "rules"


@dataclass(frozen=True, slots=True)
class OwnEmotion:
    """The agent's emotion: after = bounded(before + change x weights), by the persona's Big Five; `tone` in words."""

    persona: str
    before: Affect
    change: Affect
    weights: Affect
    after: Affect
    tone: str


ReplyBy = Literal["engine", "stand-in", "card"]
"""Who wrote what is shown: the model; a fixed text, where it failed or was held back; nobody, under a help card."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to the person. `note` tells why it is no answer of the model's, where it is none."""

    text: str
    by: ReplyBy
    completion: Completion | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn from end to end. Where a finding stopped it, nothing was analysed: only the card and its reply stand.

    `findings` are those of the person's words, by which alone a log may go; `held` is the risk for which the model's
    reply did not go out, or empty. `card` is Markdown with human help, or empty. `timings_s` are wall seconds a step.
    """

    words: str
    reply: Reply
    understanding: Understanding | None = None
    strategy: StrategyChoice | None = None
    own: OwnEmotion | None = None
    findings: tuple[Finding, ...] = ()
    held: str = ""
    card: str = ""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    ai_generated: bool = True
