"""The JSON form of what was found in a text.

Version 1. Every key is always there::

    schema_version   "1"
    ai_generated     true
    notice           what the figures are, and how little of a difference can be told
    bounds           what was calibrated: told, spread, cut, false_alarms, half_width, coverage, n_alike, n, hits,
                     hits_unflagged
    sentences        text, start, end, differences [dimension, writer, reader, value, half_width, is_flagged, told],
                     words [word, start, end, share] of those that are flagged, told, rewording
                     rewording: null where none was asked for, else gap, chosen, is_clear and tries [text, gap,
                     similarity, refused, model, prompt]; chosen is the text that stands, or null

A key may be added within a version.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from affectgpt.appraise.difference import Bounds
from affectgpt.perspective.findings import SentenceReading
from affectgpt.perspective.rewording import Rewording

__all__ = ["NOTICE", "SCHEMA_VERSION", "to_json"]

SCHEMA_VERSION = "1"

NOTICE = (
    "A guess at what a writer and a reader are likely to feel, by ratings of English sentences. Most of what parts two "
    "sides' ratings cannot be told from the words: a sentence that is not flagged may still be felt otherwise."
)
"""Shown with every reading, wherever a person sees it."""


def to_json(
    sentences: Sequence[SentenceReading], bounds: Bounds, rewordings: Mapping[int, Rewording] | None = None
) -> dict[str, Any]:
    """The document; `rewordings` by the sentence's number."""
    asked = rewordings or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "ai_generated": True,
        "notice": NOTICE,
        "bounds": _plain(dataclasses.asdict(bounds)),
        "sentences": [_sentence(s, asked.get(k)) for k, s in enumerate(sentences)],
    }


def _sentence(sentence: SentenceReading, rewording: Rewording | None) -> dict[str, Any]:
    row = dataclasses.asdict(sentence)
    row["differences"] = [
        {**dataclasses.asdict(d), "told": d.told if d.is_flagged else ""} for d in sentence.differences
    ]
    return {**_plain(row), "told": sentence.told, "rewording": _rewording(rewording) if rewording else None}


def _rewording(found: Rewording) -> dict[str, Any]:
    tries = [_plain(dataclasses.asdict(t)) for t in found.tries]
    chosen = found.chosen.text if found.chosen else None
    return {"gap": found.gap, "chosen": chosen, "is_clear": found.is_clear, "tries": tries}


def _plain(value: Any) -> Any:
    """JSON's own types; a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
