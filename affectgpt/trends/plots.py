"""The page's plots, from the plain data of a result and its series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from affectgpt.trends.analysis import Group, Trends
from affectgpt.trends.series import Floats, Series
from affectgpt.trends.states import NEGATIVE, POSITIVE, valence_states

__all__ = ["MOST_GROUPS", "plots"]

MOST_GROUPS: Final = 40
"""Groups that a plot shows, the first in order; the files have all."""
_MOST_LINES: Final = 8
_MOST_POINTS: Final = 600
_MOST_MARKED: Final = 60

# Okabe & Ito (2008), Color Universal Design: told apart with every kind of colour vision; readable on light and dark.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c", "#b8a800")

_FORESTS: Final = ("mean", "rmssd", "inertia_corrected", "half_life", "predictability", "positive_negative_ratio",
                   "dwell_negative", "contagion")  # fmt: skip


def plots(trends: Trends, document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and plot, of those that there is something for."""
    for channel in dict.fromkeys(c for group in trends.groups for c in group.course.channels):
        yield _over_time(trends, channel)
    if len(trends.groups) > 1:
        metrics = document["metrics"]
        for name in _FORESTS:
            drawn = _forest(document["groups"], name)
            if drawn:
                unit = f", {metrics[name]['unit']}" if metrics[name]["unit"] else ""
                yield f"{metrics[name]['title']} of valence{unit}", drawn
    if any("valence" in group.course.channels for group in trends.groups):
        yield "Shares of negative, neutral and positive points", _shares(trends)
    for channel in dict.fromkeys(i["channel"] for i in document["influences"]):
        drawn = _influences(document["influences"], channel)
        if drawn:
            yield f"Contagion of {channel}, from row to column; in brackets where its interval holds 0", drawn


def _over_time(trends: Trends, channel: str) -> tuple[str, dict[str, Any]]:
    lines: dict[str, list[Series]] = {}
    for group in trends.groups:
        if channel in group.course.channels:
            name = group.keys[trends.person] if trends.person else group.name
            lines.setdefault(name or "–", []).append(group.course.channels[channel])
    shown = list(lines.items())[:_MOST_LINES]
    data = []
    for colour, (name, series) in zip(_COLOURS, shown, strict=False):
        x, y = _joined(sorted(series, key=lambda s: float(s.times_s[0])))
        line: dict[str, Any] = {"type": "scatter", "name": name, "x": x, "y": y}
        line |= {"line": {"color": colour, "width": 1.5}, "marker": {"color": colour, "size": 5}}
        data.append({**line, "mode": "lines+markers" if len(x) <= _MOST_MARKED else "lines"})
    dated = any(s.offsets_s is not None for own in lines.values() for s in own)
    layout = {
        "height": 320,
        "showlegend": len(shown) > 1,
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom"},
        "yaxis": {"title": {"text": channel}},
        "xaxis": {"title": {"text": "local time" if dated else "seconds"}},
    }
    kept = f", the first {len(shown)} of {len(lines)}" if len(lines) > len(shown) else ""
    return f"{channel.capitalize()} over time{kept}; lines break at gaps", {"data": data, "layout": layout}


