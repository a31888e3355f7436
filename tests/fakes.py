"""Fakes behind the Protocols: readers that give a known track, and an engine that gives a known answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.cues import load_cues
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import UnreadableMedia
from affectgpt.fusion.features import Features
from affectgpt.records import (
    Completion,
    FaceTrack,
    Frame,
    Interval,
    Prompt,
    Sampling,
    SoftPart,
    Transcript,
    TranscriptSource,
    Utterance,
    VoiceTrack,
    Waveform,
)

UNITS = tuple(load_cues().face)


def face_track(duration_s: float = 4.0, rate_hz: float = 12.5, **peaks: float) -> FaceTrack:
    """A face seen throughout; `AU12=4.0` gives that unit a hump over the middle half of the clip."""
    times_s = np.arange(0, duration_s, 1 / rate_hz)
    n = len(times_s)
    intensity = np.zeros((n, len(UNITS)), np.float32)
    hump = np.clip(np.sin(np.pi * (times_s / duration_s * 2 - 0.5)), 0, 1)
    for name, peak in peaks.items():
        intensity[:, UNITS.index(int(name.removeprefix("AU")))] = peak * hump
    return FaceTrack(
        times_s=times_s,
        action_units=intensity,
        units=UNITS,
        found=np.ones(n, np.bool_),
        pose_deg=np.zeros((n, 3), np.float32),
        width_px=np.full(n, 180, np.float32),
        baseline=np.zeros(len(UNITS), np.float32),
        baseline_kind="population",
        reliability=np.full(len(UNITS), 0.9, np.float32),
        reader="fake face",
        n_people=1,
    )


def unseen_track(duration_s: float = 4.0) -> FaceTrack:
    """Frames without a face."""
    track = face_track(duration_s)
    n = len(track.times_s)
    return replace(
        track,
        found=np.zeros(n, np.bool_),
        action_units=np.full_like(track.action_units, np.nan),
        width_px=np.full(n, np.nan, np.float32),
        pose_deg=np.full((n, 3), np.nan, np.float32),
        n_people=0,
    )


def voice_track(duration_s: float = 4.0, **z: float) -> VoiceTrack:
    """One phrase over the middle of the clip, with the given z scores (`f0_median_hz=2.0`)."""
    times_s = np.arange(0, duration_s, 0.01)
    speaks = (times_s > duration_s * 0.2) & (times_s < duration_s * 0.8)
    pitch = np.where(speaks, 180 + 40 * np.sin(times_s * 3), np.nan).astype(np.float32)
    baseline = {"f0_median_hz": (180.0, 30.0)}
    measures = {key: 180.0 + 30.0 * value for key, value in z.items()}
    return VoiceTrack(
        times_s=times_s,
        f0_hz=pitch,
        level_db=np.where(speaks, -20, -60).astype(np.float32),
        speech=(Interval(duration_s * 0.2, duration_s * 0.8),),
        measures=measures,
        z=z,
        windows=(),
        baseline=baseline,
        baseline_kind="population",
        reader="fake voice",
        duration_s=duration_s,
        snr_db=40.0,
        voiced_ratio=0.6,
    )


def transcript(*lines: str, source: TranscriptSource = TranscriptSource.GIVEN) -> Transcript:
    """Lines a second apart."""
    said = tuple(Utterance(text, float(i), i + 0.9) for i, text in enumerate(lines))
    return Transcript(said, source)


@dataclass
class FakeFaceReader:
    """Gives `track` after taking every frame; `error` is raised instead where given."""

    track: FaceTrack = field(default_factory=lambda: face_track(AU12=4.0))
    error: Exception | None = None
    name: str = "fake face"
    n_frames: int = 0
    subject: int | None = None

    def read(self, frames: Iterable[Frame], *, subject: int | None = None) -> FaceTrack:
        """The known track."""
        self.subject = subject
        self.n_frames = sum(1 for _ in frames)
        if self.error:
            raise self.error
        return self.track


@dataclass
class FakeVoiceReader:
    """Gives `track` after taking every block; `error` is raised instead where given."""

    track: VoiceTrack = field(default_factory=lambda: voice_track(f0_median_hz=2.0))
    error: Exception | None = None
    name: str = "fake voice"
    n_blocks: int = 0

    def read(self, blocks: Iterable[Waveform], **_: Any) -> VoiceTrack:
        """The known track."""
        self.n_blocks = sum(1 for _ in blocks)
        if self.error:
            raise self.error
        return self.track


@dataclass
class FakeTranscriber:
    """Recognises the known words."""

    words: Transcript = field(default_factory=lambda: transcript("well here we are", source=TranscriptSource.WHISPER))
    name: str = "fake transcriber"

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        """The known words, once the whole sound was heard."""
        for _ in blocks:
            pass
        return self.words


@dataclass
class FakeSoftReader:
    """Gives one soft token a modality that it gets features of, and remembers what it got."""

    id: str = "fake fusion"
    prompt_id: str = "explain-fused"
    encoders: tuple[str, ...] = ("face-units@1",)
    width: int = 4
    asked: list[tuple[tuple[Features, ...], Mapping[str, float]]] = field(default_factory=list)

    def read(self, features: Sequence[Features], reliability: Mapping[str, float]) -> tuple[SoftPart, ...]:
        """A row of ones each."""
        self.asked.append((tuple(features), reliability))
        return tuple(SoftPart(f.modality.value, np.ones((1, self.width), np.float32)) for f in features if f.is_present)


class CountingEngine(EchoEngine):
    """The echo engine, remembering what it was asked."""

    def __init__(self, scripted: Sequence[str] | None = None) -> None:
        super().__init__(scripted)
        self.asked: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """What the echo engine says."""
        self.asked += prompts
        return super().generate(prompts, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """What the echo engine says, in pieces."""
        self.asked.append(prompt)
        return super().stream(prompt, sampling)


def broken(path: str = "clip.mp4") -> UnreadableMedia:
    """What a decoder says of a damaged stream."""
    return UnreadableMedia(f"{path}: the stream breaks off", "make the file anew")


ANSWER = """**Key observations**
- The lip corners are pulled up, severe, 4.0 of 5 [F1]
- A frown, the brow lowerer, is severe [F1]
- The pitch is much higher than usual [V1]

**Interpretation**
The raised lip corners [F1] fit the higher pitch [V1]. It may also be politeness.

**Conclusion**
Emotions: delighted, relieved
Label: happy
Valence: 0.7
Arousal: 0.5
Dominance: 0.2
Confidence: 0.8
"""


def media_path(folder: Path, name: str, content: bytes) -> Path:
    """A file with these bytes."""
    path = folder / name
    path.write_bytes(content)
    return path
