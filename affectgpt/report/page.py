"""The page itself: what the template is given, and an atomic write."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.agent import Senses
from affectgpt.record_json import NOTICE, to_json
from affectgpt.records import Outcome
from affectgpt.report.parts import plotly_js, policy, printable, read_data, script_json, write_page
from affectgpt.report.picture import embed
from affectgpt.report.story import render_story
from affectgpt.report.timeline import figure

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["render", "write"]


def write(path: Path | str, outcome: Outcome, senses: Senses) -> None:
    """Write the page. It appears whole, by a rename, or not at all.

    Raises:
        OSError: the folder is missing, full or closed to writing.
    """
    write_page(Path(path), render(outcome, senses))


def render(outcome: Outcome, senses: Senses) -> str:
    """The page as HTML: nothing in it is fetched from anywhere, and it may run no script but its own."""
    duration_s = senses.clip.duration_s if senses.clip else 0.0
    shown = embed(senses.clip)
    course = outcome.appraisal.course if outcome.appraisal else ()
    drawn = figure(senses.face, senses.voice, duration_s, course)
    scripts = {"page_js": read_data("stage.js") + read_data("report.js"), "plotly_js": plotly_js() if drawn else ""}
    return _template().render(
        **scripts,
        story=render_story(to_json(outcome), can_seek=shown.kind in ("video", "audio")),
        css=read_data("story.css") + read_data("report.css"),
        csp=policy(*scripts.values()),
        name=printable(senses.clip.path.name) if senses.clip else "A transcript",
        clip=senses.clip,
        shown=shown,
        media=base64.b64encode(shown.data).decode("ascii"),
        figure=drawn,
        figure_json=script_json({k: drawn[k] for k in ("data", "layout", "rows")}) if drawn else "",
        version=outcome.versions.get("affectgpt", ""),
        notice=NOTICE,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(read_data("report.html.j2"))
