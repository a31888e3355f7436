"""A result as one self-contained page: courses, figures with their intervals, what is missing and why, sources."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from affectgpt.report.parts import plotly_js, policy, printable, read_data, script_json
from affectgpt.trends.analysis import Trends
from affectgpt.trends.plots import MOST_GROUPS, plots

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["number", "render", "seconds"]

_DAY_S: Final = 86_400.0


def render(trends: Trends, document: Mapping[str, Any]) -> str:
    """The page as HTML: nothing in it is fetched, and no script runs but its own."""
    drawn = {f"plot-{n}": titled for n, titled in enumerate(plots(trends, document))}
    scripts = {"plotly_js": plotly_js(), "draw_js": read_data("plots.js")}
    page = _template().render(
        d=document,
        groups=document["groups"][:MOST_GROUPS],
        titles={name: title for name, (title, _) in drawn.items()},
        wide=[name for name, (title, _) in drawn.items() if " over time" in title],
        plots_json=script_json({name: plot for name, (_, plot) in drawn.items()}),
        dated=any(s.offsets_s is not None for g in trends.groups for s in g.course.channels.values()),
        css=read_data("evaluation.css"),
        csp=policy(*scripts.values()),
        **scripts,
    )
    return printable(page)


def number(value: float | None, unit: str = "") -> str:
    """Three digits that tell something; a dash where there is nothing. Seconds are spelt as `seconds` does."""
    if value is None:
        return "–"
    if unit == "s":
        return seconds(value)
    return f"{value + 0.0:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A length of time in its own unit."""
    if value is None:
        return "–"
    for unit, length_s in (("d", _DAY_S), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * length_s:
            return f"{value / length_s:.1f} {unit}"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def _day(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, seconds=seconds, day=_day)
    return environment.from_string(read_data("trends.html.j2"))
