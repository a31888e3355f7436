"""Landmarks of every face in a frame, from the models inside the mediapipe wheel. Nothing is downloaded."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.tracking import Box, overlap

__all__ = ["FaceMesher", "LandmarkedFace", "landmark_array", "quiet_stderr"]

MAX_FACES: Final = 4
"""Most faces taken from one look of the detector: each costs a mesh of its own in every frame."""
WORK_SIDE_PX: Final = 1280
"""Longer side of the picture in which faces are looked for: larger ones are scaled down, for every model here looks at
192 px in the end. Small faces are cropped from the full picture."""
SEARCH_EVERY: Final = 12
"""While a face is in view, the detector looks for further, smaller ones once in so many frames, about a second."""
TILE_SHARE: Final = 0.5
TILES: Final = 3
"""While no face is in view, the search also goes over 3 by 3 tiles of half the picture's sides, overlapping by half. In
a 1280 px picture the detector alone misses faces of 36 to 62 px, the tiles find them (measured on one photograph)."""
TILED_FROM_PX: Final = 640
"""Smaller pictures hold no face that tiles would add."""
CROP_SCALE: Final = 2.0
"""Side of the square cut around a small face, in face widths: the mesh's own detector wants a margin."""
SAME_FACE: Final = 0.3
"""Two boxes of one frame that overlap by this much are one face."""
LEAST_CONFIDENCE: Final = 0.5

Pixels = NDArray[np.uint8]
_stderr_lock = threading.Lock()


class LandmarkedFace:
    """Points (478, 3) float64 in pixels of the full picture, y up, z towards the viewer; and the box around them."""

    __slots__ = ("box", "points")

    def __init__(self, points: NDArray[np.float64]) -> None:
        self.points = points
        (left, low), (right, high) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        self.box = Box(float(left), float(-high), float(right), float(-low))


def landmark_array(landmarks: Any, width: float, height: float) -> NDArray[np.float64]:
    """MediaPipe's normalised landmarks as (478, 3) pixels, y up, z towards the viewer; z comes in picture widths."""
    flat = [c for p in landmarks for c in (p.x, p.y, p.z)]
    return np.array(flat, np.float64).reshape(-1, 3) * (width, -height, -width)


