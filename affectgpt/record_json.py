"""The JSON form of an `Outcome`: complete, stable, and valid JSON (a NaN or an infinity becomes null).

The document's shape, version 1. Every key is always there; a thing that does not exist is null, never left out::

    schema_version   "1"
    ai_generated     true
    clip             path, duration_s, fps, has_video, has_audio, width_px, height_px, rotation_deg, is_image,
                     n_subtitle_streams; null for a transcript alone
    observations     id, modality, cue, text, start_s, end_s, value, level, baseline, baseline_kind, confidence,
                     quote, is_missing: a list, in the prompt's order
    left_out         {modality: count} that the bottleneck kept back
    transcript       source, language, model, note, utterances [text, start_s, end_s, confidence, speaker, words]
    appraisal        by_modality, reliability, fused, conflicts, carried_by {modality: observation ids}, weights,
                     compounds {name: probability}, course [start_s, end_s, fused, weights], emotion_set {labels,
                     abstains, coverage} or null, read_by; null where there was no evidence
    decision         label, by (appraisal or llm), appraisal, llm: the basic label that counts, and what each said;
                     is_disputed where the two differ
    answer           null where no engine was asked, or where there was no evidence to ask about; else `parsed` and
                     parsed true:  observations [text], interpretation, conclusion {emotions, label, valence, arousal,
                                   dominance, confidence, text}, claims [text, section, cites, verdict, reason],
                                   distribution, raw; reason null
                                   revision: null, or where the evidence contradicted the first interpretation
                                   {n_asked, first [claims], first_raw, withdrawn [claims], note}: how often the model
                                   was asked again, the first answer, and the sentences that the interpretation leaves
                                   out. raw is then the last text, with those sentences in it
                     parsed false: raw and reason; every other key null
    grounding        {supported, contradicted, uncited, total} of the answer's claims, and withdrawn: sentences that
                     are not among them; or null
    completion       engine, model, prompt_id, prompt_version, n_prompt_tokens, n_completion_tokens (of every time the
                     model was asked), finish_reason, reasoning
    timings_s        {step: wall seconds}, with `total`; face and voice overlap
    versions         {package or reader: version}

A key may be added within a version; one is never renamed or given another meaning without a new version.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affectgpt.records import (
    CheckedClaim,
    Claim,
    EmotionDistribution,
    Explanation,
    Observation,
    Outcome,
    Revision,
    UnparsedAnswer,
    Verdict,
)

__all__ = [
    "NOTICE",
    "SCHEMA_VERSION",
    "describe_revision",
    "dumps",
    "leading",
    "plain_record",
    "revision_json",
    "to_json",
]

SCHEMA_VERSION = "1"

NOTICE = "Made by AI. It describes how a person seems, not what they feel."
"""Shown with every outcome, wherever a person reads it."""

# DEL and C1 controls, line separators, and the bidirectional overrides and isolates (Unicode 15, 23.2 and 23.3);
# json.dumps itself escapes the C0 controls. All of them can stand only inside a JSON string.
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_ANSWER_KEYS = (
    "observations",
    "interpretation",
    "conclusion",
    "claims",
    "distribution",
    "raw",
    "reason",
    "revision",
)


def to_json(outcome: Outcome) -> dict[str, object]:
    """The outcome as plain dicts, lists, strings, numbers, booleans and None, in the module's documented shape."""
    return {
        "schema_version": SCHEMA_VERSION,
        "ai_generated": outcome.ai_generated,
        "clip": _plain(outcome.clip),
        "observations": [_observation(o) for o in outcome.observations.items],
        "left_out": _plain(outcome.observations.left_out),
        "transcript": _plain(outcome.transcript),
        "appraisal": _plain(outcome.appraisal),
        "decision": {**_fields(outcome.decision), "is_disputed": outcome.decision.is_disputed},
        "answer": _answer(outcome.answer),
        "grounding": _grounding(outcome.answer),
        "completion": _plain(outcome.completion),
        "timings_s": {step: round(seconds, 4) for step, seconds in outcome.timings_s.items()},
        "versions": _plain(outcome.versions),
    }


