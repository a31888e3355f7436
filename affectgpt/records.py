"""The records that travel between steps: frozen, typed, and plain to print.

Shape letters used in every docstring of this package: B batch, T frames in time, N samples, A action units,
K soft tokens, S sequence length, D width. Times are seconds on the clip's clock:
0 is the first picture, or the sound's start where sound leads the picture by more than 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class Modality(StrEnum):
    """A channel of evidence. A set of them is a `frozenset[Modality]`, never a combined string."""

    FACE = "face"
    VOICE = "voice"
    SPEECH = "speech"


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of time in seconds, `start_s` <= `end_s`."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Clip:
    """What a media file's header says; nothing decoded yet.

    `duration_s` is 0.0 for a still image. `rotation_deg` is the display rotation, clockwise, one of 0, 90, 180, 270;
    `width_px` and `height_px` are those of the upright picture.
    """

    path: Path
    duration_s: float
    fps: float
    has_video: bool
    has_audio: bool
    width_px: int = 0
    height_px: int = 0
    rotation_deg: int = 0
    is_image: bool = False
    n_subtitle_streams: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture: `pixels` (H, W, 3) uint8 RGB, upright."""

    pixels: NDArray[np.uint8]
    time_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """One block of sound: `samples` (N,) float32 in [-1, 1], mono."""

    samples: NDArray[np.float32]
    rate_hz: int
    start_s: float


BaselineKind = Literal["own", "population"]
"""What a value was compared with: the person's own quiet stretches, or a table over other people."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One person's face over time, T frames and A action units.

    times_s (T,) · action_units (T, A) intensity in [0, 5], NaN where not found · found (T,) a usable face ·
    pose_deg (T, 3) yaw, pitch, roll, NaN where no face · width_px (T,) face width, NaN where no face ·
    units (A,) FACS numbers · baseline (A,) the resting intensity that was already subtracted, against the population,
    in [0, 5] (zero for a population baseline) · reliability (A,) in [0, 1]: how far this reader can be trusted on
    this unit at all. `n_turned_away` counts frames with a face beyond the yaw limit (found is False there).
    """

    times_s: NDArray[np.float64]
    action_units: NDArray[np.float32]
    units: tuple[int, ...]
    found: NDArray[np.bool_]
    pose_deg: NDArray[np.float32]
    width_px: NDArray[np.float32]
    baseline: NDArray[np.float32]
    baseline_kind: BaselineKind
    reliability: NDArray[np.float32]
    reader: str
    n_turned_away: int = 0
    subject: int = 0
    n_people: int = 0


@dataclass(frozen=True, slots=True)
class VoiceWindow:
    """Acoustic measures of one phrase: `measures` in their units, `z` against the track's baseline."""

    start_s: float
    end_s: float
    measures: Mapping[str, float]
    z: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class VoiceTrack:
    """One voice over time: contours (T,) at a fixed hop, and functionals by phrase and over all speech.

    f0_hz (T,) NaN where unvoiced · level_db (T,) RMS level in dB re full scale · `speech` the detected speech spans ·
    `measures` whole-clip functionals over speech, keyed as in data/acoustic_cues.toml, absent where there is none ·
    `z` the same against `population` (mean and standard deviation a measure), for a clip against itself would be zero ·
    `windows` are against `baseline`, of the kind `baseline_kind`. `snr_db` is NaN when there is no pause to measure
    noise in. `bands_db` (T, M) the level of M mel bands, (0, 0) from a reader that has none.
    """

    times_s: NDArray[np.float64]
    f0_hz: NDArray[np.float32]
    level_db: NDArray[np.float32]
    speech: tuple[Interval, ...]
    measures: Mapping[str, float]
    z: Mapping[str, float]
    windows: tuple[VoiceWindow, ...]
    baseline: Mapping[str, tuple[float, float]]
    baseline_kind: BaselineKind
    reader: str
    duration_s: float = 0.0
    snr_db: float = float("nan")
    clipped_ratio: float = 0.0
    voiced_ratio: float = 0.0
    population: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bands_db: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))


class TranscriptSource(StrEnum):
    """Where the words came from, best first."""

    SIDECAR = "sidecar subtitle"
    STREAM = "subtitle stream"
    GIVEN = "given text"
    WHISPER = "whisper"
    POCKETSPHINX = "pocketsphinx"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken word with its times and the recogniser's probability in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """One subtitle line or recognised segment; times are None where the source gives none."""

    text: str
    start_s: float | None
    end_s: float | None
    confidence: float = 1.0
    speaker: str | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said, and how we know."""

    utterances: tuple[Utterance, ...]
    source: TranscriptSource
    language: str | None = None
    model: str | None = None
    note: str = ""


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
class Appraisal:
    """What small appraisers make of the evidence, a modality at a time and fused; conflicts are kept, not averaged."""

    by_modality: Mapping[str, EmotionDistribution]
    reliability: Mapping[str, float]
    fused: EmotionDistribution
    conflicts: tuple[str, ...] = ()


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
    """A parsed answer: key observations, interpretation, conclusion, the claims found in them, and their grounding."""

    observations: tuple[str, ...]
    interpretation: str
    conclusion: Conclusion
    claims: tuple[Claim, ...]
    raw: str
    distribution: EmotionDistribution | None = None
    grounding: Grounding | None = None


@dataclass(frozen=True, slots=True)
class UnparsedAnswer:
    """An answer that does not have the asked form: the raw text and what is wrong with it, never a default class."""

    raw: str
    reason: str


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