class FaceMesher:
    """Finds the faces of successive frames; a context manager that closes MediaPipe's graphs.

    The largest face comes from FaceMesh in tracking mode, the fast path of a clip with one person. Where it finds none,
    and once a second besides, the full-range detector looks for further and smaller ones; each is cut out of the full
    picture in a square of twice its width and meshed alone, and is then followed by its own last box.
    """

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        with _quiet_warnings():
            import mediapipe as mp
        with quiet_stderr(), _quiet_warnings():
            solutions = mp.solutions
            self._mesh = solutions.face_mesh.FaceMesh(refine_landmarks=True, min_detection_confidence=LEAST_CONFIDENCE)
            self._crop_mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True, refine_landmarks=True, min_detection_confidence=LEAST_CONFIDENCE
            )
            self._detector = solutions.face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=LEAST_CONFIDENCE
            )
            # A graph's threads start up, and chatter, until its first answer.
            for graph in (self._mesh, self._crop_mesh, self._detector):
                graph.process(np.zeros((16, 16, 3), np.uint8))
        self._chatty = {id(g) for g in (self._mesh, self._crop_mesh, self._detector)}
        self._small: list[Box] = []
        self._n_frames = 0

    def __enter__(self) -> FaceMesher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for graph in (self._mesh, self._crop_mesh, self._detector):
            graph.close()

    def find(self, pixels: Pixels) -> list[LandmarkedFace]:
        """Every face of this frame, (H, W, 3) uint8 RGB, each once."""
        height, width = pixels.shape[:2]
        work = _shrink(pixels)
        found = self._process(self._mesh, work).multi_face_landmarks or ()
        faces = _distinct([LandmarkedFace(landmark_array(f.landmark, width, height)) for f in found])
        candidates = self._small
        search = self._n_frames % SEARCH_EVERY == 0
        self._n_frames += 1
        if search or not (faces or candidates):
            candidates = [*candidates, *self._detect(work, width / work.shape[1])]
        small = self._mesh_crops(pixels, candidates, faces)
        if search and not faces and not small and max(width, height) >= TILED_FROM_PX:
            small = self._mesh_crops(pixels, self._detect_in_tiles(pixels), faces)
        faces = _distinct([*faces, *small])
        self._small = [f.box for f in faces if f in small]
        return faces

    def _mesh_crops(self, pixels: Pixels, boxes: list[Box], known: list[LandmarkedFace]) -> list[LandmarkedFace]:
        return [f for box in boxes if not _covered(box, known) if (f := self._mesh_crop(pixels, box))]

    def _detect(self, pixels: Pixels, scale: float = 1.0, left: float = 0.0, top: float = 0.0) -> list[Box]:
        """Faces of a picture, or of a part at (`left`, `top`), in coordinates of the full one, `scale` times larger."""
        found = self._process(self._detector, pixels).detections or ()
        height, width = pixels.shape[0] * scale, pixels.shape[1] * scale
        relative = (d.location_data.relative_bounding_box for d in found)
        return [
            Box(
                left + r.xmin * width,
                top + r.ymin * height,
                left + (r.xmin + r.width) * width,
                top + (r.ymin + r.height) * height,
            )
            for r in relative
            if r.width > 0 and r.height > 0
        ][:MAX_FACES]

    def _detect_in_tiles(self, pixels: Pixels) -> list[Box]:
        height, width = (round(side * TILE_SHARE) for side in pixels.shape[:2])
        found: list[Box] = []
        for top in np.linspace(0, pixels.shape[0] - height, TILES).astype(int):
            for left in np.linspace(0, pixels.shape[1] - width, TILES).astype(int):
                tile = np.ascontiguousarray(pixels[top : top + height, left : left + width])
                boxes = self._detect(tile, left=float(left), top=float(top))
                found += [b for b in boxes if all(overlap(b, f) < SAME_FACE for f in found)]
        return found[:MAX_FACES]

    def _mesh_crop(self, pixels: Pixels, box: Box) -> LandmarkedFace | None:
        height, width = pixels.shape[:2]
        side = CROP_SCALE * max(box.width, box.bottom - box.top)
        x, y = box.centre
        left, top = max(0, int(x - side / 2)), max(0, int(y - side / 2))
        right, bottom = min(width, int(x + side / 2) + 1), min(height, int(y + side / 2) + 1)
        if right - left < 2 or bottom - top < 2:
            return None
        crop = np.ascontiguousarray(pixels[top:bottom, left:right])
        found = self._process(self._crop_mesh, crop).multi_face_landmarks
        if not found:
            return None
        points = landmark_array(found[0].landmark, right - left, bottom - top)
        return LandmarkedFace(points + np.array([left, -top, 0.0]))

    def _process(self, graph: Any, pixels: Pixels) -> Any:
        if id(graph) not in self._chatty:
            return graph.process(pixels)
        with quiet_stderr(), _quiet_warnings():
            result = graph.process(pixels)
        # Each graph's last once-only message comes with its first face.
        if getattr(result, "multi_face_landmarks", None) or getattr(result, "detections", None):
            self._chatty.discard(id(graph))
        return result


def _shrink(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    if max(height, width) <= WORK_SIDE_PX:
        return np.ascontiguousarray(pixels)
    import cv2

    scale = WORK_SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _covered(box: Box, faces: list[LandmarkedFace]) -> bool:
    return any(overlap(box, f.box) >= SAME_FACE for f in faces)


def _distinct(faces: list[LandmarkedFace]) -> list[LandmarkedFace]:
    kept: list[LandmarkedFace] = []
    for face in faces:
        if face.box.width > 0 and not _covered(face.box, kept):
            kept.append(face)
    return kept


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # protobuf 4.25 deprecates what mediapipe 0.10.21 calls.
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
        yield


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what C++ code writes to the process's stderr: MediaPipe's chatter goes past Python and its log levels."""
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # a service without a stderr has nothing to keep quiet
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
            for descriptor in (saved, null):
                with suppress(OSError):
                    os.close(descriptor)