def dumps(outcome: Outcome, *, indent: int | None = 2) -> str:
    """`to_json` as text: one JSON document, UTF-8 kept readable, without a final newline.

    Control and text-direction characters, which a terminal would act on, are written as escapes.
    """
    text = json.dumps(to_json(outcome), indent=indent, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def plain_record(record: object) -> dict[str, object]:
    """Any frozen record as JSON's own types, a key a field; a NaN or an infinity becomes null.

    Raises:
        TypeError: a value in it that has no JSON form.
    """
    return _fields(record)


def leading(distribution: EmotionDistribution, n: int) -> list[tuple[str, float]]:
    """The `n` most probable emotions with their probabilities, highest first."""
    return sorted(distribution.probabilities.items(), key=lambda item: -item[1])[:n]


def revision_json(revision: Revision) -> dict[str, Any]:
    """An answer's revision as the document holds it."""
    listed = {"first": revision.first.claims, "withdrawn": revision.withdrawn}
    return {**_fields(revision), **{name: [*map(_claim, claims)] for name, claims in listed.items()}}


def describe_revision(revision: Mapping[str, Any]) -> str:
    """An answer's `revision`, as the document holds it, in words: what was asked again and what came of it."""
    spoken = [c for c in revision["first"] if c["section"] == "interpretation"]
    n_faults = sum(c["verdict"] == Verdict.CONTRADICTED.value for c in spoken)
    n_asked, n_withdrawn = revision["n_asked"], len(revision["withdrawn"])
    often = {1: "once", 2: "twice"}.get(n_asked, f"{n_asked} times")
    what = "1 sentence" if n_faults == 1 else f"{n_faults} sentences"
    ends = f"{max(n_faults - n_withdrawn, 0)} mended, {n_withdrawn} withdrawn"
    note = f" ({revision['note']})" if revision["note"] else ""
    return f"Asked again {often} for {what} that the evidence contradicts: {ends}{note}."


def _observation(observation: Observation) -> dict[str, object]:
    return {**_fields(observation), "is_missing": observation.is_missing}


def _answer(answer: Explanation | UnparsedAnswer | None) -> dict[str, object] | None:
    if answer is None:
        return None
    empty: dict[str, object] = dict.fromkeys(_ANSWER_KEYS)
    if isinstance(answer, UnparsedAnswer):
        return {"parsed": False, **empty, "raw": answer.raw, "reason": answer.reason}
    fields = _fields(answer)
    checked = answer.grounding.claims if answer.grounding else answer.claims
    revision = revision_json(answer.revision) if answer.revision else None
    told = {k: fields[k] for k in fields if k in empty}
    return {"parsed": True, **empty, **told, "claims": [*map(_claim, checked)], "revision": revision}


def _claim(claim: Claim | CheckedClaim) -> dict[str, object]:
    if isinstance(claim, CheckedClaim):
        return {**_fields(claim.claim), "verdict": claim.verdict.value, "reason": claim.reason}
    return {**_fields(claim), "verdict": None, "reason": ""}


def _grounding(answer: Explanation | UnparsedAnswer | None) -> dict[str, int] | None:
    if not isinstance(answer, Explanation) or answer.grounding is None:
        return None
    counts = {verdict.value: answer.grounding.count(verdict) for verdict in Verdict}
    n_withdrawn = len(answer.revision.withdrawn) if answer.revision else 0
    return {**counts, "total": len(answer.grounding.claims), "withdrawn": n_withdrawn}


def _fields(record: object) -> dict[str, object]:
    return {f.name: _plain(getattr(record, f.name)) for f in dataclasses.fields(record)}  # type: ignore[arg-type]


def _plain(value: object) -> object:
    """`value` in JSON's own types; raises TypeError for a type that no record of an outcome holds."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str | Path):
        # A file name need not be UTF-8: its undecodable bytes are lone surrogates, which no JSON reader accepts.
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if hasattr(value, "item"):  # a numpy scalar that a reader left in a record
        return _plain(value.item())
    raise TypeError(f"no JSON form for {type(value).__name__}")
