"""Conversations as documents: Markdown to read, JSON with everything, CSV for a table. Written in pieces.

Every answer is marked as a model's, with the model's name, in each form (Regulation (EU) 2024/1689, Art. 50).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from affectgpt.record_json import NOTICE
from affectgpt.report.chain import Step, chain_steps
from affectgpt.report.quoting import inert, quoted
from serve.store.records import Conversation, ExportForm, Revision, Summary, Turn

__all__ = ["COLUMNS", "MEDIA_TYPES", "Whole", "write", "write_line"]

MEDIA_TYPES: dict[ExportForm, str] = {
    "md": "text/markdown; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}

COLUMNS = (
    "conversation_id", "title", "turn", "revision", "role", "created", "text", "reasoning", "attachments", "state",
    "finish_reason", "label", "model", "ai_generated", "thumbs", "corrected_label", "corrected_words", "remark",
)  # fmt: skip

Whole = tuple[Conversation, Sequence[tuple[Turn, tuple[Revision, ...]]]]
"""A conversation with its line, and all turns with all their revisions."""

_FORMULA = re.compile(r"^\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet may take for a formula (OWASP, CSV Injection), the full-width signs among it."""


def write(form: ExportForm, conversations: Iterator[Whole]) -> Iterator[str]:
    """The document's pieces, a conversation at a time."""
    writers: dict[ExportForm, Callable[[Iterator[Whole]], Iterator[str]]] = {
        "md": _markdown,
        "json": _json,
        "csv": _csv,
    }
    return writers[form](conversations)


# ---------------------------------------------------------------- Markdown


def _markdown(conversations: Iterator[Whole]) -> Iterator[str]:
    yield f"*{NOTICE}*\n"
    for conversation, _ in conversations:
        summary = conversation.summary
        yield f"\n# {inert(summary.title) or 'Conversation'}\n\n{_day(summary.created)}\n"
        yield from (_told(turn) for turn in conversation.turns)


def _told(turn: Turn) -> str:
    revision = turn.revision
    parts = [f"\n## {turn.number}. You\n\n{quoted(revision.asked.text)}"]
    parts += [f"Attached: {inert(a.name)} ({inert(a.kind)})\n" for a in revision.asked.attachments]
    answered = revision.answered
    if answered is None:
        why = f": {inert(revision.failure)}" if revision.failure else ""
        return "\n".join([*parts, f"*No answer ({revision.state}{why}).*\n"])
    parts.append(f"### Answer by AI, model {inert(answered.model) or 'unknown'}\n")
    if answered.card:
        parts.append(quoted(answered.card))
    if answered.reasoning:
        parts.append(f"Reasoning:\n\n{quoted(answered.reasoning)}")
    parts.append(quoted(answered.reply))
    parts += [_step(step) for step in chain_steps(answered.chain or {})]
    if answered.finish_reason != "stop":
        parts.append(f"*Ended early: {inert(answered.finish_reason)}.*\n")
    return "\n".join([*parts, *_opinion(revision)])


def _step(step: Step) -> str:
    return f"{step.title}:\n\n" + "".join(f"> - {inert(line)}\n" for line in step.lines)


def _opinion(revision: Revision) -> Iterator[str]:
    given = revision.feedback
    if given is not None:
        said = [f"thumbs {given.thumbs}"] if given.thumbs else []
        said += [f"rather {inert(', '.join(filter(None, (given.label, *given.words))))}"] * bool(
            given.label or given.words
        )
        said += [inert(given.text)] * bool(given.text)
        yield f"Your feedback: {'; '.join(said)}\n"


# ---------------------------------------------------------------- JSON


def _json(conversations: Iterator[Whole]) -> Iterator[str]:
    yield f'{{"schema_version": "1", "ai_generated": true, "notice": {json.dumps(NOTICE)}, "conversations": ['
    for i, (conversation, turns) in enumerate(conversations):
        shown = {turn.id for turn in conversation.turns}
        document = {
            **plain(conversation.summary),
            "turns": [
                {
                    "id": turn.id,
                    "number": turn.number,
                    "is_in_line": turn.id in shown,
                    "current": turn.revision.id,
                    "revisions": [plain(r) for r in revisions],
                }
                for turn, revisions in turns
            ],
        }
        yield f"{',' if i else ''}\n{json.dumps(document, ensure_ascii=False, allow_nan=False)}"
    yield "\n]}\n"


def plain(record: Conversation | Summary | Turn | Revision | Any) -> Any:
    """A record in JSON's own types; a revision's answer is null until there is one, times are ISO 8601 in UTC."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: plain(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, datetime):
        return record.isoformat()
    if isinstance(record, tuple | list):
        return [plain(item) for item in record]
    return record


# ---------------------------------------------------------------- CSV


def _csv(conversations: Iterator[Whole]) -> Iterator[str]:
    yield write_line(COLUMNS)
    for conversation, _ in conversations:
        for turn in conversation.turns:
            for row in _messages(conversation, turn):
                yield write_line([row.get(name, "") for name in COLUMNS])


def _messages(conversation: Conversation, turn: Turn) -> Iterator[dict[str, Any]]:
    revision, answered = turn.revision, turn.revision.answered
    shared = {
        "conversation_id": conversation.summary.id,
        "title": conversation.summary.title,
        "turn": turn.number,
        "revision": revision.number,
        "state": revision.state,
    }
    named = "; ".join(a.name for a in revision.asked.attachments)
    asked = {"created": revision.created.isoformat(), "text": revision.asked.text, "attachments": named}
    yield {**shared, **asked, "role": "user", "ai_generated": "false"}
    if answered is None:
        return
    given = revision.feedback
    yield {
        **shared,
        "role": "assistant",
        "created": (revision.ended or revision.created).isoformat(),
        "text": answered.reply,
        "reasoning": answered.reasoning,
        "finish_reason": answered.finish_reason,
        "label": ((answered.outcome or {}).get("decision") or {}).get("label") or "",
        "model": answered.model,
        "ai_generated": "true",
        "thumbs": (given.thumbs if given else None) or "",
        "corrected_label": (given.label if given else None) or "",
        "corrected_words": "; ".join(given.words) if given else "",
        "remark": given.text if given else "",
    }


def write_line(cells: Sequence[object]) -> str:
    """One line of CSV (RFC 4180); what a spreadsheet would run as a formula begins with an apostrophe."""
    out = io.StringIO()
    texts = (str(cell) for cell in cells)
    csv.writer(out).writerow([f"'{text}" if _FORMULA.match(text) else text for text in texts])
    return out.getvalue()


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
