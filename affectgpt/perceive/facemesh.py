"""The face reader that needs nothing but the mediapipe wheel: landmarks, geometry, a baseline, action units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.geometry import align, load_table
from affectgpt.perceive.meshing import FaceMesher, LandmarkedFace
from affectgpt.perceive.resting import Rest, find_rest
from affectgpt.perceive.tracking import Course, Sighting, Tracker, choose_subject, follow
from affectgpt.records import FaceTrack, Frame

__all__ = ["FaceMeshReader", "frame_step_s", "smooth"]

UNSMOOTHED: Final = frozenset({43})
"""Eyes closed keep their raw course: at 12.5 Hz a blink is one to three frames, and a median would hide the
short ones."""


class FaceMeshReader:
    """Reads action units by geometry (see `geometry`), on one CPU core at about 5 ms a frame.

    Frames may be of any size; up to 1280 px on the longer side they are not scaled. Only measures are kept of a frame,
    so that memory does not grow with pixels. One reader may read many clips, one at a time. `own_baseline` False
    compares everybody with other people, however much of them is seen.
    """

    def __init__(self, *, own_baseline: bool = True) -> None:
        self._table = load_table()
        self._own_baseline = own_baseline
        self.name = "facemesh-geometry 1 (mediapipe 0.10.21)"

    def read(self, frames: Iterable[Frame], *, subject: int | None = None) -> FaceTrack:
        """See `face.FaceReader.read`."""
        tracker, times_s = Tracker(), list[float]()
        with FaceMesher() as mesher:
            for i, frame in enumerate(frames):
                times_s.append(frame.time_s)
                tracker.add(i, frame.time_s, [self._see(f) for f in mesher.find(frame.pixels)])
        people = tracker.people()
        chosen = choose_subject(people, subject)
        person = people[chosen] if people else None
        course = follow(person, len(times_s), len(self._table.measure_names))
        return self._track(np.array(times_s, np.float64), course, chosen, len(people))

    def _track(self, times_s: NDArray[np.float64], course: Course, subject: int, n_people: int) -> FaceTrack:
        table = self._table
        seen = course.values[course.found] if self._own_baseline else course.values[:0]
        rest = find_rest(seen, frame_step_s(times_s), table)
        action_units = np.full((len(times_s), len(table.units)), np.nan, np.float32)
        if course.found.any():
            activation = table.activation(course.values[course.found], rest.measures)
            action_units[course.found] = table.intensity(activation, rest.spread)
        return FaceTrack(
            times_s=times_s,
            action_units=smooth(action_units, table.units),
            units=table.units,
            found=course.found,
            pose_deg=course.pose_deg,
            width_px=course.width_px,
            baseline=self._subtracted(rest),
            baseline_kind=rest.kind,
            reliability=table.reliability(rest.kind).astype(np.float32),
            reader=self.name,
            n_turned_away=course.n_turned_away,
            subject=subject,
            n_people=n_people,
        )

    def _see(self, face: LandmarkedFace) -> Sighting:
        mesh, pose = align(face.points)
        return Sighting(face.box, (pose.yaw, pose.pitch, pose.roll), self._table.measure(mesh, pose.pitch))

    def _subtracted(self, rest: Rest) -> NDArray[np.float32]:
        """The own rest as intensities (A,) over other people's: what was taken away. Zero for a population baseline."""
        activation = self._table.activation(rest.measures[np.newaxis], self._table.rest)
        return np.asarray(self._table.intensity(activation, self._table.spread)[0], np.float32)


def frame_step_s(times_s: NDArray[np.float64]) -> float:
    """Seconds that one frame stands for: the median step, 0 for a single frame."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def smooth(action_units: NDArray[np.float32], units: tuple[int, ...]) -> NDArray[np.float32]:
    """Median of three frames, for all units but eyes closed (43). A step stays where it is; a one-frame spike goes.

    The first and last frames, and those beside a frame without a face, keep their values.
    """
    result = action_units.copy()
    if len(action_units) < 3:
        return result
    triples = np.stack([action_units[:-2], action_units[1:-1], action_units[2:]])
    whole = np.isfinite(triples).all(axis=0)
    whole[:, [u in UNSMOOTHED for u in units]] = False
    result[1:-1][whole] = np.median(triples, axis=0)[whole]
    return result
