"""Clips whose truth is known: a face that follows a written course of action units, and sound to go with it.

    render_course("smile.mp4", {12: [(0, 0), (1, 0), (1.5, 4), (3, 4)]}, Look(duration_s=4, fps=25))

A course is a list of (time in seconds, intensity 0 to 5) for each unit, joined by straight lines and level beyond its
ends, or any function of time. Pictures are (H, W, 3) uint8 RGB; sound is mono float32 in [-1, 1].
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from sitter import Picture, Pose, Sitter

if TYPE_CHECKING:
    from av.container import OutputContainer

__all__ = [
    "Course",
    "Level",
    "Look",
    "Sound",
    "backdrop",
    "course_frames",
    "has_speaker",
    "inset",
    "level",
    "levels",
    "render_course",
    "repeat",
    "side_by_side",
    "silence",
    "sit",
    "speak",
    "tone",
    "write_clip",
    "write_wav",
]

Level = Sequence[tuple[float, float]] | Callable[[float], float]
Course = Mapping[int, Level]

_ESPEAK = "espeak-ng"
_AAC_FRAME = 1024
_BACKDROP_RGB = (182, 172, 170)


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Mono sound: `samples` (N,) float32 in [-1, 1]."""

    samples: NDArray[np.float32]
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    def starting(self, start_s: float, total_s: float) -> Sound:
        """The same sound after `start_s` of silence, cut or filled to `total_s`."""
        out = np.zeros(round(total_s * self.rate_hz), np.float32)
        first = round(start_s * self.rate_hz)
        piece = self.samples[: max(0, len(out) - first)]
        out[first : first + len(piece)] = piece
        return Sound(out, self.rate_hz)


@dataclass(frozen=True, slots=True)
class Look:
    """How a clip is made: its length, rate and size, how the head is held over time, and what is heard."""

    duration_s: float = 4.0
    fps: int = 25
    size_px: int = 256
    pose: Callable[[float], Pose] | None = None
    sound: Sound | None = None


# ---------------------------------------------------------------- courses and pictures


def level(course: Level, time_s: float) -> float:
    """One unit's intensity at `time_s`."""
    if callable(course):
        return float(course(time_s))
    times, values = zip(*course, strict=True)
    return float(np.interp(time_s, times, values))


def levels(course: Course, time_s: float) -> dict[int, float]:
    """Every unit's intensity at `time_s`."""
    return {unit: level(points, time_s) for unit, points in course.items()}


@cache
def sit(size_px: int) -> Sitter:
    """The portrait at this size; made once."""
    return Sitter(size_px=size_px)


def course_frames(course: Course, look: Look) -> Iterator[Picture]:
    """The face following `course`, one picture a frame, (size_px, size_px, 3)."""
    sitter = sit(look.size_px)
    for k in range(round(look.duration_s * look.fps)):
        time_s = k / look.fps
        yield sitter.picture(levels(course, time_s), look.pose(time_s) if look.pose else None)


def backdrop(width_px: int, height_px: int) -> Picture:
    """A studio wall with nobody in front of it, lit from above, with a little grain: (height_px, width_px, 3)."""
    shade = np.linspace(1.05, 0.85, height_px)[:, None, None] * np.array(_BACKDROP_RGB, dtype=float)
    grain = np.random.default_rng(0).normal(0, 2, (height_px, width_px, 1))
    return np.clip(shade + grain, 0, 255).astype(np.uint8)


def inset(frames: Iterable[Picture], width_px: int, height_px: int, left_px: int, top_px: int) -> Iterator[Picture]:
    """Each picture in a larger one, its upper left corner at (left_px, top_px)."""
    wall = backdrop(width_px, height_px)
    for picture in frames:
        wide = wall.copy()
        wide[top_px : top_px + picture.shape[0], left_px : left_px + picture.shape[1]] = picture
        yield wide


def side_by_side(left: Iterable[Picture], right: Iterable[Picture]) -> Iterator[Picture]:
    """Two people in one picture: the right one is mirrored, so that the two differ."""
    for one, other in zip(left, right, strict=True):
        yield np.hstack([one, other[:, ::-1]])


# ---------------------------------------------------------------- sound


def silence(duration_s: float, rate_hz: int = 22_050) -> Sound:
    """Digital silence."""
    return Sound(np.zeros(round(duration_s * rate_hz), np.float32), rate_hz)


