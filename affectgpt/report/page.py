"""The page itself: what the template is given, and an atomic write."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.agent import Senses
from affectgpt.record_json import NOTICE, leading
from affectgpt.records import Appraisal, Explanation, Grounding, Observation, Outcome, UnparsedAnswer, Verdict
from affectgpt.report.parts import plotly_js, policy, printable, read_data, script_json, write_page
from affectgpt.report.picture import embed
from affectgpt.report.timeline import figure

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Piece", "pieces", "render", "write"]

_ID = re.compile(r"\b[FVSM]\d+\b")

_MARKS = {Verdict.SUPPORTED: "✓", Verdict.CONTRADICTED: "✗", Verdict.UNCITED: "?"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `cites` is the observation's id where the stretch is a citation of one that exists."""

    text: str
    cites: str = ""


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
    drawn = figure(senses.face, senses.voice, duration_s)
    scripts = {"page_js": read_data("report.js"), "plotly_js": plotly_js() if drawn else ""}
    return _template().render(
        **_story(outcome),
        **scripts,
        css=read_data("report.css"),
        csp=policy(*scripts.values()),
        name=printable(senses.clip.path.name) if senses.clip else "A transcript",
        clip=senses.clip,
        shown=shown,
        media=base64.b64encode(shown.data).decode("ascii"),
        figure=drawn,
        figure_json=script_json({k: drawn[k] for k in ("data", "layout", "rows")}) if drawn else "",
        outcome=outcome,
        notice=NOTICE,
        seconds=outcome.timings_s.get("total", 0.0),
    )


def pieces(text: str, known: frozenset[str]) -> list[Piece]:
    """`text` cut at its citations; joined again, the pieces are the text."""
    cut: list[Piece] = []
    end = 0
    for match in _ID.finditer(text):
        if match[0] in known:
            cut += [Piece(text[end : match.start()]), Piece(match[0], match[0])]
            end = match.end()
    return [p for p in [*cut, Piece(text[end:])] if p.text]


def _story(outcome: Outcome) -> dict[str, Any]:
    """What the page tells, in the template's words."""
    items = outcome.observations.items
    known = frozenset(o.id for o in items)
    answer = outcome.answer
    explanation = answer if isinstance(answer, Explanation) else None
    grounding = explanation.grounding if explanation else None
    verdicts = {c.claim.text: c for c in grounding.claims} if grounding else {}
    return {
        "present": [o for o in items if not o.is_missing],
        "missing": [o for o in items if o.is_missing],
        "explanation": explanation,
        "unparsed": answer if isinstance(answer, UnparsedAnswer) else None,
        "key_lines": [
            (pieces(line, known), _MARKS[v.verdict] if (v := verdicts.get(line)) else "", v.verdict.value if v else "")
            for line in (explanation.observations if explanation else ())
        ],
        "interpretation": pieces(explanation.interpretation, known) if explanation else [],
        "grounding": _grounding(grounding, known) if grounding else None,
        "appraisal": _appraisal(outcome.appraisal) if outcome.appraisal else None,
        "decision": outcome.decision,
    }


def _appraisal(appraisal: Appraisal) -> dict[str, Any]:
    rows = [
        (name, leading(distribution, 3), appraisal.reliability.get(name), appraisal.weights.get(name))
        for name, distribution in appraisal.by_modality.items()
    ]
    return {
        "rows": rows,
        "fused": leading(appraisal.fused, len(appraisal.fused.probabilities)),
        "dimensions": [(name, getattr(appraisal.fused, name)) for name in ("valence", "arousal", "dominance")],
        "conflicts": appraisal.conflicts,
        "compounds": appraisal.compounds.items(),
        "emotion_set": appraisal.emotion_set,
        "course": appraisal.course,
    }


def _grounding(grounding: Grounding, known: frozenset[str]) -> dict[str, Any]:
    faulty = [c for c in grounding.claims if c.verdict is not Verdict.SUPPORTED]
    return {
        "total": len(grounding.claims),
        "counts": [(v.value, grounding.count(v), _MARKS[v]) for v in Verdict],
        "faults": [(pieces(c.claim.text, known), c.reason, c.verdict.value, _MARKS[c.verdict]) for c in faulty],
    }


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["when"] = _when
    return environment.from_string(read_data("report.html.j2"))


def _when(observation: Observation) -> str:
    if observation.start_s is None:
        return ""
    end = f"–{observation.end_s:.1f}" if observation.end_s is not None else ""
    return f"{observation.start_s:.1f}{end} s"
