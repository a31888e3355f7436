"""A report as one self-contained page: figures beside their baselines, and what no number shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from affectgpt.report.parts import plotly_js, policy, read_data, script_json

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render"]

_OURS, _CONSTANT, _MAJORITY = "--accent", "--plain", "--most"
MOST_LISTED = 200
"""Samples that the page lists as not scored; a run of a hundred thousand failures must still open."""


def render(report: Mapping[str, Any]) -> str:
    """The page as HTML: nothing in it is fetched, and no script runs but its own."""
    drawn = [
        {f"plot-{n}-{k}": titled for k, titled in enumerate(_plots(task))} for n, task in enumerate(report["tasks"])
    ]
    plots = {name: plot for task in drawn for name, (_, plot) in task.items()}
    scripts = {"plotly_js": plotly_js(), "draw_js": read_data("plots.js")}
    return _template().render(
        report=report,
        plots=[{name: title for name, (title, _) in task.items()} for task in drawn],
        plots_json=script_json(plots),
        css=read_data("evaluation.css"),
        csp=policy(*scripts.values()),
        most_listed=MOST_LISTED,
        **scripts,
    )


def _plots(task: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and plot."""
    if any(f["value"] is not None for f in task["figures"]):
        yield "Figures with their intervals, and the baselines", _forest(task["figures"])
    if task["confusion"]:
        yield (
            "Confusion: gold in rows, answers in columns, counts shaded by the row's share",
            _heatmap(task["confusion"]),
        )
    if task["reliability"]:
        yield "Reliability: how often an answer of that probability is right", _reliability(task["reliability"])
    if task["conformal"]:
        yield "Risk: share wrong where only the surest are answered", _risk(task["conformal"]["curve"])
    for groups in task["groups"]:
        if groups["groups"]:
            yield f"By {groups['column']}", _bars(groups)


def _forest(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each figure in [-1, 1] with its interval, and its baselines as marks; the others stand in the table alone."""
    shown = [f for f in figures if f["value"] is not None and abs(f["value"]) <= 1]
    names = [f["name"] for f in shown]

    def bar(rows: Sequence[Any], name: str, tone: str, symbol: str) -> dict[str, Any]:
        known = [
            (y, r) for y, r in zip(names, rows, strict=True) if r and r["value"] is not None and abs(r["value"]) <= 1
        ]
        high = [(r["high"] if r["high"] is not None else r["value"]) - r["value"] for _, r in known]
        low = [r["value"] - (r["low"] if r["low"] is not None else r["value"]) for _, r in known]
        return {
            "type": "scatter", "mode": "markers", "name": name, "x": [r["value"] for _, r in known],
            "y": [y for y, _ in known], "tone": tone, "marker": {"size": 9, "symbol": symbol},
            "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "thickness": 1.5},
        }  # fmt: skip

    data = [
        bar([f["constant"] for f in shown], "constant", _CONSTANT, "x-thin-open"),
        bar([f["majority"] for f in shown], "majority", _MAJORITY, "diamond-open"),
        bar(shown, "this run", _OURS, "circle"),
    ]
    layout = {
        "height": 90 + 28 * max(1, len(shown)),
        "yaxis": {"autorange": "reversed"},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}


def _heatmap(confusion: Mapping[str, Any]) -> dict[str, Any]:
    counts, labels = confusion["counts"], confusion["labels"]
    shares = [[c / max(1, sum(row)) for c in row] for row in counts]
    data = [
        {
            "type": "heatmap", "z": shares, "x": confusion["columns"], "y": labels, "showscale": False,
            "colorscale": _SHADES, "zmin": 0, "zmax": 1, "text": counts,
            **({"texttemplate": "%{text}"} if len(labels) <= _MOST_WRITTEN else {}),
            "hovertemplate": "gold %{y}, answered %{x}: %{text} (%{z:.0%})<extra></extra>",
        }
    ]  # fmt: skip
    layout = {
        "height": 120 + 30 * min(len(labels), _MOST_WRITTEN),
        "xaxis": {"tickangle": -40, "showgrid": False},
        "yaxis": {"autorange": "reversed", "showgrid": False},
    }
    return {"data": data, "layout": layout}


_SHADES = [[0, "rgba(60,120,220,0)"], [1, "rgba(60,120,220,.6)"]]
_MOST_WRITTEN = 16
"""Labels up to which counts are written into the confusion's cells; above it they are told on pointing."""


def _reliability(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sure = [b["probability"] for b in bins]
    data = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "name": "honest", "tone": _CONSTANT,
         "line": {"dash": "dot"}},
        {"type": "scatter", "mode": "lines+markers", "x": sure, "y": [b["right"] for b in bins], "name": "this run",
         "tone": _OURS, "text": [f"{b['n']} answers" for b in bins],
         "marker": {"size": [5 + 15 * (b["n"] / max(x["n"] for x in bins)) ** 0.5 for b in bins]}},
    ]  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": "probability of the answer"}, "range": [0, 1.02]},
        "yaxis": {"title": {"text": "share right"}, "range": [0, 1.02]},
    }
    return {"data": data, "layout": {"height": 300, "showlegend": False, **axes}}


