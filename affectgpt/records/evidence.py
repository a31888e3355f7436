"""What tracks are told as and what it seems to mean: observations, distributions over emotions, appraisals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from affectgpt.records.tracks import BaselineKind, Modality


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was seen, heard or said, or that is missing, in words and in numbers.

    `cue` is the key of the fact in data/*.toml (`AU12`, `f0_median_hz`), `quote` for speech, `missing_…` for what is
    absent. `level` is the class of the intensity word: a FACS letter A to E for the face, `much lower` … `much higher`
    for the voice. `confidence` in [0, 1].
    """

    id: str
    modality: Modality
    cue: str
    text: str
    start_s: float | None = None
    end_s: float | None = None
    value: float | None = None
    level: str | None = None
    baseline: float | None = None
    baseline_kind: BaselineKind | None = None
    confidence: float = 1.0
    quote: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether this states an absence and carries no evidence of feeling."""
        return self.cue.startswith("missing_")

    @property
    def line(self) -> str:
        """The observation as the prompt shows it."""
        return f"[{self.id}] {self.text}"


@dataclass(frozen=True, slots=True)
class Observations:
    """What a clip gave, ranked a modality, with the count that the bottleneck left out."""

    items: tuple[Observation, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def of(self, modality: Modality) -> tuple[Observation, ...]:
        """The observations of one modality, in rank order."""
        return tuple(o for o in self.items if o.modality is modality)

    def by_id(self) -> dict[str, Observation]:
        """Observations by their id."""
        return {o.id: o for o in self.items}


@dataclass(frozen=True, slots=True)
class EmotionDistribution:
    """Probabilities by basic emotion (sum 1), with valence, arousal and dominance in [-1, 1]."""

    probabilities: Mapping[str, float]
    valence: float
    arousal: float
    dominance: float

    @property
    def top(self) -> str:
        """The most probable emotion; ties go to the first in order."""
        return max(self.probabilities, key=lambda k: self.probabilities[k])


@dataclass(frozen=True, slots=True)
class Moment:
    """The fused reading of one stretch of a clip, in seconds, and each modality's share in it (sum 1, 0 if absent)."""

    start_s: float
    end_s: float
    fused: EmotionDistribution
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EmotionSet:
    """Labels that cannot be ruled out, most probable first, at the `coverage` in (0, 1) that was asked for.

    `abstains` where the set says too little to be told.
    """

    labels: tuple[str, ...]
    abstains: bool
    coverage: float


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What small appraisers make of the evidence, a modality at a time and fused; conflicts are kept, not averaged.

    `reliability` in [0, 1] is how well a modality could be read, `weights` its share in the fused reading (sum 1).
    `carried_by` names, a modality, the observations that carry its reading, the most telling first; `read_by` who
    read it. `compounds` are compound emotions with the sum of their two parts, `course` the reading over time where
    the clip is long enough to have one.
    """

    by_modality: Mapping[str, EmotionDistribution]
    reliability: Mapping[str, float]
    fused: EmotionDistribution
    conflicts: tuple[str, ...] = ()
    carried_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    compounds: Mapping[str, float] = field(default_factory=dict)
    course: tuple[Moment, ...] = ()
    emotion_set: EmotionSet | None = None
    read_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        """How sure a conclusion from this may be, in [0.1, 0.9], or 0 without evidence.

        The first emotion's probability, a tenth more for each further channel up to three, a fifth less in conflict: a
        rule of this project, so that an answer's number follows from what its prompt shows.
        """
        if not self.by_modality:
            return 0.0
        share = (0.7 + 0.1 * len(self.by_modality)) * (0.8 if self.conflicts else 1.0)
        return max(0.1, min(0.9, self.fused.probabilities[self.fused.top] * share))
