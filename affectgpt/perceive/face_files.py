"""Face tracks that OpenFace or py-feat already made, read from their CSV files."""

from __future__ import annotations

import csv
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError, TrackFileError
from affectgpt.perceive.geometry import MAX_INTENSITY, load_table
from affectgpt.perceive.tracking import Box, Person, Sighting, Tracker, choose_subject, follow
from affectgpt.records import FaceTrack, Frame

__all__ = ["FaceFileReader"]

MAX_ROWS: Final = 2_000_000
"""Eighteen hours at 30 frames a second: a longer file is a mistake, or meant to fill the memory."""
MAX_COLUMNS: Final = 5_000
"""OpenFace writes 714 columns, py-feat about 700 with its mesh."""
LEAST_SCORE: Final = 0.5
"""py-feat rows below this detector score are no face; its own detectors use the same threshold."""
_BLINK = {45: 43}
"""OpenFace names the closing of the eyes by its short form, blink (45); its course is that of 43."""
_AU_COLUMN = re.compile(r"AU(\d{1,2})(_r)?")


@dataclass(frozen=True, slots=True)
class _Format:
    """Which tool wrote a file: how its columns are called and scaled."""

    tool: str
    scale: float
    units: Mapping[int, int]
    """Column by FACS number."""


@dataclass(frozen=True, slots=True)
class _Row:
    time: float
    """Seconds, or a frame number from 0 where the file has no times."""
    key: str | None
    sighting: Sighting | None


class FaceFileReader:
    """Reads an OpenFace (2.x) or py-feat CSV in place of the pictures, whose pixels are not looked at.

    OpenFace's `AUxx_r` are intensities from 0 to 5 and are taken as they are, AU45 as 43. py-feat's `AUxx` are
    probabilities or relative strengths from 0 to 1; they are multiplied by 5, a reading rather than FACS coding.
    Units that the file lacks are NaN with reliability 0. Angles are degrees with the signs of the file's
    own tool. Several people are told apart by `face_id` or `Identity`, else by place and size. Times are the file's
    `timestamp`, or, where `fps` is given, frame numbers over `fps`. A file with neither is laid over the pictures: its
    last frame number falls on the last picture's time, exact to one sampled frame. Neither tool says what
    rest it subtracted: the baseline is other people's.

    Raises:
        TrackFileError: no such file, no CSV of these tools, or values that make no sense.
        OptionError: `fps` is not positive.
    """

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise OptionError(f"{fps:g} frames a second", "give the frame rate of the video the file was made from")
        self._path = path
        header, rows = _read_csv(path)
        self._format = _detect(path, header)
        columns = _Columns(path, header, self._format, fps)
        self._rows = columns.rows(rows)
        self._timed = columns.timed
        self.name = f"{self._format.tool} file {path.name}"

    def read(self, frames: Iterable[Frame], *, subject: int | None = None) -> FaceTrack:
        """See `face.FaceReader.read`; `frames` may be empty where the file has times.

        Raises:
            TrackFileError: the file has frame numbers only, and there are no pictures to lay them over.
        """
        units = load_table().units
        clock = np.array(sorted({r.time for r in self._rows}), np.float64)
        times_s = clock if self._timed else clock * self._seconds_a_frame(clock, frames)
        people = self._people(clock, times_s)
        chosen = choose_subject(people, subject)
        course = follow(people[chosen] if people else None, len(times_s), len(units))
        return FaceTrack(
            times_s=times_s,
            action_units=course.values.astype(np.float32),
            units=units,
            found=course.found,
            pose_deg=course.pose_deg,
            width_px=course.width_px,
            baseline=np.zeros(len(units), np.float32),
            baseline_kind="population",
            reliability=_reliability(self._format, units),
            reader=self.name,
            n_turned_away=course.n_turned_away,
            subject=chosen,
            n_people=len(people),
        )

    def _seconds_a_frame(self, clock: NDArray[np.float64], frames: Iterable[Frame]) -> float:
        if len(clock) == 1:
            return 0.0
        last_s = max((f.time_s for f in frames), default=0.0)
        if last_s <= 0:
            raise TrackFileError(f"{self._path} has frame numbers but no times", "give the video's frames a second")
        return last_s / float(clock[-1])

    def _people(self, clock: NDArray[np.float64], times_s: NDArray[np.float64]) -> list[Person]:
        at_once: dict[float, list[_Row]] = {}
        for row in self._rows:
            if row.sighting is not None:
                at_once.setdefault(row.time, []).append(row)
        tracker = Tracker()
        for i, (tick, time_s) in enumerate(zip(clock, times_s, strict=True)):
            rows = at_once.get(float(tick), [])
            keys = [r.key for r in rows if r.key is not None]
            sightings = [r.sighting for r in rows if r.sighting is not None]
            tracker.add(i, float(time_s), sightings, keys if len(keys) == len(sightings) else None)
        return tracker.people()


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise TrackFileError(f"no face file at {path}", "give an OpenFace or py-feat CSV")
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.reader(file, skipinitialspace=True, strict=True):
                if row:
                    rows.append(row)
                if len(rows) > MAX_ROWS or len(row) > MAX_COLUMNS:
                    raise TrackFileError(f"{path} is too large", f"at most {MAX_ROWS} rows and {MAX_COLUMNS} columns")
    except (csv.Error, UnicodeDecodeError) as error:
        raise TrackFileError(f"{path} is not a CSV file ({error})", "give an OpenFace or py-feat CSV") from error
    except OSError as error:
        raise TrackFileError(f"{path} cannot be read ({error.strerror})", "check the file and its rights") from error
    if len(rows) < 2:
        raise TrackFileError(f"{path} holds no rows", "give an OpenFace or py-feat CSV with a header and data")
    return [name.strip() for name in rows[0]], rows[1:]


