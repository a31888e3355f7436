"""The row that every reader gives, and the corpus that holds the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from affectgpt.records import Observation

__all__ = ["Corpus", "Example"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a labelled set.

    label: the gold label in the corpus's own spelling; None where the row has none.
    labels: all gold labels where a row may have several, in the corpus's order.
    values: gold numbers by name; valence, arousal and dominance are brought to [-1, 1], sentiment to its sign's scale.
    group: columns to split or to report by (speaker, dialogue, actor, sex), as text.
    context: what was said before in the same dialogue, oldest first.
    spans: pieces of text that caused the emotion, where they are marked.
    references: texts that an answer may be compared with.
    observations: the evidence itself, where a row comes with it instead of with text or media.
    fault: what is wrong with the row, in words; empty for a sound one. A faulty row is kept, so that it is counted.
    """

    id: str
    text: str | None = None
    media: Path | None = None
    label: str | None = None
    labels: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    group: Mapping[str, str] = field(default_factory=dict)
    context: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    observations: tuple[Observation, ...] = ()
    fault: str = ""


class Corpus(Sequence[Example]):
    """All rows of a set, faulty ones among them; `usable` are those to learn from. Ids are unique.

    A row that repeats an id is kept under `id#2`, `id#3` and so on, and carries the fault.
    """

    def __init__(self, name: str, rows: Iterable[Example]) -> None:
        self.name = name
        self._rows = tuple(_checked(rows))

    @property
    def usable(self) -> tuple[Example, ...]:
        """The rows without a fault, in order."""
        return tuple(r for r in self._rows if not r.fault)

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong, by row id."""
        return {r.id: r.fault for r in self._rows if r.fault}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._rows)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, at: int | slice) -> Example | tuple[Example, ...]:
        return self._rows[at]

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {len(self)} rows, {len(self.faults)} faulty)"


def _checked(rows: Iterable[Example]) -> Iterator[Example]:
    """The rows with faults that any corpus may have: a repeated id, a number that is none, nothing to read."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    for row in rows:
        seen[row.id] += 1
        name, n = row.id, seen[row.id]
        while name in taken:
            name, n = f"{row.id}#{n}", n + 1
        taken.add(name)
        fault = row.fault or _fault(row) or ("" if name == row.id else f"repeats the id {row.id}")
        yield row if (name, fault) == (row.id, row.fault) else replace(row, id=name, fault=fault)


def _fault(row: Example) -> str:
    bad = next((name for name, value in row.values.items() if not math.isfinite(value)), None)
    if bad is not None:
        return f"{bad} is not a finite number"
    if row.media is None and not row.observations and not (row.text or "").strip():
        return "neither text nor media"
    return ""