def tone(frequency_hz: float, duration_s: float, rate_hz: int = 22_050, amplitude: float = 0.3) -> Sound:
    """A sine."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Sound((amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32), rate_hz)


def has_speaker() -> bool:
    """Whether espeak-ng is installed."""
    return shutil.which(_ESPEAK) is not None


def speak(text: str, pitch: int = 50, speed_wpm: int = 175, amplitude: int = 100) -> Sound:
    """`text` in espeak-ng's English voice: `pitch` 0 to 99, `speed_wpm` words a minute, `amplitude` 0 to 200.

    Raises:
        FileNotFoundError: espeak-ng is not installed.
    """
    options = ["-p", str(pitch), "-s", str(speed_wpm), "-a", str(amplitude), "-v", "en-us"]
    spoken = subprocess.run([_ESPEAK, *options, "--stdout", "--", text], check=True, capture_output=True)
    # Written to a pipe, the WAV header claims a length it does not have: the samples follow its 44 bytes.
    rate_hz = int.from_bytes(spoken.stdout[24:28], "little")
    return Sound((np.frombuffer(spoken.stdout[44:], "<i2") / 32768).astype(np.float32), rate_hz)


def write_wav(path: Path, sound: Sound) -> Path:
    """`sound` as 16-bit PCM."""
    soundfile.write(path, sound.samples, sound.rate_hz, subtype="PCM_16")
    return path


# ---------------------------------------------------------------- files


def render_course(path: str | Path, course: Course, look: Look | None = None) -> Path:
    """A video file of the face following `course`."""
    look = look or Look()
    return write_clip(path, course_frames(course, look), look.fps, look.sound)


def write_clip(
    path: str | Path, frames: Iterable[Picture] | None, fps: int = 25, sound: Sound | None = None, crf: int = 18
) -> Path:
    """Pictures and sound as h264 (yuv420p) and AAC; the container goes by the file's suffix.

    One encoder thread and no dates or versions in the file: the same pictures give the same file.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        pictures = _add_video(out, iter(frames), fps, crf) if frames is not None else None
        heard = _add_audio(out, sound) if sound is not None else None
        for packets in (pictures, heard):
            if packets is not None:
                out.mux(packets)
    return Path(path)


def _add_video(out: OutputContainer, frames: Iterator[Picture], fps: int, crf: int) -> Iterator[av.Packet]:
    first = next(frames)
    stream = out.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "medium", "bf": "2"})
    stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= av.codec.context.Flags.bitexact

    def packets() -> Iterator[av.Packet]:
        yield from stream.encode(_picture(first))
        for picture in frames:
            yield from stream.encode(_picture(picture))
        yield from stream.encode(None)

    return packets()


def _picture(pixels: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _add_audio(out: OutputContainer, sound: Sound) -> Iterator[av.Packet]:
    stream = out.add_stream("aac", rate=sound.rate_hz, layout="mono")
    stream.bit_rate = 64_000
    stream.codec_context.flags |= av.codec.context.Flags.bitexact

    def packets() -> Iterator[av.Packet]:
        for first in range(0, len(sound.samples), _AAC_FRAME):
            frame = av.AudioFrame.from_ndarray(sound.samples[None, first : first + _AAC_FRAME], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = sound.rate_hz, first, Fraction(1, sound.rate_hz)
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return packets()


def repeat(source: Path, path: str | Path, n_times: int, period_s: float) -> Path:
    """The first `period_s` of `source`, `n_times` in a row, by copying packets: minutes of video in a second of work.

    Sound and picture stay together where the period holds a whole number of both's frames: 6.4 s are 100 AAC frames
    at 16 kHz and 192 pictures at 30 a second.
    """
    with av.open(str(source)) as reader, av.open(str(path), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in reader.streams}
        packets = [p for p in reader.demux() if p.dts is not None and p.size]
        first = {i: min(p.dts for p in packets if p.stream_index == i) for i in copies}
        packets = [p for p in packets if (p.dts - first[p.stream_index]) * p.time_base < period_s - 1e-3]
        for turn in range(n_times):
            for packet in packets:
                out.mux(_later(packet, round(turn * period_s / packet.time_base), copies[packet.stream_index]))
    return Path(path)


def _later(packet: av.Packet, n_ticks: int, stream: av.stream.Stream) -> av.Packet:
    """A copy of `packet`, `n_ticks` later, for `stream` of another file."""
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration = packet.pts + n_ticks, packet.dts + n_ticks, packet.duration
    copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
    return copy
