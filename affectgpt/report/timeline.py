"""Tracks as a plotly figure in plain JSON: action units as a heat map, pitch, loudness and affect as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.cues import load_cues
from affectgpt.records import FaceTrack, Moment, VoiceTrack

__all__ = ["figure"]

MOST_COLUMNS = 1200
"""Time steps drawn at most; a screen has hardly more pixels across. A longer track is pooled, and the page says so."""

WEAK_RELIABILITY = 0.5
"""Units that the reader can hardly read, below this, are marked with a tilde."""

_HEIGHTS = {"face": 0.6, "pitch": 0.22, "level": 0.18, "affect": 0.22}
_GAP = 0.05


def n_columns_for(n_steps: int) -> tuple[int, int]:
    """(columns, steps pooled into each) for a track of `n_steps`."""
    pooled = max(1, math.ceil(n_steps / MOST_COLUMNS))
    return math.ceil(n_steps / pooled), pooled


def figure(
    face: FaceTrack | None, voice: VoiceTrack | None, duration_s: float, course: Sequence[Moment] = ()
) -> dict[str, Any] | None:
    """`data`, `layout` and the text for a caption; None where there is nothing to draw.

    `course` is the appraisal over time, drawn as valence and arousal where it has more than one stretch. `rows` names
    what is drawn, top to bottom, of face, pitch, level and affect. Colours are left to the page, which knows whether it
    is dark.
    """
    drawn_face = face is not None and face.found.any() and len(face.times_s) > 1
    rows = (["face"] if drawn_face else []) + (["pitch", "level"] if voice is not None and len(voice.times_s) else [])
    rows += ["affect"] if len(course) > 1 else []
    if not rows:
        return None
    domains = _domains(rows)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "xaxis": {"range": [0, duration_s], "ticksuffix": " s", "anchor": f"y{len(rows)}" if len(rows) > 1 else "y"},
        "shapes": [],
    }
    for position, row in enumerate(rows, 1):
        axis = "y" if position == 1 else f"y{position}"
        if row == "affect":
            traces, axis_layout = _affect_row(course)
        else:
            trace, axis_layout = _face_row(face) if row == "face" and face else _voice_row(row, voice)
            traces = [trace]
        data += [{**trace, "xaxis": "x", "yaxis": axis} for trace in traces]
        layout["yaxis" if position == 1 else f"yaxis{position}"] = {**axis_layout, "domain": domains[row]}
    if voice is not None and "pitch" in rows:
        bottom, top = domains["level"][0], domains["pitch"][1]
        layout["shapes"] = [_speech_span(s.start_s, s.end_s, bottom, top) for s in voice.speech]
    return {"data": data, "layout": layout, "rows": rows, "caption": _caption(rows, face, voice)}


def _domains(rows: list[str]) -> dict[str, list[float]]:
    """Each row's share of the height, [bottom, top] in [0, 1], the first row uppermost."""
    free = 1 - _GAP * (len(rows) - 1)
    unit = free / sum(_HEIGHTS[row] for row in rows)
    domains, top = {}, 1.0
    for row in rows:
        bottom = max(0.0, top - _HEIGHTS[row] * unit)
        domains[row] = [round(bottom, 4), round(top, 4)]
        top = bottom - _GAP
    return domains


def _face_row(track: FaceTrack) -> tuple[dict[str, Any], dict[str, Any]]:
    names = load_cues().face
    labels = []
    for unit, reliability in zip(track.units, track.reliability, strict=True):
        name = names[unit].name if unit in names else ""
        labels.append(f"{'~' if reliability < WEAK_RELIABILITY else ''}{name} {unit}".strip())
    times, intensity = _pool(track.times_s, track.action_units, np.fmax)
    trace = {
        "type": "heatmap",
        "x": _numbers(times, 3),
        "y": labels,
        "z": [_numbers(row, 2) for row in intensity.T],
        "zmin": 0,
        "zmax": 5,
        "hovertemplate": "%{y}<br>%{x:.2f} s: %{z:.1f} of 5<extra></extra>",
        "colorbar": {"title": {"text": "0–5"}, "thickness": 8, "len": 0.5, "y": 0.98, "yanchor": "top"},
    }
    # Lowest number uppermost: brows over the mouth, as on a face.
    return trace, {"autorange": "reversed", "type": "category", "dtick": 1, "ticks": "", "automargin": True}


