"""A batch's account as one self-contained page: what its rows hold, how long they took, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affectgpt.report.parts import plotly_js, policy, printable, read_data, script_json, write_page

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render", "write"]

MOST_LABELS: Final = 30
_SHADES: Final = [[0, "rgba(60,120,220,.12)"], [1, "rgba(60,120,220,1)"]]
_STEP_ORDER: Final = (
    "open", "face", "voice", "speech", "encode", "recall", "tell", "appraise", "fuse", "answer", "check", "revise",
    "total",
)  # fmt: skip


def write(path: Path, account: Mapping[str, Any]) -> None:
    """Write the page of what `affectgpt.batch` tells of a job. It appears whole, by a rename, or not at all.

    Raises:
        OSError: the folder is missing, full or closed to writing.
    """
    write_page(path, render(account))


def render(account: Mapping[str, Any]) -> str:
    """The page as HTML: nothing in it is fetched, and no script runs but its own."""
    drawn = {f"plot-{n}": titled for n, titled in enumerate(_plots(account["rows"]))}
    scripts = {"plotly_js": plotly_js(), "draw_js": read_data("plots.js")}
    page = _template().render(
        told=account,
        run=account["run"],
        rows=account["rows"],
        steps=_steps(account["rows"]["timings_s"]),
        titles={name: title for name, (title, _) in drawn.items()},
        plots_json=script_json({name: plot for name, (_, plot) in drawn.items()}),
        css=read_data("evaluation.css"),
        csp=policy(*scripts.values()),
        **scripts,
    )
    return printable(page)


def _plots(rows: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and plot."""
    if rows["labels"]:
        yield "Basic labels that count", _labels(rows["labels"])
    if rows["plane"]:
        yield "Valence and arousal of the appraisals", _plane(rows["plane"], rows["plane_step"])
    if rows["timings_s"]:
        yield "Seconds a row, by step", _timings(rows["timings_s"])
    if rows["grounding"].get("total"):
        yield "Claims against the evidence that they cite", _grounding(rows["grounding"])
    if rows["failures"]:
        yield "Failures, by stage and kind", _failures(rows["failures"])


def _labels(labels: Mapping[str, int]) -> dict[str, Any]:
    return _bars(list(labels.items())[:MOST_LABELS], "--accent", "rows")


def _grounding(counts: Mapping[str, int]) -> dict[str, Any]:
    named = [(name, n) for name, n in counts.items() if name != "total"]
    return _bars(named, "--accent", "claims")


def _failures(failures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return _bars([(f"{f['type']} at {f['stage']}", f["n"]) for f in failures], "--most", "rows")


def _bars(counted: Sequence[tuple[str, int]], tone: str, unit: str) -> dict[str, Any]:
    names, counts = [name for name, _ in counted], [n for _, n in counted]
    bar = {"type": "bar", "orientation": "h", "x": counts, "y": names, "tone": tone, "text": counts}
    axes = {"xaxis": {"title": {"text": unit}}, "yaxis": {"autorange": "reversed", "type": "category"}}
    return {"data": [bar], "layout": {"height": 90 + 26 * len(names), **axes}}


def _plane(cells: Sequence[tuple[float, float, int]], step: float) -> dict[str, Any]:
    """The plane as a grid, its empty cells left empty."""
    values = [round(-1 + k * step, 6) + 0.0 for k in range(round(2 / step) + 1)]
    found = {(v, a): n for v, a, n in cells}
    grid = [[found.get((v, a)) for v in values] for a in values]
    heat = {
        "type": "heatmap", "x": values, "y": values, "z": grid, "colorscale": _SHADES, "hoverongaps": False,
        "showscale": False, "hovertemplate": "valence %{x}, arousal %{y}: %{z} rows<extra></extra>",
    }  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": "valence"}, "range": [-1.05, 1.05]},
        "yaxis": {"title": {"text": "arousal"}, "range": [-1.05, 1.05], "scaleanchor": "x"},
    }
    return {"data": [heat], "layout": {"height": 420, **axes}}


def _timings(timings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A line a step: the share of rows that took no longer, over seconds on a logarithmic scale."""
    data = []
    for name, spread in _steps(timings):
        total, shares, seconds = 0, [], []
        for middle, n in spread["bins"]:
            total += n
            seconds.append(middle)
            shares.append(total / spread["n"])
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": seconds, "y": shares})
    axes = {
        "xaxis": {"type": "log", "title": {"text": "seconds"}},
        "yaxis": {"title": {"text": "share of rows"}, "range": [0, 1.02]},
    }
    return {"data": data, "layout": {"height": 360, **axes}}


def _steps(timings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The steps in the order of a row's way."""
    order = {name: n for n, name in enumerate(_STEP_ORDER)}
    return sorted(timings.items(), key=lambda item: order.get(item[0], len(order)))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(read_data("batch.html.j2"))
