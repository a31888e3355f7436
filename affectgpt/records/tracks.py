"""What a clip gives when it is opened and sensed: pictures, sound, faces, voices, words, over time."""

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
