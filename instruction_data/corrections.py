"""Answers that people corrected, from the JSON lines of `affectgpt serve feedback`: evidence with a person's gold.

Only what was given with consent to reuse is taken, whatever else the file holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from affectgpt.corpora import Corpus, Example
from affectgpt.corpora.tables import json_lines
from affectgpt.emotions import load_lexicon
from affectgpt.records import BaselineKind, Modality, Observation

__all__ = ["CORRECTION", "read_corrections"]

CORRECTION = "affectgpt.correction/1"
"""The form of a line; another one is a fault, not a guess."""
MOST_OBSERVATIONS, LONGEST_TEXT = 200, 2000
_FIELDS = tuple(f.name for f in dataclasses.fields(Observation))


def read_corrections(path: Path | str) -> Corpus:
    """One example a line: `label` the basic label, `labels` the feeling in words, `observations` the evidence.

    `group.dialogue` is the first recording's hash, else the conversation's: no clip stands in two splits.

    Raises:
        InputError: no such file, or one that is not UTF-8.
    """
    path = Path(path)
    return Corpus(path.stem, (_example(n, row) for n, row in json_lines(path)))


def _example(n: int, row: Mapping[str, Any] | None) -> Example:
    if row is None or row.get("kind") != CORRECTION:
        return Example(f"line{n}", fault=f"no line of {CORRECTION}")
    name = str(row.get("id") or f"line{n}")
    if row.get("consent_to_reuse") is not True:
        return Example(name, fault="no consent to reuse")
    label, words = row.get("label"), row.get("words") or []
    if label is not None and label not in load_lexicon().labels("basic8"):
        return Example(name, fault="unknown label")
    if not isinstance(words, list) or not all(isinstance(w, str) and 0 < len(w) <= 100 for w in words):
        return Example(name, fault="words that are none")
    if label is None and not words:
        return Example(name, fault="nothing was corrected")
    try:
        observations = tuple(_observations(row.get("observations")))
    except (TypeError, ValueError, KeyError):
        return Example(name, fault="observations of another form")
    media = [str(sha) for sha in row.get("media_sha256") or []]
    group = {"dialogue": media[0] if media else str(row.get("dialogue") or name), "media": media[0] if media else ""}
    return Example(name, label=label, labels=tuple(words), group=group, observations=observations)


def _observations(rows: Any) -> Iterator[Observation]:
    """Raises TypeError, ValueError or KeyError for what is none."""
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_OBSERVATIONS:
        raise ValueError("no list of observations")
    for row in rows:
        told = {name: row[name] for name in _FIELDS if name in row}
        texts = (told["id"], told["cue"], told["text"], told.get("quote") or "")
        if not all(isinstance(t, str) and len(t) <= LONGEST_TEXT for t in texts):
            raise ValueError("a text")
        numbers = (told.get(name) for name in ("start_s", "end_s", "value", "baseline", "confidence"))
        if not all(x is None or (isinstance(x, int | float) and not isinstance(x, bool)) for x in numbers):
            raise ValueError("a number")
        if told.get("baseline_kind") not in (None, *get_args(BaselineKind)):
            raise ValueError("a baseline's kind")
        yield Observation(**{**told, "modality": Modality(told["modality"])})
