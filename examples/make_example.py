"""Make examples/astronaut_smile.mp4 and its subtitle: a still portrait raises her brows, smiles and speaks.

    .venv/bin/python examples/make_example.py [folder]

Prints the course of each action unit, which is the clip's ground truth. Needs scikit-image (the photograph), mediapipe
(the mesh) and espeak-ng (the voice).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sitter import Pose
from stimuli import Course, Look, Sound, has_speaker, levels, render_course, speak

SENTENCE = "I got the job, I can hardly believe it!"
DURATION_S = 4.0
SPEECH_START_S = 1.65

EXPRESSION: Course = {
    1: [(0, 0), (1.1, 0), (1.45, 3), (2.3, 3), (2.9, 1)],
    2: [(0, 0), (1.1, 0), (1.45, 3), (2.3, 3), (2.9, 1)],
    6: [(0, 0), (1.25, 0), (1.8, 3), (3.1, 3), (3.6, 1)],
    12: [(0, 0), (1.2, 0), (1.7, 3.3), (3.1, 3.3), (3.6, 1.2)],
    25: [(0, 0), (1.2, 0), (1.7, 3.5), (3.1, 3.5), (3.6, 1)],
}
"""What she shows: neutral for 1.1 s, brows, smile to its apex at 1.7 s, held to 3.1 s, half gone by 3.6 s."""


def sway(time_s: float) -> Pose:
    """A head that is held still, as far as heads are: under two pixels and one degree."""
    slow, slower = np.sin(2 * np.pi * time_s / 3.1), np.sin(2 * np.pi * time_s / 4.7 + 1.0)
    return Pose(right=0.012 * slower, up=0.008 * slow, roll_deg=0.5 * slow)


def talking(sound: Sound) -> Course:
    """The jaw following the voice: up to 1.5 of jaw drop at its loudest, from the level over 80 ms."""
    window = round(0.08 * sound.rate_hz)
    power = np.convolve(sound.samples.astype(float) ** 2, np.ones(window) / window, "same")
    loudness = np.sqrt(power) / max(float(np.sqrt(power).max()), 1e-9)

    def jaw(time_s: float) -> float:
        return 1.5 * float(loudness[min(round(time_s * sound.rate_hz), len(loudness) - 1)])

    return {26: jaw}


def subtitle(start_s: float, end_s: float) -> str:
    """The sentence as one SubRip cue."""
    stamps = [f"00:00:{int(t):02d},{round(t % 1 * 1000):03d}" for t in (start_s, end_s)]
    return f"1\n{stamps[0]} --> {stamps[1]}\n{SENTENCE}\n"


def course_table(course: Course, step_s: float = 0.25) -> str:
    """The intensity of each unit over time, as text."""
    units = sorted(course)
    rows = ["time_s " + " ".join(f"{f'AU{u}':>5}" for u in units)]
    for time_s in np.arange(0, DURATION_S, step_s):
        now = levels(course, float(time_s))
        rows.append(f"{time_s:6.2f} " + " ".join(f"{now[u]:5.1f}" for u in units))
    return "\n".join(rows)


def make(folder: Path) -> tuple[Path, Course]:
    """Write the clip and its subtitle to `folder`; returns the clip's path and its course."""
    spoken = speak(SENTENCE, pitch=65, speed_wpm=190)
    sound = spoken.starting(SPEECH_START_S, DURATION_S)
    course = {**EXPRESSION, **talking(sound)}
    look = Look(duration_s=DURATION_S, fps=25, size_px=512, pose=sway, sound=sound)
    path = render_course(folder / "astronaut_smile.mp4", course, look)
    end_s = min(DURATION_S, SPEECH_START_S + spoken.duration_s)
    path.with_suffix(".srt").write_text(subtitle(SPEECH_START_S, end_s), encoding="utf-8")
    return path, course


def main() -> int:
    """Run from the command line."""
    if not has_speaker():
        print("espeak-ng is not installed; on Debian: apt-get install espeak-ng", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    path, course = make(folder)
    print(course_table(course))
    print(f"\n{path}: {path.stat().st_size / 1000:.0f} kB, {DURATION_S:.0f} s, speech from {SPEECH_START_S} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
