"""A photograph that can be asked to move: one portrait, warped by landmark geometry, one field an action unit.

The portrait's face mesh gives the vertices. Each action unit is a displacement of those vertices, linear in intensity
(warps.toml), so a picture is the photograph seen through a piecewise affine map. What the lips and lids uncover (teeth,
eyeballs) lies on a second layer that does not stretch with them. The face is set at rest first by taking the portrait's
own smile away with the same fields.

Lengths are in IOD, the distance between the outer corners of the eyes; the face frame has x to the picture's right and
y towards the forehead, with its origin between the eyes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay

__all__ = ["REST", "Pose", "Sitter", "find_landmarks", "portrait"]

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

_WARPS = tomllib.loads((Path(__file__).parent / "warps.toml").read_text(encoding="utf-8"))
_REGIONS: dict[str, list[int]] = _WARPS["regions"]

_PROPORTIONS = 0
REST: Mapping[int, float] = {_PROPORTIONS: 5.0, 12: -5.0, 5: -1.7, 6: -1.0, 10: -2.5, 25: -4.7}
"""What is taken from the astronaut's portrait so that it rests: her own smile, cheek raise and parted lips."""

_SKULL = {_PROPORTIONS: 5.0}
"""What of the rest also moves teeth and eyeballs."""

_UNCOVERING = frozenset({5})
"""Units that show more of the eyeball than the photograph holds: the eyeball stretches with these only."""

_INNER_LIPS = ([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308], [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])
_RIGHT_LIDS = ([33, 246, 161, 160, 159, 158, 157, 173, 133], [33, 7, 163, 144, 145, 153, 154, 155, 133])
_LEFT_LIDS = ([263, 466, 388, 387, 386, 385, 384, 398, 362], [263, 249, 390, 373, 374, 380, 381, 382, 362])
_OPENINGS = (_INNER_LIPS, _RIGHT_LIDS, _LEFT_LIDS)
"""Upper and lower edge of each hole in the skin, from corner to corner."""

_OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
         148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]  # fmt: skip
_N_MESH = 478
_SMALLEST_GAP = 0.008
"""Closed lips and lids keep a dark line this wide (IOD), as they do in life."""
_LIT_GAP = 0.045
"""What lies behind an opening is lit in full once it is this much wider (IOD) than the line, and shaded below."""
_MOUTH_DARK = (38, 16, 18)
_SHADE = (72, 34, 30)
_OVERSAMPLING = 2
_NECK_DEPTH = 0.9
"""The head turns about an axis this far (IOD) behind the tip of the mesh's depth zero; the hair turns with it."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the head is held: shift in IOD (right, up in the picture), roll and yaw in degrees.

    Positive roll turns the picture clockwise; positive yaw turns the face to the picture's right.
    """

    right: float = 0.0
    up: float = 0.0
    roll_deg: float = 0.0
    yaw_deg: float = 0.0


def portrait() -> Picture:
    """NASA's portrait of Eileen Collins, (512, 512, 3) RGB, public domain, as scikit-image ships it."""
    import skimage.data

    return np.asarray(skimage.data.astronaut(), dtype=np.uint8)


def find_landmarks(pixels: Picture) -> Array:
    """MediaPipe's 478 face landmarks of the one face in `pixels` (H, W, 3): (478, 3), x y z in pixels.

    Raises:
        ValueError: no face is found.
    """
    from mediapipe.python.solutions.face_mesh import FaceMesh

    with FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
        faces = mesh.process(pixels).multi_face_landmarks
    if not faces:
        raise ValueError("no face in the photograph; give one frontal, well lit portrait")
    height, width = pixels.shape[:2]
    return np.array([(p.x * width, p.y * height, p.z * width) for p in faces[0].landmark])


