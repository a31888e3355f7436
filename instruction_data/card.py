"""The data card: what is in a data set, where it comes from, under which licences, and what was dropped for what."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from affectgpt.errors import InputError, MissingDependency
from affectgpt.parsing import parse_text
from affectgpt.records import Explanation, InstructionExample
from instruction_data.card_page import page
from instruction_data.exports import split_files
from instruction_data.sentences import NAMES_CONFLICT
from instruction_data.store import read_rows, replacing, write_json

__all__ = ["COUNTS", "describe", "read_counts", "write_card"]

COUNTS = "build.json"
"""What only the build knows: what it tried, what it dropped, what it left out."""
N_SKELETONS = 2000
"""Explanations whose shapes are counted: enough to see a grammar's breadth, in seconds."""
_CHANNELS = {"F": "face", "V": "voice", "S": "words"}


@dataclass(slots=True)
class _Tally:
    """Counts of one split."""

    rows: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    conflicts: int = 0
    words: dict[str, list[int]] = field(default_factory=dict)
    explained: list[str] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=lambda: {"speakers": set(), "dialogues": set(), "media": set()})
    licences: dict[str, str] = field(default_factory=dict)

    def add(self, e: InstructionExample) -> None:
        p = e.provenance
        self.rows += 1
        self.tasks[e.task] += 1
        self.writers[f"{p.writer} {p.writer_version}".strip()] += 1
        self.prompts[f"{p.prompt_id} {p.prompt_version}"] += 1
        self.licences |= {s.set: s.licence for s in p.sources}
        self.sources.update({s.set for s in p.sources})
        self.words.setdefault(e.task, []).append(len(e.answer.split()))
        self.channels[
            " + ".join(name for letter, name in _CHANNELS.items() if _shows(p.observations, letter)) or "none"
        ] += 1
        for name, listed in (("speakers", p.speaker), ("dialogues", p.dialogue)):
            self.keys[name].update(filter(None, listed.split("; ")))
        self.keys["media"].update(p.media_sha256)
        if e.task == "explain" and isinstance(answer := parse_text(e.answer), Explanation):
            self.labels[answer.conclusion.label or "cannot tell"] += 1
            self.conflicts += bool(NAMES_CONFLICT.search(answer.interpretation))
            if len(self.explained) < N_SKELETONS:
                self.explained.append(answer.interpretation)


def describe(folder: Path) -> dict[str, Any]:
    """Everything the card says, counted from the rows themselves and from the build's own counts.

    Raises:
        OptionError: no rows there. InputError: a malformed row.
    """
    splits, tallies = {}, {}
    for split, path in split_files(folder).items():
        tally = _Tally()
        for example in read_rows(path):
            tally.add(example)
        tallies[split] = tally
        splits[split] = _told(tally) | {"sha256": _hash(path)}
    counts = read_counts(folder)
    shared = {
        kind: {f"{a} and {b}": len(tallies[a].keys[kind] & tallies[b].keys[kind]) for a, b in _pairs(tallies)}
        for kind in ("speakers", "dialogues", "media")
    }
    licences = {name: text for tally in tallies.values() for name, text in tally.licences.items()}
    return {"licences": dict(sorted(licences.items())), "splits": splits, "shared_by_splits": shared, **counts}


def write_card(folder: Path) -> Path:
    """Write card.json and card.md beside the rows; returns the latter."""
    told = describe(folder)
    write_json(folder / "card.json", told)
    with replacing(folder / "card.md") as file:
        file.write(page(folder.name, told))
    return folder / "card.md"


def read_counts(folder: Path) -> dict[str, Any]:
    """The build's counts; empty where none are there. Raises InputError where they cannot be read."""
    path = folder / COUNTS
    if not path.is_file():
        return {}
    try:
        counts = json.loads(path.read_text("utf-8"))
    except ValueError:
        counts = None
    if not isinstance(counts, dict):
        raise InputError(f"{path} is damaged", "build again with --fresh")
    return counts


def _told(t: _Tally) -> dict[str, Any]:
    lengths = {task: _quantiles(n) for task, n in sorted(t.words.items())}
    told = {
        "rows": t.rows,
        **{name: dict(getattr(t, name).most_common()) for name in ("tasks", "sources", "writers", "prompts")},
        "channels": dict(t.channels.most_common()),
        "words_of_an_answer": lengths,
        **{f"n_{name}": len(keys) for name, keys in t.keys.items()},
    }
    if t.explained:
        told |= {"labels": dict(t.labels.most_common()), "conflicts_named": t.conflicts, **_shapes(t.explained)}
    return told


def _shapes(explained: list[str]) -> dict[str, Any]:
    """How various the explanations are: their shapes, and the share of different word pairs (distinct-2)."""
    pairs: Counter[tuple[str, str]] = Counter()
    for text in explained:
        words = text.lower().split()
        pairs.update(pairwise(words))
    found: dict[str, Any] = {"explanations_looked_at": len(explained)}
    found["distinct_2"] = round(len(pairs) / max(1, sum(pairs.values())), 4)
    try:
        from instruction_data.skeletons import count_skeletons

        found["skeletons"] = count_skeletons(explained)
    except MissingDependency:
        found["skeletons"] = None
    return found


def _quantiles(n: list[int]) -> dict[str, float]:
    cuts = statistics.quantiles(n, n=20, method="inclusive") if len(n) > 1 else [n[0]] * 19
    return {"least": min(n), "p5": round(cuts[0]), "median": round(cuts[9]), "p95": round(cuts[18]), "most": max(n)}


def _shows(ids: Iterable[str], letter: str) -> bool:
    return any(i.startswith(letter) for i in ids)


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    listed = list(names)
    return [(a, b) for i, a in enumerate(listed) for b in listed[i + 1 :]]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
