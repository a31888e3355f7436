"""A row as one line of JSON, and back.

The line's keys, version 1 of the document of `affectgpt.record_json`; every key is always there:

    id, number, status   see `affectgpt.batch.records.Row`
    fingerprints         media_sha256, perception, answer
    media_stamp, media
    error                null, or stage, type, message, attempts
    explanation          what `affectgpt explain --json` calls `answer`; null where no model was asked
    schema_version, ai_generated, clip, observations, left_out, transcript, appraisal, decision, grounding, completion,
    timings_s, versions  as `affectgpt explain --json` writes them; null, and `ai_generated` false, where there is no
                         outcome
    extra                the item's other columns
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from affectgpt.batch.plain import plain, sound
from affectgpt.batch.records import Done, Failure, Fingerprints, Row

__all__ = ["OUTCOME_KEYS", "dump_row", "from_json", "load_row", "read_head", "to_json"]

OUTCOME_KEYS: Final = (
    "schema_version",
    "ai_generated",
    "clip",
    "observations",
    "left_out",
    "transcript",
    "appraisal",
    "decision",
    "answer",
    "grounding",
    "completion",
    "timings_s",
    "versions",
)
"""Keys of an outcome's document; `answer` stands as `explanation` in a row."""

_HEAD_END: Final = b', "media": '
"""In a line that this module wrote the first of these begins the key: within a text every quotation mark is escaped,
so the mark before `media` opens a text, and a text that a colon follows is a key."""

_OWN_KEYS: Final = ("id", "number", "status", "fingerprints", "media_stamp", "media", "error", "extra")


def to_json(row: Row) -> dict[str, Any]:
    """The row in JSON's own types, what a ledger needs of it first."""
    outcome = row.outcome or {}
    told: dict[str, Any] = {_row_key(key): outcome.get(key) for key in (*OUTCOME_KEYS, *outcome)}
    told["ai_generated"] = bool(told["ai_generated"])
    return {
        "id": sound(row.id),
        "number": row.number,
        "status": row.status,
        "fingerprints": asdict(row.fingerprints),
        "media_stamp": row.media_stamp,
        "media": None if row.media is None else sound(row.media),
        "error": plain(asdict(row.error)) if row.error else None,
        **told,
        "extra": plain(row.extra),
    }


def from_json(document: Any) -> Row:
    """The row that `to_json` gave.

    Raises:
        ValueError: no row.
    """
    try:
        error = document["error"]
        told = {key: value for key, value in document.items() if key not in _OWN_KEYS}
        has_outcome = told["schema_version"] is not None
        return Row(
            id=_text(document["id"]),
            number=int(document["number"]),
            status=_done(document).status,
            fingerprints=_done(document).fingerprints,
            media=document["media"],
            media_stamp=document["media_stamp"],
            outcome={_outcome_key(k): v for k, v in told.items()} if has_outcome else None,
            error=Failure(**error) if error is not None else None,
            extra=document["extra"],
        )
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"no row of a batch ({fault!r})") from None


def dump_row(row: Row) -> bytes:
    """The row as a line of JSON in UTF-8, with its end."""
    return json.dumps(to_json(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def load_row(line: bytes) -> Row:
    """The row of a line. Raises ValueError where it is none."""
    try:
        return from_json(json.loads(line))
    except RecursionError:
        raise ValueError("no row of a batch (nested too deeply)") from None


def read_head(line: bytes) -> tuple[str, Done]:
    """(id, what a ledger remembers) of a line, without reading all of it. Raises ValueError where it is no row."""
    end = line.find(_HEAD_END)
    try:
        head = json.loads(line[:end] + b"}" if end > 0 else line)
        return _text(head["id"]), _done(head)
    except (KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise ValueError(f"no row of a batch ({fault!r})") from None


def _done(head: Mapping[str, Any]) -> Done:
    if head["status"] not in ("ok", "failed"):
        raise ValueError(f"no row of a batch (status {head['status']!r})")
    return Done(head["status"], Fingerprints(**head["fingerprints"]), head["media_stamp"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no row of a batch (id {value!r})")
    return value


def _row_key(key: str) -> str:
    return "explanation" if key == "answer" else key


def _outcome_key(key: str) -> str:
    return "answer" if key == "explanation" else key