def _joined(series: Sequence[Series]) -> tuple[list[Any], list[float | None]]:
    """Times and values of several series one after the other, nothing between two stretches."""
    x: list[Any] = []
    y: list[float | None] = []
    share = max(1, sum(s.n for s in series) // _MOST_POINTS + 1)
    for s in series:
        for start, end in s.stretches:
            x += [_shown(s, t, start) for t in _thinned(s.times_s[start:end], share)] + [None]
            y += [round(float(v), 4) for v in _thinned(s.values[start:end], share)] + [None]
    return x, y


def _thinned(values: Floats, share: int) -> Floats:
    """Means of each `share` values."""
    starts = np.arange(0, len(values), share)
    return np.asarray(np.add.reduceat(values, starts) / np.diff([*starts, len(values)]))


def _shown(series: Series, time_s: float, at: int) -> str | float:
    if series.offsets_s is None:
        return round(float(time_s), 3)
    return datetime.fromtimestamp(float(time_s + series.offsets_s[at]), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _forest(groups: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any] | None:
    """A metric of valence in every group, with its interval."""
    found = [
        (group["name"], e)
        for group in groups[:MOST_GROUPS]
        for e in group["estimates"]
        if e["metric"] == metric and e["channel"] == "valence" and e["value"] is not None
    ]
    if not found:
        return None
    value = [e["value"] for _, e in found]
    high = [max(0.0, (e["value"] if e["high"] is None else e["high"]) - e["value"]) for _, e in found]
    low = [max(0.0, e["value"] - (e["value"] if e["low"] is None else e["low"])) for _, e in found]
    trace = {
        "type": "scatter", "mode": "markers", "tone": "--accent", "x": value, "y": [name for name, _ in found],
        "marker": {"size": 8},
        "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1.5},
    }  # fmt: skip
    layout = {
        "height": 80 + 24 * len(found),
        "showlegend": False,
        "yaxis": {"autorange": "reversed", "type": "category"},
    }
    return {"data": [trace], "layout": layout}


def _shares(trends: Trends) -> dict[str, Any]:
    groups: list[Group] = [g for g in trends.groups if "valence" in g.course.channels][:MOST_GROUPS]
    codes = [valence_states(g.course.channels["valence"].values, trends.settings.neutral) for g in groups]
    negative, positive = ([float(np.mean(c == state)) for c in codes] for state in (NEGATIVE, POSITIVE))
    neutral = [1 - a - b for a, b in zip(negative, positive, strict=True)]
    names = [g.name for g in groups]
    data = [
        {"type": "bar", "orientation": "h", "name": name, "x": x, "y": names, "marker": {"color": colour}}
        for name, x, colour in (
            ("negative", negative, "#d55e00"), ("neutral", neutral, "#8c8c8c"), ("positive", positive, "#0072b2")
        )
    ]  # fmt: skip
    layout = {
        "height": 100 + 24 * len(groups),
        "barmode": "stack",
        "xaxis": {"range": [0, 1], "tickformat": ".0%"},
        "yaxis": {"autorange": "reversed", "type": "category"},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
    }
    return {"data": data, "layout": layout}


def _influences(influences: Sequence[Mapping[str, Any]], channel: str) -> dict[str, Any] | None:
    """Coefficients between people, those of the first group where there are several."""
    known = [i for i in influences if i["channel"] == channel and i["coefficient"] is not None]
    known = [i for i in known if i["keys"] == known[0]["keys"]]
    if not known:
        return None
    people = sorted({i["source"] for i in known} | {i["target"] for i in known})[:MOST_GROUPS]
    cells = {(i["source"], i["target"]): i for i in known}

    def text(i: Mapping[str, Any] | None) -> str:
        if i is None:
            return ""
        return f"{i['coefficient']:.2f}" if i["low"] > 0 or i["high"] < 0 else f"({i['coefficient']:.2f})"

    rows = [[cells.get((source, target)) for target in people] for source in people]
    widest = max(abs(i["coefficient"]) for i in known) or 1.0
    trace = {
        "type": "heatmap", "x": people, "y": people, "z": [[i and i["coefficient"] for i in row] for row in rows],
        "text": [[text(i) for i in row] for row in rows], "texttemplate": "%{text}", "zmin": -widest, "zmax": widest,
        "colorscale": [[0, "rgba(213,94,0,.7)"], [0.5, "rgba(128,128,128,.05)"], [1, "rgba(0,114,178,.7)"]],
        "showscale": False, "hovertemplate": "from %{y} to %{x}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "height": 120 + 30 * len(people),
        "xaxis": {"type": "category", "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
    }
    return {"data": [trace], "layout": layout}
