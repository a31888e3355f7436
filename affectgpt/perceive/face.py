"""The seam between pixels and face tracks: what every reader of faces promises, and which readers there are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from affectgpt.errors import OptionError
from affectgpt.records import FaceTrack, Frame

__all__ = ["FaceReader", "open_reader"]


class FaceReader(Protocol):
    """Reads one person's face out of a clip. `name` is stamped into `FaceTrack.reader`."""

    name: str

    def read(self, frames: Iterable[Frame], *, subject: int | None = None) -> FaceTrack:
        """One person's track over all frames.

        People are numbered from 0 in order of first appearance, those who appear together from left to right. `subject`
        is such a number; None takes the most prominent, by the sum of face widths over frames. Where no face is in any
        frame the track says so: `found` is False throughout and `n_people` 0. No frames at all give a track of length
        0. Frames are taken one at a time and not kept.

        Raises:
            OptionError: people were found, but not this many.
        """
        ...


def open_reader(*, file: Path | None = None, fps: float | None = None, task: Path | None = None) -> FaceReader:
    """The reader for these sources, by default the geometry reader, which needs none.

    `file` is an OpenFace or py-feat CSV, `fps` the frame rate of its video where it has frame numbers only, `task` a
    MediaPipe face_landmarker.task with blendshapes.

    Raises:
        OptionError: both sources, or `fps` without a file.
        TrackFileError: the CSV cannot be read.
        ModelError: the task file is missing or no task file.
    """
    if file and task:
        raise OptionError("a face file and a face task together", "the face is read by one of them: give one")
    if fps is not None and not file:
        raise OptionError("frames a second without a face file", "they tell the times of a CSV's frame numbers")
    if file:
        from affectgpt.perceive.face_files import FaceFileReader

        return FaceFileReader(file, fps=fps)
    if task:
        from affectgpt.perceive.blendshapes import BlendshapeReader

        return BlendshapeReader(task)
    from affectgpt.perceive.facemesh import FaceMeshReader

    return FaceMeshReader()
