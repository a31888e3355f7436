"""Action units from a MediaPipe `face_landmarker.task` that the user has: its 52 blendshapes, by a table."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.errors import ModelError
from affectgpt.perceive.facemesh import smooth
from affectgpt.perceive.geometry import MAX_INTENSITY, align, load_table
from affectgpt.perceive.meshing import MAX_FACES, LandmarkedFace, landmark_array, quiet_stderr
from affectgpt.perceive.tracking import Sighting, Tracker, choose_subject, follow
from affectgpt.records import FaceTrack, Frame

__all__ = ["BlendshapeReader", "units_from_blendshapes"]

_REMEDY = "give MediaPipe's face_landmarker.task, the variant with blendshapes"


class BlendshapeReader:
    """Reads faces with MediaPipe's FaceLandmarker task. The file does not ship with this package.

    Blendshape scores are already relative to a face at rest, so nothing more is subtracted and the baseline is other
    people's. The task's own detector misses faces below about a tenth of the picture. The task was not at hand when
    this reader was built: the table of blendshapes and the refusal of bad files are tested, a real task is not.

    Raises:
        ModelError: the file is missing, or no face landmarker task.
    """

    def __init__(self, task: Path) -> None:
        if not task.is_file():
            raise ModelError(f"no task file at {task}", _REMEDY)
        self._task = task
        self._table = load_table()
        self.name = f"mediapipe blendshapes {task.name}"
        self._open().close()

    def read(self, frames: Iterable[Frame], *, subject: int | None = None) -> FaceTrack:
        """See `face.FaceReader.read`."""
        tracker, times_s = Tracker(), list[float]()
        landmarker = self._open()
        try:
            last_ms = -1
            for i, frame in enumerate(frames):
                # The task demands whole milliseconds that rise.
                last_ms = max(last_ms + 1, round(frame.time_s * 1000))
                times_s.append(frame.time_s)
                tracker.add(i, frame.time_s, self._see(landmarker, frame, last_ms))
        finally:
            landmarker.close()
        people = tracker.people()
        chosen = choose_subject(people, subject)
        units = self._table.units
        course = follow(people[chosen] if people else None, len(times_s), len(units))
        return FaceTrack(
            times_s=np.array(times_s, np.float64),
            action_units=smooth(course.values.astype(np.float32), units),
            units=units,
            found=course.found,
            pose_deg=course.pose_deg,
            width_px=course.width_px,
            baseline=np.zeros(len(units), np.float32),
            baseline_kind="population",
            reliability=np.array([_rows()[u]["reliability"] if u in _rows() else 0.0 for u in units], np.float32),
            reader=self.name,
            n_turned_away=course.n_turned_away,
            subject=chosen,
            n_people=len(people),
        )

    def _open(self) -> Any:
        with quiet_stderr():
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=self._task.read_bytes()),
                running_mode=vision.RunningMode.VIDEO,
                num_faces=MAX_FACES,
                output_face_blendshapes=True,
            )
            try:
                return vision.FaceLandmarker.create_from_options(options)
            except (ValueError, RuntimeError, OSError) as error:
                raise ModelError(f"{self._task} is no face landmarker task ({_first_line(error)})", _REMEDY) from error

    def _see(self, landmarker: Any, frame: Frame, time_ms: int) -> list[Sighting]:
        import mediapipe as mp

        height, width = frame.pixels.shape[:2]
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame.pixels))
        result = landmarker.detect_for_video(image, time_ms)
        sightings = []
        for landmarks, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            face = LandmarkedFace(landmark_array(landmarks, width, height))
            pose = align(face.points)[1]
            units = units_from_blendshapes({s.category_name: s.score for s in shapes})
            values = np.array([units.get(u, math.nan) for u in self._table.units])
            sightings.append(Sighting(face.box, (pose.yaw, pose.pitch, pose.roll), values))
        return sightings


def units_from_blendshapes(scores: Mapping[str, float]) -> dict[int, float]:
    """Intensities in [0, 5] by FACS number, from blendshape scores in [0, 1] by ARKit's names; absent ones are 0.

    Table and sources: data/face_blendshapes.toml.
    """
    return {unit: max(0.0, *(_term(t, scores) for t in row["any"])) * MAX_INTENSITY for unit, row in _rows().items()}


def _term(term: Mapping[str, list[str]], scores: Mapping[str, float]) -> float:
    minus = _mean(term["minus"], scores) if "minus" in term else 0.0
    if "product" in term:
        return math.prod(_score(n, scores) for n in term["product"]) - minus
    if "max" in term:
        return max(_score(n, scores) for n in term["max"]) - minus
    return _mean(term["mean"], scores) - minus


def _mean(names: list[str], scores: Mapping[str, float]) -> float:
    return sum(_score(n, scores) for n in names) / len(names)


def _score(name: str, scores: Mapping[str, float]) -> float:
    return min(1.0, max(0.0, scores.get(name, 0.0)))


@lru_cache(maxsize=1)
def _rows() -> dict[int, dict[str, Any]]:
    text = files("affectgpt").joinpath("data/face_blendshapes.toml").read_text(encoding="utf-8")
    return {int(unit): row for unit, row in tomllib.loads(text)["units"].items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
