"""Readers by the name that a suite uses, and gold labels brought into a task's label set."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectgpt import corpora
from affectgpt.corpora import Corpus, Example
from affectgpt.emotions import load_lexicon
from affectgpt.errors import OptionError
from affectgpt.evaluation.suite import DatasetSpec

__all__ = ["READERS", "LabelSet", "open_dataset"]

READERS: Mapping[str, Callable[..., Corpus]] = {
    "meld": corpora.read_meld,
    "goemotions": corpora.read_goemotions,
    "emobank": corpora.read_emobank,
    "emobank_difference": corpora.read_emobank_difference,
    "empathetic_dialogues": corpora.read_empathetic_dialogues,
    "replies": corpora.read_replies,
    "empathic_reactions": corpora.read_empathic_reactions,
    "reccon": corpora.read_reccon,
    "esconv": corpora.read_esconv,
    "ravdess": corpora.read_ravdess,
    "image_folder": corpora.read_image_folder,
    "mer_unibench": corpora.read_mer_unibench,
    "jsonl": corpora.read_jsonl,
}


def open_dataset(spec: DatasetSpec, data: Path, limit: int | None = None, seed: int = 0) -> list[Example]:
    """The examples of a dataset, faulty ones among them; with `limit` that many, drawn by the seed, in file order.

    Raises:
        OptionError: an unknown reader, an option it does not take, or a `where` that nothing fits. InputError: no data.
    """
    if spec.reader not in READERS:
        raise OptionError(f"no reader {spec.reader!r}", f"choose of {', '.join(READERS)}")
    read = READERS[spec.reader]
    allowed = list(inspect.signature(read).parameters)[1:]
    options = dict(spec.options)
    unknown = [o for o in options if o not in allowed]
    if unknown:
        raise OptionError(
            f"the reader {spec.reader} takes no {unknown[0]!r}", f"it takes {', '.join(allowed) or 'nothing'}"
        )
    if "labels" in options:
        options["labels"] = data / str(options["labels"])
    try:
        rows = list(read(data / spec.path, **options))
    except TypeError as error:
        raise OptionError(f"the reader {spec.reader}: {error}", "see examples/suites") from None
    rows = [r for r in rows if all((r.label if k == "label" else r.group.get(k)) == v for k, v in spec.where.items())]
    if not rows:
        raise OptionError(f"{spec.path} holds no rows where {dict(spec.where)}", "check the path and `where:`")
    if limit is None or limit >= len(rows):
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[i] for i in kept]


class LabelSet:
    """A task's labels, and the way of other spellings into them."""

    def __init__(self, labels: str | Sequence[str]) -> None:
        lexicon = load_lexicon()
        self.name = labels if isinstance(labels, str) else None
        self.labels: tuple[str, ...] = lexicon.labels(labels) if isinstance(labels, str) else tuple(labels)
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise OptionError(f"labels {list(self.labels)}", "name each label once")

    def place(self, word: str) -> str | None:
        """The label that a word stands for: itself, its place in the lexicon's set, or the one of its basic emotion."""
        if word in self.labels:
            return word
        lexicon = load_lexicon()
        if self.name:
            return lexicon.to_set(word, self.name)
        found = lexicon.resolve(word)
        if found is None:
            return None
        nodes = {label: r for label in self.labels if (r := lexicon.resolve(label))}
        same = next((label for label, r in nodes.items() if r.node == found.node), None)
        return same or next((label for label, r in nodes.items() if r.node == r.basic == found.basic), None)

    def settle(self, example: Example) -> tuple[Example, str]:
        """The example with its gold in this set, and the fault where a gold label has no place in it."""
        placed = {word: self.place(word) for word in {*example.labels, *([example.label] if example.label else [])}}
        lost = [word for word, label in placed.items() if label is None]
        if lost:
            return example, f"unknown label {min(lost)!r} in the gold"
        labels = tuple(dict.fromkeys(placed[w] or "" for w in example.labels))
        return replace(example, label=placed.get(example.label or ""), labels=labels), ""

    def spread(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Probabilities over other labels as probabilities over these; what has no place here is shared out."""
        found = dict.fromkeys(self.labels, 0.0)
        for word, p in probabilities.items():
            label = self.place(word)
            if label is not None:
                found[label] += p
        total = sum(found.values())
        return {k: v / total for k, v in found.items()} if total > 0 else {}


def options_of(kind: Callable[..., Any]) -> list[str]:
    """The keyword options that a constructor takes."""
    return [p for p in inspect.signature(kind).parameters if p not in ("self", "labels")]
