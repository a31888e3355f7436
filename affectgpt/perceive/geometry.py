"""From 478 landmarks to head pose, raw measures and action units, by geometry alone.

Table, sources and accuracy: data/face_geometry.toml. M is the number of measures, A that of units.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.records import BaselineKind

__all__ = ["FaceTable", "Pose", "align", "load_table"]

Floats = NDArray[np.float64]

MAX_INTENSITY: Final = 5.0
"""The top of the 0 to 5 scale on which OpenFace and DISFA (Mavadati et al. 2013) put FACS' classes A to E."""
N_POINTS: Final = 478
REST_PITCH_DEG: Final = -6.0
"""Median pitch of the photographs behind the table, against the reference face."""
_CLOSED: Final = 0.6
"""From this activation of unit 43 on the eyes count as closed, and units of `not_during` are not scored. MediaPipe's
own blink score is taken for a blink from 0.5 on; a squint stays below 0.5 here."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Head pose in degrees, as the viewer sees it, 0 facing the camera.

    `yaw` > 0 turns to the picture's right, `pitch` > 0 looks up, `roll` > 0 tilts clockwise in the picture.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class FaceTable:
    """The geometry table, ready for arithmetic. Arrays are indexed by measure (M,) or unit (A,)."""

    units: tuple[int, ...]
    measure_names: tuple[str, ...]
    rest: Floats
    spread: Floats
    auc: Floats
    _heights: Floats
    _pitch_slopes: Floats
    _pairs: tuple[tuple[int, str, NDArray[np.intp]], ...]
    _weights: tuple[Floats, Floats, Floats]
    _not_during: tuple[tuple[int, int], ...]

    def measure(self, mesh: Floats, pitch_deg: float = REST_PITCH_DEG) -> Floats:
        """Measures (M,) of an aligned mesh (478, 3), in distances between the outer eye corners.

        `pitch_deg` is the head's: the mesh's depth is a guess, so that heights lean with it, by slopes in the table.
        """
        measures = self._heights @ mesh[:, 1] - self._pitch_slopes * (pitch_deg - REST_PITCH_DEG)
        for m, kind, pairs in self._pairs:
            gap = mesh[pairs[:, 0]] - mesh[pairs[:, 1]]
            length = np.linalg.norm(gap, axis=1) if kind == "distance" else np.abs(gap[:, 0 if kind == "spread" else 1])
            measures[m] = length.mean()
        return np.asarray(measures)

    def activation(self, measures: Floats, rest: Floats) -> Floats:
        """Signed activations (T, A) of measures (T, M) against a rest (M,): 1 is the unit's maximum, 0 is rest."""
        both, rise, fall = self._weights
        change = measures - rest
        raw = change @ both + np.maximum(change, 0.0) @ rise + np.minimum(change, 0.0) @ fall
        for unit, closer in self._not_during:
            raw[:, unit] = np.where(raw[:, closer] >= _CLOSED, np.minimum(raw[:, unit], 0.0), raw[:, unit])
        return np.asarray(raw)

    def intensity(self, activation: Floats, spread: Floats) -> Floats:
        """Intensities in [0, 5] of activations (T, A), discounted by the `spread` (A,) that chance alone would give.

        5 min(1, x g), g = x² / (x² + spread²) for x > 0, else 0: the Wiener gain for a signal x in noise of that
        standard deviation. What is small beside the spread fades out, what is large passes, and order is kept.
        """
        x = np.maximum(activation, 0.0)
        power = x**2
        gain = np.divide(power, power + spread**2, out=np.zeros_like(x), where=power > 0)
        return np.asarray(MAX_INTENSITY * np.minimum(x * gain, 1.0))

    def reliability(self, kind: BaselineKind) -> Floats:
        """How far to trust each unit (A,), in [0, 1]: 2 AUC - 1, and over other people's rest 1 / (1 + spread²) of it.

        2 AUC - 1 is Somers' D, 0 at chance. The factor is the share of a full activation's power in what identity alone
        adds to it: where neutral people differ by a large part of the unit's range, their rest tells less.
        """
        skill = np.clip(2.0 * self.auc - 1.0, 0.0, 1.0)
        return np.asarray(skill if kind == "own" else skill / (1.0 + self.spread**2))


def _reference() -> Floats:
    with files("affectgpt").joinpath("data/face_reference.npy").open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False), np.float64)


@lru_cache(maxsize=1)
def _anchor() -> tuple[NDArray[np.intp], Floats, Floats]:
    points = np.array(_read_table()["alignment"]["points"])
    rigid = _reference()[points]
    centre = rigid.mean(axis=0)
    return points, rigid - centre, centre


def align(points: Floats) -> tuple[Floats, Pose]:
    """Landmarks (478, 3) in pixels, y up and z towards the viewer, moved onto the reference face; and the head's pose.

    The similarity transform of least squares over the rigid points (Umeyama 1991), reflections excluded.
    """
    index, target, target_centre = _anchor()
    source = points[index]
    centre = source.mean(axis=0)
    centred = source - centre
    u, s, vt = np.linalg.svd(centred.T @ target)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / max(float((centred**2).sum()), np.finfo(float).tiny))
    return (points - centre) @ rotation * scale + target_centre, _pose(rotation)


def _pose(head: Floats) -> Pose:
    """Euler angles of `head` = Ry(yaw) Rx(-pitch) Rz(-roll), which takes the reference's axes to the head's."""
    yaw = np.arctan2(head[0, 2], head[2, 2])
    pitch = np.arcsin(np.clip(head[1, 2], -1.0, 1.0))
    roll = -np.arctan2(head[1, 0], head[1, 1])
    return Pose(*(float(np.degrees(a)) for a in (yaw, pitch, roll)))


@lru_cache(maxsize=1)
def _read_table() -> dict[str, Any]:
    return tomllib.loads(files("affectgpt").joinpath("data/face_geometry.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def load_table() -> FaceTable:
    """The table that ships with the package."""
    table = _read_table()
    measures, units = table["measures"], table["units"]
    names = [m["name"] for m in measures]
    numbers = [u["unit"] for u in units]
    heights = np.zeros((len(names), N_POINTS))
    pairs = []
    for m, row in enumerate(measures):
        if row["kind"] == "height":
            heights[m, row["points"]] += 1.0 / len(row["points"])
            heights[m, row["over"]] -= 1.0 / len(row["over"])
        else:
            pairs.append((m, row["kind"], np.array(row["pairs"])))
    weights = {when: np.zeros((len(names), len(numbers))) for when in ("both", "rise", "fall")}
    for a, unit in enumerate(units):
        for term in unit["terms"]:
            weights[term.get("when", "both")][names.index(term["measure"]), a] = term["weight"] / unit["divisor"]
    return FaceTable(
        units=tuple(numbers),
        measure_names=tuple(names),
        rest=np.array([m["rest"] for m in measures]),
        spread=np.array([u["spread"] for u in units]),
        auc=np.array([u["auc"] for u in units]),
        _heights=heights,
        _pitch_slopes=np.array([m.get("pitch_slope", 0.0) for m in measures]),
        _pairs=tuple(pairs),
        _weights=(weights["both"], weights["rise"], weights["fall"]),
        _not_during=tuple((a, numbers.index(u["not_during"])) for a, u in enumerate(units) if "not_during" in u),
    )