def _voice_row(row: str, track: VoiceTrack | None) -> tuple[dict[str, Any], dict[str, Any]]:
    assert track is not None
    values, title, unit = (track.f0_hz, "pitch", "Hz") if row == "pitch" else (track.level_db, "level", "dB")
    times, pooled = _pool(track.times_s, values[:, None], np.fmax)
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": _numbers(times, 3),
        "y": _numbers(pooled[:, 0], 1),
        "connectgaps": False,
        "hovertemplate": f"%{{x:.2f}} s: %{{y:.0f}} {unit}<extra>{title}</extra>",
        "name": title,
    }
    return trace, {"title": {"text": f"{title}<br>{unit}"}, "nticks": 4, "automargin": True}


def _affect_row(course: Sequence[Moment]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Valence drawn through, arousal dashed: steps over the stretches that were appraised."""
    edges = _numbers(np.array([*(m.start_s for m in course), course[-1].end_s]), 3)
    traces = []
    for name, dash in (("valence", "solid"), ("arousal", "dash")):
        values = _numbers(np.array([getattr(m.fused, name) for m in (*course, course[-1])]), 2)
        traces.append({
            "type": "scatter",
            "mode": "lines",
            "x": edges,
            "y": values,
            "line": {"shape": "hv", "dash": dash},
            "hovertemplate": "%{x:.1f} s: %{y:+.2f}<extra>" + name + "</extra>",
            "name": name,
        })  # fmt: skip
    return traces, {"title": {"text": "V ―<br>A ‐ ‐"}, "range": [-1, 1], "nticks": 3, "automargin": True}


def _pool(
    times_s: NDArray[np.float64], values: NDArray[np.float32], highest: np.ufunc
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """(times, values) in at most MOST_COLUMNS steps: a step's first time and its highest value, NaN where all are."""
    _, size = n_columns_for(len(times_s))
    starts = np.arange(0, len(times_s), size)
    return times_s[starts], highest.reduceat(values, starts, axis=0)


def _numbers(values: NDArray[Any], digits: int) -> list[float | None]:
    return [round(float(v), digits) if math.isfinite(v) else None for v in values]


def _speech_span(start_s: float, end_s: float, bottom: float, top: float) -> dict[str, Any]:
    return {
        "type": "rect",
        "name": "speech",
        "xref": "x",
        "yref": "paper",
        "x0": start_s,
        "x1": end_s,
        "y0": bottom,
        "y1": top,
        "layer": "below",
        "line": {"width": 0},
    }


def _caption(rows: list[str], face: FaceTrack | None, voice: VoiceTrack | None) -> str:
    told = []
    if "face" in rows and face is not None:
        against = "this person's own rest" if face.baseline_kind == "own" else "the rest of other people"
        told.append(
            f"Action units (FACS), 0 to 5 over {against}, read by {face.reader}; blank where no usable face was"
        )
        told.append("a tilde marks units that are read weakly")
        if (size := n_columns_for(len(face.times_s))[1]) > 1:
            told.append(f"each column is the highest of {size} frames")
    if "pitch" in rows and voice is not None:
        told.append("shaded where somebody speaks")
        if (size := n_columns_for(len(voice.times_s))[1]) > 1:
            told.append(f"each point of the lines is the highest of {size} steps")
    if "affect" in rows:
        told.append("valence (line) and arousal (dashes), -1 to 1, as the appraisers read them stretch by stretch")
    return "; ".join(told) + ". Click a place to go there in the clip."
