"""Stimuli for every room's tests, made once a session: clips with known courses, spoken sentences, long recordings.

    from clips import course_clip, smile_clip, speech_wav

Each maker returns a path to a file that several tests share: read it, never write to it. The drawing itself is that of
examples/stimuli.py. Makers that need espeak-ng skip the test where it is not installed.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import repeat as again
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import stimuli
from sitter import Picture, Pose
from stimuli import Course, Look, Sound

__all__ = [
    "SMILE",
    "STEADY",
    "Pose",
    "course_clip",
    "example_clip",
    "long_clip",
    "no_face_clip",
    "part_time_clip",
    "silent_clip",
    "small_face_clip",
    "smile_clip",
    "speech_clip",
    "speech_sound",
    "speech_wav",
    "turned_clip",
    "two_faces_clip",
    "unit_clip",
]

SMILE: Mapping[int, tuple[tuple[float, float], ...]] = {12: ((0, 0), (1.2, 0), (1.7, 4), (3.0, 4), (3.5, 1))}
"""Rest to 1.2 s, apex from 1.7 s to 3.0 s, most of it gone by 3.5 s."""

STEADY = Look(fps=12, size_px=256)
"""A small, cheap picture: a face about 100 px wide, 12 frames a second."""

_PERIOD_S = 6.4
_RISE_S, _APEX_S, _FALL_S, _BACK_S = 1.5, 2.0, 3.0, 3.5


@cache
def _room() -> Path:
    room = Path(tempfile.mkdtemp(prefix="affectgpt-clips-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    return room


def _speaker() -> None:
    if not stimuli.has_speaker():
        pytest.skip("espeak-ng not installed")


def _freeze(course: Course) -> tuple[tuple[int, object], ...]:
    return tuple(sorted((u, c if callable(c) else tuple(map(tuple, c))) for u, c in course.items()))


@cache
def _course_clip(course: tuple[tuple[int, object], ...], look: Look) -> Path:
    path = _room() / f"course-{_course_clip.cache_info().misses}.mp4"
    return stimuli.render_course(path, dict(course), look)


def course_clip(course: Course, look: Look = STEADY) -> Path:
    """A 256-pixel clip of one face following `course`; the same course is drawn once a session."""
    return _course_clip(_freeze(course), look)


def example_clip() -> Path:
    """The clip that the project ships."""
    return Path(__file__).resolve().parent.parent / "examples" / "astronaut_smile.mp4"


def smile_clip() -> Path:
    """Four seconds without sound: rest, a smile to 4 (see SMILE), most of it gone again."""
    return course_clip(SMILE)


def unit_clip(unit: int, intensity: float = 4.0) -> Path:
    """One action unit alone: rest to 1.5 s, `intensity` from 2.0 s to 3.0 s, rest from 3.5 s to 4 s."""
    course = ((0, 0), (_RISE_S, 0), (_APEX_S, intensity), (_FALL_S, intensity), (_BACK_S, 0))
    return course_clip({unit: course})


def silent_clip() -> Path:
    """A resting face with a sound track of digital silence, 3 s."""
    return course_clip({}, Look(duration_s=3.0, fps=12, sound=_silence(3.0)))


@cache
def _silence(duration_s: float) -> Sound:
    return stimuli.silence(duration_s)


@cache
def speech_sound(text: str, pitch: int = 50, speed_wpm: int = 175, amplitude: int = 100) -> Sound:
    """A spoken sentence as samples."""
    _speaker()
    return stimuli.speak(text, pitch, speed_wpm, amplitude)


@cache
def speech_wav(text: str, pitch: int = 50, speed_wpm: int = 175, amplitude: int = 100) -> Path:
    """A spoken sentence as a WAV file: 22,050 Hz, mono, 16 bit."""
    sound = speech_sound(text, pitch, speed_wpm, amplitude)
    return stimuli.write_wav(_room() / f"speech-{speech_wav.cache_info().misses}.wav", sound)


@cache
def speech_clip(text: str = "I got the job, I can hardly believe it!", start_s: float = 0.5) -> Path:
    """A resting face while `text` is heard from `start_s` on."""
    spoken = speech_sound(text)
    total_s = start_s + spoken.duration_s + 0.5
    path = _room() / f"spoken-{speech_clip.cache_info().misses}.mp4"
    return stimuli.render_course(path, {}, Look(total_s, fps=12, sound=spoken.starting(start_s, total_s)))


@cache
def no_face_clip(duration_s: float = 2.0) -> Path:
    """An empty studio wall, 256 pixels square."""
    wall = stimuli.backdrop(256, 256)
    return stimuli.write_clip(_room() / f"wall-{duration_s}.mp4", again(wall, round(duration_s * 12)), fps=12)


@cache
def part_time_clip(start_s: float = 1.0, end_s: float = 3.0, duration_s: float = 4.0) -> Path:
    """A resting face that is in the picture from `start_s` to `end_s` only."""
    wall = stimuli.backdrop(256, 256)
    face = stimuli.sit(256).picture({})
    times = (k / 12 for k in range(round(duration_s * 12)))
    frames = (face if start_s <= t < end_s else wall for t in times)
    return stimuli.write_clip(_room() / f"part-{start_s}-{end_s}-{duration_s}.mp4", frames, fps=12)


@cache
def two_faces_clip() -> Path:
    """Two people in 512 x 256 for 4 s: the left one smiles (SMILE), the right one raises the brows (1+2) meanwhile."""
    brows = SMILE[12]
    left = stimuli.course_frames(SMILE, STEADY)
    right = stimuli.course_frames({1: brows, 2: brows}, STEADY)
    return stimuli.write_clip(_room() / "two.mp4", stimuli.side_by_side(left, right), fps=STEADY.fps)


@cache
def small_face_clip(face_px: int = 80) -> Path:
    """SMILE in the corner of a 1280 x 720 picture, the face about `face_px` wide (a face is 0.38 of its inset)."""
    size_px = round(face_px / 0.38 / 2) * 2
    frames = stimuli.course_frames(SMILE, Look(fps=12, size_px=size_px))
    wide = stimuli.inset(frames, 1280, 720, 860, 80)
    return stimuli.write_clip(_room() / f"small-{face_px}.mp4", wide, fps=12)


def turned_clip(yaw_deg: float) -> Path:
    """A head that turns to `yaw_deg` (positive: the picture's right) between 1 s and 2 s and stays there until 4 s.

    The turn is the face mesh's own relief rotated about the neck: right for the face, a caricature for hair and ears.
    """
    return course_clip({}, Look(fps=12, pose=_turning(yaw_deg)))


@cache
def _turning(yaw_deg: float) -> Callable[[float], Pose]:
    def pose(time_s: float) -> Pose:
        return Pose(yaw_deg=yaw_deg * min(max(time_s - 1.0, 0.0), 1.0))

    return pose


@cache
def long_clip(minutes: float = 1.0) -> Path:
    """A 1280 x 720 clip at 30 frames a second with speech and changing expression, by repeating 6.4 s of it.

    6.4 s at 16 kHz are a whole number of AAC frames, so that sound and picture stay together.
    """
    n_times = max(1, round(minutes * 60 / _PERIOD_S))
    return stimuli.repeat(_period(), _room() / f"long-{n_times}.mp4", n_times, _PERIOD_S)


@cache
def _period() -> Path:
    spoken = speech_sound("I got the job, I can hardly believe it! Tell me everything about your first day.", 60)
    resampled = _to_16_khz(spoken).starting(0.6, _PERIOD_S)
    course: Course = {
        12: [(0, 0), (1.2, 0), (1.8, 4), (3.5, 4), (4.2, 0)],
        1: [(4, 0), (4.5, 4), (5.5, 4), (6.2, 0)],
        2: [(4, 0), (4.5, 4), (5.5, 4), (6.2, 0)],
    }
    frames = stimuli.inset(_tripled(course), 1280, 720, 448, 200)
    return stimuli.write_clip(_room() / "period.mp4", frames, fps=30, sound=resampled, crf=23)


def _tripled(course: Course) -> Iterator[Picture]:
    """Ten drawings a second, each shown three times: a third of the work for 30 frames a second."""
    for picture in stimuli.course_frames(course, Look(duration_s=_PERIOD_S, fps=10, size_px=384)):
        yield from (picture,) * 3


def _to_16_khz(sound: Sound) -> Sound:
    from scipy.signal import resample_poly

    return Sound(resample_poly(sound.samples, 320, 441).astype("float32"), 16_000)
