"""What is asked of an engine, what it wrote, and what became of that: prompts, explanations, outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from affectgpt.records.evidence import Appraisal, EmotionDistribution, Observations
from affectgpt.records.tracks import Clip, Transcript


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Rendered messages and which prompt rendered them; `schema` is the answer's JSON schema where one exists.

    `opening` is text that the answer begins with, for engines that can go on from it; others write their own.
    """

    messages: tuple[Message, ...]
    prompt_id: str
    version: str
    schema: Mapping[str, object] | None = None
    opening: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy, the default: the same number twice."""

    max_tokens: int = 640
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote, stamped with who wrote it."""

    text: str
    engine: str
    model: str
    prompt_id: str
    prompt_version: str
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    finish_reason: str = "stop"
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that says something was observed, the section it stands in, and the ids it cites."""

    text: str
    cites: tuple[str, ...]
    section: Literal["observations", "interpretation"]


class Verdict(StrEnum):
    """What the evidence says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNCITED = "uncited"


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim, its verdict and, when not supported, the reason in words."""

    claim: Claim
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Grounding:
    """Every claim checked against what it cites."""

    claims: tuple[CheckedClaim, ...]

    def count(self, verdict: Verdict) -> int:
        """Number of claims with this verdict."""
        return sum(c.verdict is verdict for c in self.claims)

    @property
    def n_supported(self) -> int:
        """Claims that the cited observation carries."""
        return self.count(Verdict.SUPPORTED)

    @property
    def faults(self) -> tuple[CheckedClaim, ...]:
        """The sentences of the interpretation that the evidence contradicts, in order."""
        spoken = (c for c in self.claims if c.claim.section == "interpretation")
        return tuple(c for c in spoken if c.verdict is Verdict.CONTRADICTED)


@dataclass(frozen=True, slots=True)
class Revision:
    """What became of an interpretation that the evidence contradicted: asked again, and what still stood withdrawn.

    `n_asked` counts the times that the model was asked again. `first` is the first answer's grounding and `first_raw`
    its text. `withdrawn` are the sentences that were taken out of the final interpretation, in order. `note` says why
    asking again ended early, where it did.
    """

    n_asked: int
    first: Grounding
    first_raw: str
    withdrawn: tuple[CheckedClaim, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The answer's last part: open-vocabulary `emotions`, one basic `label`, V/A/D in [-1, 1], confidence in [0, 1].

    `label` is None where the answer says that it cannot tell.
    """

    emotions: tuple[str, ...]
    label: str | None
    valence: float
    arousal: float
    dominance: float
    confidence: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A parsed answer: key observations, interpretation, conclusion, the claims found in them, and their grounding.

    `raw` is what the model wrote. Where `revision` is given, the interpretation is the last one asked for without the
    sentences that were withdrawn, and claims and grounding are those of what is left; it may be empty then.
    """

    observations: tuple[str, ...]
    interpretation: str
    conclusion: Conclusion
    claims: tuple[Claim, ...]
    raw: str
    distribution: EmotionDistribution | None = None
    grounding: Grounding | None = None
    revision: Revision | None = None


@dataclass(frozen=True, slots=True)
class UnparsedAnswer:
    """An answer that does not have the asked form: the raw text and what is wrong with it, never a default class."""

    raw: str
    reason: str


Decider = Literal["appraisal", "llm"]
"""Who names the basic label: the appraisers, or the model's own conclusion."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The basic label of an outcome, who decided it, and what each of the two said; None where one said nothing."""

    label: str | None
    by: Decider
    appraisal: str | None
    llm: str | None

    @property
    def is_disputed(self) -> bool:
        """Whether both named a label, and not the same."""
        return self.appraisal is not None and self.llm is not None and self.appraisal != self.llm


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clip from end to end: what was observed, what was answered, how long it took and what versions did it."""

    clip: Clip | None
    observations: Observations
    answer: Explanation | UnparsedAnswer | None
    transcript: Transcript | None = None
    appraisal: Appraisal | None = None
    completion: Completion | None = None
    timings_s: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    ai_generated: bool = True
    decide: Decider = "appraisal"

    @property
    def decision(self) -> Decision:
        """The basic label: the appraisal's, or the answer's where `decide` says so or nothing was appraised."""
        appraised = self.appraisal.fused.top if self.appraisal else None
        written = self.answer.conclusion.label if isinstance(self.answer, Explanation) else None
        by: Decider = "appraisal" if appraised and self.decide == "appraisal" else "llm"
        return Decision(appraised if by == "appraisal" else written, by, appraised, written)