def _detect(path: Path, header: Sequence[str]) -> _Format:
    strengths: dict[int, int] = {}
    relative: dict[int, int] = {}
    wanted = set(load_table().units)
    for column, name in enumerate(header):
        if match := _AU_COLUMN.fullmatch(name):
            unit = int(match[1])
            unit = _BLINK.get(unit, unit)
            if unit in wanted:
                (strengths if match[2] else relative).setdefault(unit, column)
    if strengths:
        return _Format("OpenFace", 1.0, strengths)
    if relative:
        return _Format("py-feat", MAX_INTENSITY, relative)
    raise TrackFileError(f"{path} has no action-unit columns", "AU01_r … (OpenFace) or AU01 … (py-feat) were expected")


class _Columns:
    """Where everything stands in a file, and how a line becomes a row."""

    def __init__(self, path: Path, header: Sequence[str], form: _Format, fps: float | None) -> None:
        self._path, self._form, self._fps = path, form, fps
        self._at = {name: i for i, name in reversed(list(enumerate(header)))}
        self._n = len(header)
        self._units = load_table().units
        self._landmarks = [
            [self._at[n] for n in (f"{axis}_{i}" for i in range(68)) if n in self._at] for axis in ("x", "y")
        ]
        self._id = next((self._at[n] for n in ("face_id", "Identity") if n in self._at), None)
        self._has_place = "FaceRectX" in self._at or all(self._landmarks)

    def rows(self, lines: Sequence[Sequence[str]]) -> list[_Row]:
        """All lines; raises TrackFileError with the line's number."""
        if "timestamp" not in self._at and "frame" not in self._at and len(lines) > 1:
            raise TrackFileError(f"{self._path} has neither times nor frame numbers", "export it with its frame column")
        return [self._row(line, number) for number, line in enumerate(lines, start=2)]

    def _row(self, line: Sequence[str], number: int) -> _Row:
        if len(line) != self._n:
            raise TrackFileError(
                f"{self._path} line {number}: {len(line)} values under {self._n} columns", "the file is damaged"
            )
        values = np.full(len(self._units), np.nan)
        for unit, column in self._form.units.items():
            values[self._units.index(unit)] = self._number(line, column, number) * self._form.scale
        values = np.clip(values, 0.0, MAX_INTENSITY)
        seen = self._is_face(line, number) and bool(np.isfinite(values).any())
        key = line[self._id].strip() if self._id is not None else (None if self._has_place else "")
        sighting = Sighting(self._box(line, number), self._pose(line, number), values) if seen else None
        return _Row(self._time(line, number), key, sighting)

    @property
    def timed(self) -> bool:
        """Whether rows come with seconds."""
        return "timestamp" in self._at or self._fps is not None

    def _time(self, line: Sequence[str], number: int) -> float:
        if "frame" in self._at and (self._fps is not None or "timestamp" not in self._at):
            # OpenFace counts frames from 1, py-feat from 0.
            first = 1 if self._form.tool == "OpenFace" else 0
            time = (self._number(line, self._at["frame"], number) - first) / (self._fps or 1.0)
        else:
            time = self._number(line, self._at["timestamp"], number) if "timestamp" in self._at else 0.0
        if not 0 <= time < float("inf"):
            raise TrackFileError(f"{self._path} line {number}: a time of {time:g}", "the file is damaged")
        return time

    def _is_face(self, line: Sequence[str], number: int) -> bool:
        if "success" in self._at:
            return self._number(line, self._at["success"], number) == 1
        if "FaceScore" in self._at:
            return self._number(line, self._at["FaceScore"], number) >= LEAST_SCORE
        return True

    def _pose(self, line: Sequence[str], number: int) -> tuple[float, float, float]:
        if "pose_Ry" in self._at:
            names, factor = ("pose_Ry", "pose_Rx", "pose_Rz"), 180 / math.pi
        else:
            names, factor = ("Yaw", "Pitch", "Roll"), 1.0
        yaw, pitch, roll = (
            self._number(line, self._at[n], number) * factor if n in self._at else math.nan for n in names
        )
        return yaw, pitch, roll

    def _box(self, line: Sequence[str], number: int) -> Box:
        if "FaceRectX" in self._at:
            names = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
            x, y, w, h = (self._number(line, self._at[n], number) if n in self._at else math.nan for n in names)
            return Box(x, y, x + w, y + h)
        if not all(self._landmarks):
            return Box(math.nan, math.nan, math.nan, math.nan)
        xs, ys = ([self._number(line, c, number) for c in columns] for columns in self._landmarks)
        return Box(min(xs), min(ys), max(xs), max(ys))

    def _number(self, line: Sequence[str], column: int, number: int) -> float:
        """A cell as a number, NaN where empty. Infinite values count as missing."""
        text = line[column].strip()
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            raise TrackFileError(
                f"{self._path} line {number}: {text[:40]!r} is no number", "the file is damaged"
            ) from None
        return value if math.isfinite(value) else math.nan


@lru_cache(maxsize=1)
def _figures() -> dict[str, dict[str, float]]:
    text = files("affectgpt").joinpath("data/face_tools.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, float]] = tomllib.loads(text)["reliability"]
    return tables


def _reliability(form: _Format, units: tuple[int, ...]) -> NDArray[np.float32]:
    """Published figures of the tool; a unit without one gets their mean; a unit the file lacks gets 0."""
    published = _figures()[form.tool]
    mean = sum(published.values()) / len(published)
    return np.array([published.get(str(u), mean) if u in form.units else 0.0 for u in units], np.float32)