def _risk(curve: Mapping[str, Any]) -> dict[str, Any]:
    points = curve["points"]
    line = {
        "type": "scatter", "mode": "lines+markers", "tone": _OURS,
        "x": [p["coverage"] for p in points], "y": [p["risk"] for p in points],
    }  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": "share answered, surest first"}, "range": [0, 1.02]},
        "yaxis": {"title": {"text": "share wrong"}, "rangemode": "tozero"},
    }
    return {"data": [line], "layout": {"height": 300, **axes}}


def _bars(groups: Mapping[str, Any]) -> dict[str, Any]:
    rows = groups["groups"]
    data = []
    for name, tone in (("accuracy", _OURS), ("macro F1", _MAJORITY)):
        shown = [r[name] for r in rows]
        value = [s["value"] or 0.0 for s in shown]
        data.append({
            "type": "bar", "name": name, "orientation": "h", "x": value,
            "y": [f"{r['group']} ({r['n']})" for r in rows],
            "tone": tone, "bars": "--ink",
            "error_x": {
                "type": "data", "symmetric": False, "thickness": 1.2,
                "array": _reach(shown, value, 1, "high"),
                "arrayminus": _reach(shown, value, -1, "low"),
            },
        })  # fmt: skip
    layout = {"height": 90 + 36 * len(rows), "barmode": "group", "yaxis": {"autorange": "reversed"}}
    return {"data": data, "layout": layout | {"legend": {"orientation": "h", "y": 1, "yanchor": "bottom"}}}


def _reach(shown: Sequence[Mapping[str, Any]], values: Sequence[float], sign: int, end: str) -> list[float]:
    """How far each interval reaches from its value, upwards (1) or downwards (-1)."""
    return [sign * (s[end] - v) if s[end] is not None else 0.0 for s, v in zip(shown, values, strict=True)]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["verdict"] = verdict
    environment.filters["three"] = three
    return environment.from_string(read_data("evaluation.html.j2"))


def verdict(figure: Mapping[str, Any]) -> str:
    """`better` where the interval is on the good side of both baselines, `worse` where it is on the bad side of one.

    `even` where neither can be told; empty without an interval or a baseline.
    """
    beside = [figure[k]["value"] for k in ("constant", "majority") if figure[k] and figure[k]["value"] is not None]
    if not beside or figure["low"] is None or figure["high"] is None:
        return ""
    low, high, sign = figure["low"], figure["high"], 1 if figure["higher_is_better"] else -1
    near, far = (low, high) if sign > 0 else (high, low)
    if all(sign * (near - value) > 0 for value in beside):
        return "better"
    return "worse" if any(sign * (far - value) < 0 for value in beside) else "even"


def number(row: Mapping[str, Any] | None) -> str:
    """A figure with its interval, three digits; a dash where there is none."""
    if not row or row["value"] is None:
        return "–"
    if row["low"] is None or row["high"] is None:
        return three(row["value"])
    return f"{three(row['value'])} [{three(row['low'])}, {three(row['high'])}]"


def three(value: float) -> str:
    """Three digits behind the point, and no minus before nothing."""
    return f"{round(value, 3) + 0.0:.3f}"
