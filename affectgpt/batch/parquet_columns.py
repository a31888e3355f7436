"""A row as columns of a table, and back.

Found of everything that one counts, filters or plots by, a column each:

    id, number, status, media, ai_generated
    label                          the basic label that counts (`decision.label`)
    valence, arousal, dominance    of the fused appraisal, in [-1, 1]
    emotions, confidence           of the answer's conclusion
    interpretation, conclusion     the answer's own words
    engine, model, prompt_id, prompt_version, n_prompt_tokens, n_completion_tokens
    duration_s, total_s            of the clip; of the work on it
    media_sha256, perception, answer_fingerprint, media_stamp
    error_stage, error_type, error_message, attempts
    observations                   a list of structs, as in the document

and, as JSON in a text, what else a row holds (`JSON_COLUMNS`). From these, and from the first, third to last and last
group above, the row is made again; the other columns are drawn from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from affectgpt.batch.records import Done, Fingerprints, Row
from affectgpt.batch.row_json import from_json, to_json
from affectgpt.errors import MissingDependency

__all__ = [
    "HEAD_COLUMNS",
    "JSON_COLUMNS",
    "OBSERVATION_FIELDS",
    "head_of",
    "open_arrow",
    "row_of",
    "schema",
    "to_columns",
]

HEAD_COLUMNS: Final = ("id", "status", "media_sha256", "perception", "answer_fingerprint", "media_stamp")

JSON_COLUMNS: Final = (
    "explanation",
    "appraisal",
    "decision",
    "grounding",
    "clip",
    "transcript",
    "left_out",
    "completion",
    "timings_s",
    "versions",
    "extra",
)

OBSERVATION_FIELDS: Final = {
    "id": "string",
    "modality": "string",
    "cue": "string",
    "text": "string",
    "start_s": "float64",
    "end_s": "float64",
    "value": "float64",
    "level": "string",
    "baseline": "float64",
    "baseline_kind": "string",
    "confidence": "float64",
    "quote": "string",
    "is_missing": "bool",
}
"""Arrow types of what the document holds of an observation."""

_COLUMNS: Final = {
    "id": "string",
    "number": "int64",
    "status": "string",
    "media": "string",
    "ai_generated": "bool",
    "label": "string",
    "valence": "float64",
    "arousal": "float64",
    "dominance": "float64",
    "confidence": "float64",
    "interpretation": "string",
    "conclusion": "string",
    "engine": "string",
    "model": "string",
    "prompt_id": "string",
    "prompt_version": "string",
    "n_prompt_tokens": "int64",
    "n_completion_tokens": "int64",
    "duration_s": "float64",
    "total_s": "float64",
    "media_sha256": "string",
    "perception": "string",
    "answer_fingerprint": "string",
    "media_stamp": "string",
    "error_stage": "string",
    "error_type": "string",
    "error_message": "string",
    "attempts": "int64",
    "schema_version": "string",
    **dict.fromkeys(JSON_COLUMNS, "string"),
}


def open_arrow() -> tuple[Any, Any]:
    """(pyarrow, pyarrow.parquet). Raises MissingDependency."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency("Parquet needs pyarrow", "pip install 'affectgpt[batch]'") from error
    return pyarrow, pyarrow.parquet


def schema(arrow: Any) -> Any:
    """The table's schema; `affectgpt.batch` says in its metadata what wrote it."""
    kinds = {"string": arrow.string(), "int64": arrow.int64(), "float64": arrow.float64(), "bool": arrow.bool_()}
    observation = arrow.struct([(name, kinds[kind]) for name, kind in OBSERVATION_FIELDS.items()])
    fields = [(name, kinds[kind]) for name, kind in _COLUMNS.items()]
    fields += [("emotions", arrow.list_(arrow.string())), ("observations", arrow.list_(observation))]
    return arrow.schema(fields, metadata={"affectgpt.batch": "rows 1"})


def to_columns(row: Row) -> dict[str, Any]:
    """The row's value in every column."""
    document = to_json(row)
    explanation, appraisal = document["explanation"] or {}, document["appraisal"] or {}
    conclusion, fused = explanation.get("conclusion") or {}, appraisal.get("fused") or {}
    completion, error = document["completion"] or {}, document["error"] or {}
    prints = row.fingerprints
    return {
        **{name: document[name] for name in ("id", "number", "status", "media", "ai_generated", "media_stamp")},
        "schema_version": document["schema_version"],
        "label": (document["decision"] or {}).get("label"),
        **{name: fused.get(name) for name in ("valence", "arousal", "dominance")},
        "confidence": conclusion.get("confidence"),
        "emotions": conclusion.get("emotions"),
        "interpretation": explanation.get("interpretation"),
        "conclusion": conclusion.get("text"),
        **{k: completion.get(k) for k in ("engine", "model", "prompt_id", "prompt_version")},
        **{k: completion.get(k) for k in ("n_prompt_tokens", "n_completion_tokens")},
        "duration_s": (document["clip"] or {}).get("duration_s"),
        "total_s": (document["timings_s"] or {}).get("total"),
        "media_sha256": prints.media_sha256,
        "perception": prints.perception,
        "answer_fingerprint": prints.answer,
        **{f"error_{name}": error.get(name) for name in ("stage", "type", "message")},
        "attempts": error.get("attempts"),
        "observations": document["observations"],
        **{name: _json(document[name]) for name in JSON_COLUMNS},
    }


def row_of(columns: Mapping[str, Any]) -> Row:
    """The row of which these are the columns. Raises ValueError where they are none."""
    try:
        document = {
            name: columns[name] for name in ("id", "number", "status", "media", "media_stamp", "schema_version")
        }
        document |= {name: columns[name] for name in ("ai_generated", "observations")}
        document |= {name: None if columns[name] is None else json.loads(columns[name]) for name in JSON_COLUMNS}
        error = {name: columns[f"error_{name}"] for name in ("stage", "type", "message")}
        document["error"] = None if error["type"] is None else {**error, "attempts": columns["attempts"]}
        document["fingerprints"] = _prints(columns)
        return from_json(document)
    except (KeyError, TypeError) as fault:
        raise ValueError(f"no row of a batch ({fault!r})") from None


def head_of(columns: Mapping[str, Any]) -> tuple[str, Done]:
    """(id, what a ledger remembers) of a row's `HEAD_COLUMNS`."""
    return columns["id"], Done(columns["status"], Fingerprints(**_prints(columns)), columns["media_stamp"])


def _prints(columns: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        "media_sha256": columns["media_sha256"],
        "perception": columns["perception"],
        "answer": columns["answer_fingerprint"],
    }


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)
