"""Answers that another program gave, or that a fit on other folds gave, read from JSON lines by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affectgpt.corpora import Example
from affectgpt.corpora.tables import json_lines, number
from affectgpt.errors import InputError, OptionError
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction

__all__ = ["GivenAnswers"]

_KEYS = ("id", "label", "words", "probabilities", "values", "text", "origin")


class GivenAnswers:
    """One JSON object a line: `id`, and any of `label`, `words`, `probabilities`, `values`, `text`.

    path: from the working folder. Labels may be spelled as the lexicon knows them. `origin` in the first line says who
    answered. An example without a line is failed.
    """

    def __init__(self, labels: LabelSet, path: str) -> None:
        self._labels = labels
        self._path = Path(path)
        self._rows: dict[str, Mapping[str, Any]] = {}
        for n, row in json_lines(self._path):
            name = str(row["id"]) if row is not None and "id" in row else ""
            unknown = sorted(row.keys() - set(_KEYS)) if row is not None else []
            if not name or name in self._rows or unknown:
                what = (
                    f"an unknown key {unknown[0]!r}" if unknown else f"a second answer to {name}" if name else "no id"
                )
                raise OptionError(f"{path}, line {n}: {what}", f"one object a line, of {', '.join(_KEYS)}")
            assert row is not None
            self._rows[name] = row
        first: Mapping[str, Any] = next(iter(self._rows.values()), {})
        self.origin = str(first.get("origin") or f"answers of {self._path.name}")

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By id."""
        return [self._one(e.id) for e in examples]

    def _one(self, name: str) -> Answer:
        row = self._rows.get(name)
        if row is None:
            return InputError(f"{self._path.name} has no answer for it", "give one line an example")
        words, label = row.get("words"), row.get("label")
        numbers = [row.get(key) or {} for key in ("probabilities", "values")]
        if not all(isinstance(x, Mapping) for x in numbers) or not isinstance(words, list | None):
            return Prediction(unparsed="words must be a list, probabilities and values mappings")
        p, values = ({str(k): number(v) for k, v in x.items()} for x in numbers)
        spread = self._labels.spread(p) if all(v >= 0 for v in p.values()) else p
        top = str(label) if label else max(spread, key=lambda k: spread[k]) if spread else ""
        placed = self._labels.place(top) if top else None
        said = tuple(map(str, words)) if words else ((placed,) if placed else ())
        if top and placed is None and not said:
            return Prediction(text=top, unparsed=f"{top!r} is no label of the task")
        return Prediction(placed, said, spread, values, str(row.get("text") or ""))