class Sitter:
    """A portrait with a movable face, drawn `size_px` square around the head."""

    def __init__(self, photo: Picture | None = None, size_px: int = 512, rest: Mapping[int, float] = REST) -> None:
        photo = portrait() if photo is None else photo
        landmarks = find_landmarks(photo)
        self.size_px, self.rest = size_px, dict(rest)
        self._frame(photo, landmarks)
        self._mesh()
        self._fields = {unit: self._field(rules) for unit, rules in _unit_rules().items()}
        self._interior = self._paint_interior()

    @property
    def units(self) -> tuple[int, ...]:
        """The action units that this face can show."""
        return tuple(sorted(set(self._fields) - {_PROPORTIONS}))

    def landmarks_px(self, units: Mapping[int, float], pose: Pose | None = None) -> Array:
        """Where the 478 mesh points lie in the picture of the same arguments: (478, 2) pixels."""
        return self._place(units, pose or Pose())[:_N_MESH] / _OVERSAMPLING

    def picture(self, units: Mapping[int, float], pose: Pose | None = None) -> Picture:
        """The face with these intensities (0 to 5, by action unit), (size_px, size_px, 3) RGB."""
        pose = pose or Pose()
        vertices = self._place(units, pose)
        shown = {u: max(0.0, units.get(u, 0.0) + self.rest.get(u, 0.0)) for u in _UNCOVERING}
        skin = self._warp(self._photo, vertices)
        behind = self._place(shown, pose, rest=_SKULL)
        drawn = self._compose(skin, behind, vertices)
        return np.asarray(cv2.resize(drawn, (self.size_px, self.size_px), interpolation=cv2.INTER_AREA), dtype=np.uint8)

    # ------------------------------------------------------------ geometry

    def _frame(self, photo: Picture, landmarks: Array) -> None:
        """Crop the head and keep the maps between picture and face frame."""
        self._canvas_px = self.size_px * _OVERSAMPLING
        right, left = landmarks[33, :2], landmarks[263, :2]
        iod = float(np.linalg.norm(left - right))
        side = 4.2 * iod
        corner = (right + left) / 2 - np.array([0.5, 0.36]) * side
        zoom = self._canvas_px / side
        crop = np.array([[zoom, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom]])
        self._photo = np.asarray(
            cv2.warpAffine(photo, crop, (self._canvas_px,) * 2, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        )
        self._points = (landmarks[:, :2] - corner) * zoom
        self._depth = landmarks[:, 2] / iod
        self._iod_px = iod * zoom
        axis = (left - right) / iod
        self._axes = np.array([axis, [axis[1], -axis[0]]])  # rows: right, up
        self._origin = self._points[[33, 263]].mean(0)

    def _to_face(self, points_px: Array) -> Array:
        return (points_px - self._origin) @ self._axes.T / self._iod_px

    def _mesh(self) -> None:
        """Vertices in the face frame (mesh, head, surroundings), how far each follows the head, and the triangles."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        face = self._to_face(self._points)
        temple = face[_OVAL] + (face[_OVAL] - face[_OVAL].mean(0)) * 0.14
        head = circle * np.where(circle[:, 1:] > 0, [1.22, 1.38], [1.22, 1.75])
        around = circle * [1.75, 2.15]
        edge = np.linspace(0, self._canvas_px, 9)
        border = np.array([(x, y) for x in edge for y in edge if x in edge[[0, -1]] or y in edge[[0, -1]]])
        self._vertices = np.vstack([face, temple, head, around, self._to_face(border)])
        n_still = len(around) + len(border)
        self._follows = np.r_[np.ones(len(self._vertices) - n_still), np.zeros(n_still)][:, None]
        half_way = (self._depth[_OVAL] + _NECK_DEPTH) / 2
        self._relief = np.r_[self._depth, half_way, np.full(len(head), _NECK_DEPTH), np.zeros(n_still)]
        self._source = self._from_face(self._vertices)
        self._triangles = Delaunay(self._vertices).simplices

    def _from_face(self, vertices: Array) -> Array:
        return vertices @ self._axes * self._iod_px + self._origin

    def _field(self, rules: list[dict[str, object]]) -> Array:
        """Displacement of every vertex at intensity 5, (V, 2) IOD: a thin plate through what moves and what stays."""
        moved = np.zeros((_N_MESH, 2))
        for rule in rules:
            _apply(rule, moved, self._vertices)
        held = sorted({i for ids in _REGIONS.values() for i in ids} | {i for i in _OVAL if not np.any(moved[i])})
        held += list(range(_N_MESH + len(_OVAL), len(self._vertices)))
        targets = np.zeros((len(self._vertices), 2))
        targets[:_N_MESH] = moved
        spread = RBFInterpolator(self._vertices[held], targets[held], kernel="linear", neighbors=None)
        field = np.asarray(spread(self._vertices))
        field[held] = targets[held]
        return field

    def _place(self, units: Mapping[int, float], pose: Pose, rest: Mapping[int, float] | None = None) -> Array:
        """Vertices in canvas pixels for these units over the resting face."""
        total = dict(self.rest if rest is None else rest)
        for unit, value in units.items():
            total[unit] = total.get(unit, 0.0) + value
        at = self._vertices + sum(value / 5 * self._fields[unit] for unit, value in total.items())
        for upper, lower in _OPENINGS:
            _part(at, upper, lower)
        return self._from_face(self._pose(at, pose))

    def _pose(self, at: Array, pose: Pose) -> Array:
        """Turn about the neck, roll about the chin, shift; only what belongs to the head follows."""
        yaw, roll = np.deg2rad([pose.yaw_deg, -pose.roll_deg])
        turned = at.copy()
        turned[:, 0] = at[:, 0] * np.cos(yaw) - (self._relief - _NECK_DEPTH) * np.sin(yaw)
        pivot = np.array([0.0, -1.4])
        spin = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        turned = (turned - pivot) @ spin + pivot + [pose.right, pose.up]
        return at + self._follows * (turned - at)

    # ------------------------------------------------------------ drawing

    def _warp(self, image: Picture, vertices: Array, box: tuple[int, int, int, int] | None = None) -> Picture:
        """`image` with each triangle of the photograph's mesh carried to where `vertices` put it.

        `box` (left, top, right, bottom) in pixels of the finished picture limits what is drawn. The map is computed at
        the finished size and interpolated to the oversampled one: it is piecewise affine, so nothing is lost.
        """
        left, top, right, bottom = box or (0, 0, self.size_px, self.size_px)
        drawn = (vertices[self._triangles] + 0.5) / _OVERSAMPLING - 0.5 - [left, top]
        index = np.zeros((bottom - top, right - left), np.int32)
        corners = np.round(drawn * 16).astype(np.int32)
        for k in np.argsort(-self._relief[self._triangles].mean(1), kind="stable"):
            cv2.fillConvexPoly(index, corners[k], int(k), lineType=cv2.LINE_8, shift=4)
        back = _affine(drawn, self._source[self._triangles]).astype(np.float32)[index]
        y, x = np.mgrid[0 : bottom - top, 0 : right - left].astype(np.float32)[..., None]
        source = x * back[..., 0, :] + y * back[..., 1, :] + back[..., 2, :]
        source = cv2.resize(source, None, fx=_OVERSAMPLING, fy=_OVERSAMPLING, interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.remap(image, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def _compose(self, skin: Picture, behind: Array, vertices: Array) -> Picture:
        """Skin over what lies behind it, seen through the lips and lids; narrow openings are dark."""
        out = skin.copy()
        for upper, lower in _OPENINGS:
            outline = np.vstack([vertices[upper], vertices[lower[::-1]]])
            low, high = outline.min(0) / _OVERSAMPLING - 4, outline.max(0) / _OVERSAMPLING + 5
            left, top, right, bottom = np.clip(np.r_[low, high], 0, self.size_px).astype(int).tolist()
            if right <= left or bottom <= top:
                continue
            there = np.s_[top * _OVERSAMPLING : bottom * _OVERSAMPLING, left * _OVERSAMPLING : right * _OVERSAMPLING]
            mask = np.zeros(skin.shape[:2], np.uint8)
            cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
            share = cv2.GaussianBlur(mask[there], (0, 0), self._canvas_px / 700)[..., None] / np.float32(255)
            gap = np.linalg.norm(vertices[upper] - vertices[lower], axis=1).max() / self._iod_px
            light = np.clip((gap - 1.5 * _SMALLEST_GAP) / _LIT_GAP, 0.0, 1.0)
            seen = self._warp(self._interior, behind, (left, top, right, bottom)) * light
            seen += (1 - light) * np.array(_SHADE)
            out[there] = np.clip(skin[there] * (1 - share) + share * seen + 0.5, 0, 255).astype(np.uint8)
        return out

    def _paint_interior(self) -> Picture:
        """The photograph with all round the open mouth painted dark: what a wider opening shows beside the teeth."""
        mask = np.zeros(self._photo.shape[:2], np.uint8)
        upper, lower = _INNER_LIPS
        outline = np.vstack([self._source[upper], self._source[lower[::-1]]])
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255)
        mask = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=max(1, self._canvas_px // 512))
        share = (cv2.GaussianBlur(mask, (0, 0), self._canvas_px / 500) / 255.0)[..., None]
        mouth = (self._to_face_rows() < -0.45)[..., None]
        dark = self._photo * share + (1 - share) * np.array(_MOUTH_DARK)
        return np.where(mouth, dark, self._photo).astype(np.uint8)

    def _to_face_rows(self) -> Array:
        """The face frame's y of every canvas pixel."""
        y, x = np.mgrid[0 : self._canvas_px, 0 : self._canvas_px].astype(float)
        return ((x - self._origin[0]) * self._axes[1, 0] + (y - self._origin[1]) * self._axes[1, 1]) / self._iod_px


def _affine(drawn: Array, source: Array) -> Array:
    """For each triangle (K, 3, 2) the map from the drawn one back to its source: (K, 3, 2), rows x, y, 1.

    A triangle folded to a line has no inverse; a least area keeps it finite, and nothing of it is seen.
    """
    u, v = drawn[:, 1] - drawn[:, 0], drawn[:, 2] - drawn[:, 0]
    p, q = source[:, 1] - source[:, 0], source[:, 2] - source[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)[:, None]
    by_x = (p * v[:, 1:] - q * u[:, 1:]) / area
    by_y = (q * u[:, :1] - p * v[:, :1]) / area
    origin = source[:, 0] - drawn[:, :1, 0] * by_x - drawn[:, :1, 1] * by_y
    return np.stack([by_x, by_y, origin], axis=1)


def _unit_rules() -> dict[int, list[dict[str, object]]]:
    return {int(unit): rules for table in ("units", "proportions") for unit, rules in _WARPS[table].items()}


def _apply(rule: Mapping[str, object], moved: Array, vertices: Array) -> None:
    """Add one rule's displacement to `moved` (478, 2)."""
    ids = [i for name in _WARPS["groups"].get(rule["on"], [rule["on"]]) for i in _REGIONS[name]]
    x = vertices[ids, 0] - vertices[[61, 291], 0].mean()
    away = np.abs(x) / np.abs(vertices[[61, 291], 0] - vertices[[61, 291], 0].mean()).mean()
    profile = rule.get("profile", "flat")
    if profile == "meet":
        moved[ids] += rule["share"] * (vertices[_facing(ids)] - vertices[ids])
        return
    weight = {"flat": np.ones_like(away), "corner": away**2, "width": away, "centre": 1 - np.minimum(away, 1) ** 2}
    step = np.stack([np.sign(x) * rule.get("out", 0.0), np.full(len(ids), rule.get("up", 0.0))], axis=1)
    chosen = x < 0 if rule.get("side") == "right" else np.ones(len(ids), dtype=bool)
    moved[ids] += step * (weight[profile] * chosen)[:, None]


def _facing(ids: list[int]) -> list[int]:
    """For each lid point the one it meets."""
    pairs = {a: b for upper, lower in (_RIGHT_LIDS, _LEFT_LIDS) for a, b in zip(upper, lower, strict=True)}
    pairs |= {b: a for a, b in pairs.items()}
    return [pairs[i] for i in ids]


def _part(at: Array, upper: list[int], lower: list[int]) -> None:
    """Where two edges would cross, let them meet half way, but for a thin line."""
    inner = slice(1, -1)
    top, bottom = np.array(upper)[inner], np.array(lower)[inner]
    lack = np.maximum(_SMALLEST_GAP - (at[top, 1] - at[bottom, 1]), 0) / 2
    at[top, 1] += lack
    at[bottom, 1] -= lack
