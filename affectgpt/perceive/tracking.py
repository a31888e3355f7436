"""Who is who from frame to frame: sightings of faces joined into people by place and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError

__all__ = ["Box", "Course", "Person", "Sighting", "Tracker", "choose_subject", "follow", "overlap"]

MAX_YAW_DEG: Final = 30.0
"""Beyond this the far half of the face is guessed by the mesh: the frame counts as turned away."""
MAX_GAP_S: Final = 2.0
"""A face that comes back later than this is somebody new, unless it stands where the old one stood."""
LEAST_OVERLAP: Final = 0.1
RETURN_OVERLAP: Final = 0.4
"""Intersection over union that joins a face to a person after a short and after a long gap."""
MAX_STEP: Final = 0.7
MAX_GROWTH: Final = 1.8
"""Without overlap, a face is joined that moved less than this many widths and changed size by less than this factor."""
LEAST_SHARE: Final = 0.1
LEAST_SIGHTINGS: Final = 5
"""A person is seen in this many frames, or in this share of those with any face: the rest are false alarms."""


@dataclass(frozen=True, slots=True)
class Box:
    """A face's place in the picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def centre(self) -> tuple[float, float]:
        """Middle, (x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One face in one frame: its box, pose (yaw, pitch, roll in degrees) and whatever was read of it, (V,)."""

    box: Box
    pose_deg: tuple[float, float, float]
    values: NDArray[np.float64]


@dataclass(slots=True)
class Person:
    """The sightings of one person, by frame number; `key` is set where a file names its people itself."""

    frames: list[int] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    last_s: float = 0.0
    key: str | None = None

    @property
    def prominence(self) -> float:
        """Size times time on screen: the sum of face widths over frames."""
        return sum(s.box.width for s in self.sightings if np.isfinite(s.box.width))


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A person over T frames: values (T, V) and pose (T, 3) NaN where unseen, width (T,), which frames are usable."""

    values: NDArray[np.float64]
    pose_deg: NDArray[np.float32]
    width_px: NDArray[np.float32]
    found: NDArray[np.bool_]
    n_turned_away: int


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * (a.bottom - a.top) + b.width * (b.bottom - b.top) - shared)


class Tracker:
    """Joins the faces of successive frames, nearest and largest overlap first. Holds measures, never pixels."""

    def __init__(self) -> None:
        self._people: list[Person] = []
        self._n_with_face = 0

    def add(self, frame: int, time_s: float, faces: Sequence[Sighting], keys: Sequence[str] | None = None) -> None:
        """Take in one frame's faces. `keys` name the people where the source knows them; else place and size decide."""
        if not faces:
            return
        self._n_with_face += 1
        chosen = self._by_key(keys) if keys is not None else self._by_place(faces, time_s)
        new = sorted((i for i, p in enumerate(chosen) if p is None), key=lambda i: faces[i].box.left)
        for i in new:
            chosen[i] = Person(key=keys[i] if keys is not None else None)
            self._people.append(chosen[i])  # type: ignore[arg-type]
        for face, person in zip(faces, chosen, strict=True):
            if person is not None and (not person.frames or person.frames[-1] != frame):
                person.frames.append(frame)
                person.sightings.append(face)
                person.last_s = time_s

    def _by_key(self, keys: Sequence[str]) -> list[Person | None]:
        known = {p.key: p for p in self._people}
        return [known.get(k) for k in keys]

    def _by_place(self, faces: Sequence[Sighting], time_s: float) -> list[Person | None]:
        scores = [
            (_affinity(p.sightings[-1].box, f.box, time_s - p.last_s), i, j)
            for j, p in enumerate(self._people)
            for i, f in enumerate(faces)
        ]
        chosen: list[Person | None] = [None] * len(faces)
        taken: set[int] = set()
        for score, i, j in sorted(scores, key=lambda s: -s[0]):
            if score > 0 and chosen[i] is None and j not in taken:
                chosen[i] = self._people[j]
                taken.add(j)
        return chosen

    def people(self) -> list[Person]:
        """Everybody worth the name, in order of first appearance; those who appear together, left to right."""
        least = min(LEAST_SIGHTINGS, max(1, LEAST_SHARE * self._n_with_face))
        return [p for p in self._people if len(p.frames) >= least]


def _affinity(old: Box, new: Box, gap_s: float) -> float:
    """How well a face continues a person: above 1 by overlap, in (0, 1] by nearness, 0 not at all."""
    shared = overlap(old, new)
    if gap_s > MAX_GAP_S:
        return 1 + shared if shared >= RETURN_OVERLAP else 0.0
    if shared >= LEAST_OVERLAP:
        return 1 + shared
    width = max(old.width, new.width, 1e-9)
    step = float(np.hypot(*np.subtract(old.centre, new.centre))) / width
    growth = width / max(min(old.width, new.width), 1e-9)
    return 1 - step if step < MAX_STEP and growth < MAX_GROWTH else 0.0


def choose_subject(people: Sequence[Person], subject: int | None) -> int:
    """The number of the person to describe: `subject`, or the most prominent by size times time on screen.

    Raises:
        OptionError: there is no such person, though there are others.
    """
    if not people:
        return 0
    if subject is None:
        return max(range(len(people)), key=lambda i: people[i].prominence)
    if not 0 <= subject < len(people):
        count = "1 person was" if len(people) == 1 else f"{len(people)} people were"
        raise OptionError(
            f"no face number {subject}: {count} found",
            f"choose 0 to {len(people) - 1}, in order of first appearance, left to right",
        )
    return subject


def follow(person: Person | None, n_frames: int, n_values: int) -> Course:
    """A person's sightings laid out over all T frames."""
    values = np.full((n_frames, n_values), np.nan)
    pose = np.full((n_frames, 3), np.nan, np.float32)
    width = np.full(n_frames, np.nan, np.float32)
    for frame, s in zip(person.frames, person.sightings, strict=True) if person else ():
        values[frame], pose[frame], width[frame] = s.values, s.pose_deg, s.box.width
    seen = np.zeros(n_frames, np.bool_)
    if person:
        seen[person.frames] = True
    turned = seen & (np.abs(pose[:, 0]) > MAX_YAW_DEG)
    values[turned] = np.nan
    return Course(values, pose, width, seen & ~turned, int(turned.sum()))
