"""What an outcome tells, as HTML sections: observations, appraisal, answer, grounding, origin. Pages put them together.

It stands on the outcome's JSON document (`record_json.to_json`), so that a page shows a kept outcome as it shows a
fresh one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from affectgpt.record_json import describe_revision
from affectgpt.records import Verdict
from affectgpt.report.parts import read_data

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["MARKS", "SECTIONS", "Piece", "pieces", "render_story", "verdicts"]

SECTIONS = (
    "observations", "missing", "appraisal", "key", "interpretation", "conclusion", "grounding", "unexplained", "origin",
)  # fmt: skip
"""Every section, in the order in which a report tells them."""

MARKS = {Verdict.SUPPORTED.value: "✓", Verdict.CONTRADICTED.value: "✗", Verdict.UNCITED.value: "?"}

_ID = re.compile(r"\b[FVSM]\d+\b")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `cites` is the observation's id where the stretch is a citation of one that exists."""

    text: str
    cites: str = ""


def pieces(text: str, known: frozenset[str]) -> list[Piece]:
    """`text` cut at its citations; joined again, the pieces are the text."""
    cut: list[Piece] = []
    end = 0
    for match in _ID.finditer(text):
        if match[0] in known:
            cut += [Piece(text[end : match.start()]), Piece(match[0], match[0])]
            end = match.end()
    return [p for p in [*cut, Piece(text[end:])] if p.text]


def verdicts(document: Document) -> dict[str, tuple[str, str]]:
    """(verdict, reason) by the text of each claim that was checked."""
    answer = document["answer"]
    claims = answer["claims"] or () if answer else ()
    return {c["text"]: (c["verdict"], c["reason"]) for c in claims if c["verdict"]}


def render_story(document: Document, *, can_seek: bool, sections: Sequence[str] = SECTIONS) -> str:
    """The sections of an outcome's document as HTML, escaped; `can_seek` gives each timed observation a play button."""
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        raise ValueError(f"no sections {sorted(unknown)}")
    return _template().render(**_told(document), can_seek=can_seek, sections=sections)


def _told(document: Document) -> dict[str, Any]:
    """What there is to tell, in the template's words."""
    items = document["observations"]
    known = frozenset(o["id"] for o in items)
    answer = document["answer"]
    explanation = answer if answer and answer["parsed"] else None
    checked = verdicts(document)
    return {
        "present": [o for o in items if not o["is_missing"]],
        "missing": [o for o in items if o["is_missing"]],
        "explanation": explanation,
        "unparsed": answer if answer and not answer["parsed"] else None,
        "key_lines": [
            (pieces(line, known), MARKS.get(verdict := checked.get(line, ("", ""))[0], ""), verdict)
            for line in (explanation["observations"] if explanation else ())
        ],
        "interpretation": pieces(explanation["interpretation"], known) if explanation else [],
        "revision": _revision(explanation["revision"], known) if explanation and explanation.get("revision") else None,
        "grounding": _grounding(document, known) if document["grounding"] else None,
        "appraisal": _appraisal(document["appraisal"]) if document["appraisal"] else None,
        "decision": document["decision"],
        "completion": document["completion"],
        "transcript": document["transcript"],
        "versions": document["versions"],
        "seconds": document["timings_s"].get("total", 0.0),
    }


def _appraisal(appraisal: Document) -> dict[str, Any]:
    fused = appraisal["fused"]
    rows = [
        (name, _likely(distribution)[:3], appraisal["reliability"].get(name), appraisal["weights"].get(name))
        for name, distribution in appraisal["by_modality"].items()
    ]
    return {
        "rows": rows,
        "fused": _likely(fused),
        "dimensions": [(name, fused[name]) for name in ("valence", "arousal", "dominance")],
        "conflicts": appraisal["conflicts"],
        "compounds": appraisal["compounds"].items(),
        "emotion_set": appraisal["emotion_set"],
        "course": [{**moment, "top": _likely(moment["fused"])[0][0]} for moment in appraisal["course"]],
    }


def _likely(distribution: Document) -> list[tuple[str, float]]:
    return sorted(distribution["probabilities"].items(), key=lambda item: -item[1])


def _grounding(document: Document, known: frozenset[str]) -> dict[str, Any]:
    counts = document["grounding"]
    faulty = [c for c in document["answer"]["claims"] if c["verdict"] != Verdict.SUPPORTED.value]
    return {
        "total": counts["total"],
        "counts": [(verdict, counts[verdict], mark) for verdict, mark in MARKS.items()],
        "faults": [(pieces(c["text"], known), c["reason"], c["verdict"], MARKS[c["verdict"]]) for c in faulty],
    }


def _revision(revision: Document, known: frozenset[str]) -> dict[str, Any]:
    withdrawn = [(pieces(c["text"], known), c["reason"]) for c in revision["withdrawn"]]
    return {"told": describe_revision(revision), "withdrawn": withdrawn, "mark": MARKS[Verdict.CONTRADICTED.value]}


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["when"] = _when
    return environment.from_string(read_data("story.html.j2"))


def _when(observation: Document) -> str:
    if observation["start_s"] is None:
        return ""
    end = f"–{observation['end_s']:.1f}" if observation["end_s"] is not None else ""
    return f"{observation['start_s']:.1f}{end} s"
