"""A report as one self-contained page: figures beside their baselines, and what no number shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from affectgpt.report.parts import plotly_js, policy, read_data, script_json

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render"]

_DRAW = """
const plots = JSON.parse(document.getElementById("plots").textContent);
const ink = getComputedStyle(document.body).color;
for (const [id, plot] of Object.entries(plots)) {
  const layout = Object.assign({paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {color: ink, size: 12}, margin: {l: 190, r: 20, t: 10, b: 45}}, plot.layout);
  Plotly.newPlot(id, plot.data, layout, {responsive: true, displaylogo: false});
}
"""
_OURS, _PLAIN = "#3b6fb6", "#a0a0a0"


def render(report: Mapping[str, Any]) -> str:
    """The page as HTML: nothing in it is fetched, and no script runs but its own."""
    plots = {f"plot-{n}-{name}": p for n, t in enumerate(report["tasks"]) for name, p in _plots(t).items()}
    scripts = {"plotly_js": plotly_js(), "draw_js": _DRAW}
    return _template().render(
        report=report,
        plots=list(plots),
        plots_json=script_json(plots),
        css=read_data("report.css"),
        csp=policy(*scripts.values()),
        **scripts,
    )


def _plots(task: Mapping[str, Any]) -> dict[str, Any]:
    found = {"figures": _forest(task["figures"])}
    if task["confusion"]:
        found["confusion"] = _heatmap(task["confusion"])
    if task["conformal"]:
        found["risk"] = _risk(task["conformal"]["curve"])
    for n, groups in enumerate(task["groups"]):
        if groups["groups"]:
            found[f"group{n}"] = _bars(groups)
    return found


def _forest(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each figure in [-1, 1] with its interval, and its baselines as marks; the others stand in the table alone."""
    shown = [f for f in figures if f["value"] is not None and abs(f["value"]) <= 1]
    names = [f["name"] for f in shown]

    def bar(rows: Sequence[Any], name: str, colour: str, symbol: str) -> dict[str, Any]:
        known = [
            (y, r) for y, r in zip(names, rows, strict=True) if r and r["value"] is not None and abs(r["value"]) <= 1
        ]
        high = [(r["high"] if r["high"] is not None else r["value"]) - r["value"] for _, r in known]
        low = [r["value"] - (r["low"] if r["low"] is not None else r["value"]) for _, r in known]
        return {
            "type": "scatter", "mode": "markers", "name": name, "x": [r["value"] for _, r in known],
            "y": [y for y, _ in known], "marker": {"color": colour, "size": 9, "symbol": symbol},
            "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": colour},
        }  # fmt: skip

    data = [
        bar([f["constant"] for f in shown], "constant", _PLAIN, "line-ns-open"),
        bar([f["majority"] for f in shown], "majority", "#c58a2b", "diamond-open"),
        bar(shown, "this run", _OURS, "circle"),
    ]
    layout = {
        "height": 90 + 30 * max(1, len(shown)),
        "yaxis": {"autorange": "reversed"},
        "legend": {"orientation": "h"},
    }
    return {"data": data, "layout": layout}


def _heatmap(confusion: Mapping[str, Any]) -> dict[str, Any]:
    counts = confusion["counts"]
    shares = [[c / max(1, sum(row)) for c in row] for row in counts]
    data = [
        {
            "type": "heatmap", "z": shares, "x": confusion["columns"], "y": confusion["labels"], "text": counts,
            "texttemplate": "%{text}", "colorscale": "Blues", "zmin": 0, "zmax": 1,
            "colorbar": {"title": {"text": "share"}},
        }
    ]  # fmt: skip
    layout = {
        "height": 140 + 34 * len(confusion["labels"]), "xaxis": {"title": {"text": "answered"}},
        "yaxis": {"title": {"text": "gold"}, "autorange": "reversed"},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _risk(curve: Mapping[str, Any]) -> dict[str, Any]:
    points = curve["points"]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [p["coverage"] for p in points],
        "y": [p["risk"] for p in points],
    }
    axes = {
        "xaxis": {"title": {"text": "share answered, most certain first"}, "range": [0, 1.02]},
        "yaxis": {"title": {"text": "share wrong"}, "rangemode": "tozero"},
    }
    return {"data": [line], "layout": {"height": 300, **axes}}


def _bars(groups: Mapping[str, Any]) -> dict[str, Any]:
    rows = groups["groups"]
    data = []
    for name, colour in (("accuracy", _OURS), ("macro F1", "#c58a2b")):
        shown = [r[name] for r in rows]
        value = [s["value"] or 0.0 for s in shown]
        data.append({
            "type": "bar", "name": name, "orientation": "h", "x": value,
            "y": [f"{r['group']} ({r['n']})" for r in rows],
            "marker": {"color": colour},
            "error_x": {
                "type": "data", "symmetric": False,
                "array": _reach(shown, value, 1, "high"),
                "arrayminus": _reach(shown, value, -1, "low"),
            },
        })  # fmt: skip
    return {
        "data": data,
        "layout": {"height": 110 + 44 * len(rows), "barmode": "group", "legend": {"orientation": "h"}},
    }


def _reach(shown: Sequence[Mapping[str, Any]], values: Sequence[float], sign: int, end: str) -> list[float]:
    """How far each interval reaches from its value, upwards (1) or downwards (-1)."""
    return [sign * (s[end] - v) if s[end] is not None else 0.0 for s, v in zip(shown, values, strict=True)]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    return environment.from_string(read_data("evaluation.html.j2"))


def number(row: Mapping[str, Any] | None) -> str:
    """A figure with its interval, three digits; a dash where there is none."""
    if not row or row["value"] is None:
        return "–"
    if row["low"] is None or row["high"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
