"""The emotion-wheel metric of MER-UniBench (Lian et al. 2025, arXiv 2501.16566), computed as its authors compute it.

It is here to compare with published figures, its known faults included: words that no wheel knows are deleted, a
sample whose gold is deleted is left out, ties are broken by the alphabet, and extra labels cost a hit rate nothing.
`open_vocabulary` holds the metric that this project trusts. The lexicon's files are the authors' and are read from a
folder: format.csv (surface form -> base words), synonym.xlsx (8 runs: word -> wheel word), wheel1.xlsx .. wheel5.xlsx.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from affectgpt.errors import InputError, MediaNotFound, MissingDependency

__all__ = ["N_WHEELS", "Overlap", "Wheels", "hit_rate", "load_wheels", "overlap", "split_words"]

N_WHEELS = 5
N_RUNS = 8
Level = Literal[1, 2]
Mapper = Callable[[str], str | None]

_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Cells that the authors' reader (pandas) takes for missing: a label may be spelled so."""


@dataclass(frozen=True, slots=True)
class Wheels:
    """The metric's lexicon.

    formats: surface form -> base words, in file order. synonyms: base word -> wheel words. sectors: (wheel, level) ->
    wheel word -> cluster.
    """

    formats: Mapping[str, Sequence[str]]
    synonyms: Mapping[str, Sequence[str]]
    sectors: Mapping[tuple[int, int], Mapping[str, str]]

    def m1(self, word: str) -> str | None:
        """M1: the alphabetically first base word."""
        bases = self.formats.get(word)
        return min(bases) if bases else None

    def m2(self, word: str) -> str | None:
        """M2: the alphabetically first wheel word of the M1 base."""
        base = self.m1(word)
        return None if base is None else min(self.synonyms[base])

    def m3(self, wheel: int, level: Level) -> Mapper:
        """M3 on one wheel: the first of all candidate wheel words, by the alphabet, that the wheel holds."""
        sector = self.sectors[wheel, level]

        def group(word: str) -> str | None:
            candidates = {w for base in self.formats.get(word, ()) for w in self.synonyms[base]}
            return next((sector[w] for w in sorted(candidates) if w in sector), None)

        return group

    def mappers(self) -> dict[str, Mapper]:
        """All twelve: M1, M2, and M3 over five wheels at both levels."""
        levels: tuple[Level, Level] = (1, 2)
        third = {f"M3-W{w}-L{n}": self.m3(w, n) for w in range(1, N_WHEELS + 1) for n in levels}
        return {"M1": self.m1, "M2": self.m2, **third}


@dataclass(frozen=True, slots=True)
class Overlap:
    """Set precision, recall and F in [0, 1]; `n` samples entered, `n_dropped` had no gold that the wheel knows."""

    precision: float
    recall: float
    n: int
    n_dropped: int

    @property
    def f(self) -> float:
        """Harmonic mean of the *mean* precision and recall, as the authors take it; 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def split_words(text: str | Sequence[str]) -> list[str]:
    """A list as models print it ("['calm', 'happy']", "calm, happy") as lower-case words; quotes and commas part."""
    if not isinstance(text, str):
        return [str(w).lower().strip() for w in text]
    bare = text.removeprefix("[").removesuffix("]")
    return [w.strip().lower() for w in re.split("['\",]", bare) if w.strip()]


def overlap(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], group: Mapper) -> Overlap:
    """Mean set precision and recall after mapping; a sample whose gold maps to nothing is left out."""
    precisions, recalls, dropped = [], [], 0
    for truth, said in zip(gold, predicted, strict=True):
        g, p = _mapped(truth, group), _mapped(said, group)
        if not g:
            dropped += 1
            continue
        shared = len(g & p)
        precisions.append(shared / len(p) if p else 0.0)
        recalls.append(shared / len(g) if p else 0.0)
    n = len(precisions)
    return (
        Overlap(float(np.mean(precisions)), float(np.mean(recalls)), n, dropped) if n else Overlap(0.0, 0.0, 0, dropped)
    )


def hit_rate(gold: Sequence[str], predicted: Sequence[Sequence[str]], wheels: Wheels) -> tuple[float, tuple[int, ...]]:
    """Mean over the five wheels, level 1, of "the mapped gold is among the mapped answers"; and the n of each wheel."""
    rates, sizes = [], []
    for wheel in range(1, N_WHEELS + 1):
        group = wheels.m3(wheel, 1)
        hits = [
            g in _mapped(said, group)
            for truth, said in zip(gold, predicted, strict=True)
            if (g := group(truth.lower().strip()))
        ]
        rates.append(float(np.mean(hits)) if hits else 0.0)
        sizes.append(len(hits))
    return float(np.mean(rates)), tuple(sizes)


def _mapped(words: Iterable[str], group: Mapper) -> set[str]:
    return {g for w in words if (g := group(w.lower().strip()))}


# ---------------------------------------------------------------- the authors' files


def load_wheels(folder: Path | str, forms: Mapping[str, Sequence[str]] | None = None) -> Wheels:
    """Read the lexicon's seven files. `forms` (base word -> surface forms) stand in place of that word's in format.csv.

    Releases differ in single rows: in MER2025's "fear" stands among the forms of "fearless", in MER2026's it does not.

    Raises:
        MediaNotFound: a file is missing. InputError: it is of another shape. MissingDependency: openpyxl.
    """
    folder = Path(folder)
    trees = {wheel: _tree(folder / f"wheel{wheel}.xlsx") for wheel in range(1, N_WHEELS + 1)}
    formats, synonyms = _formats(folder / "format.csv", forms or {}), _synonyms(folder / "synonym.xlsx")
    lost = sorted({b for bases in formats.values() for b in bases} - synonyms.keys())
    if lost:
        raise InputError(
            f"{folder}: format.csv has words that synonym.xlsx lacks ({lost[0]!r})", "take both of one release"
        )
    sectors = {(w, n): _sectors(tree, n) for w, tree in trees.items() for n in (1, 2)}
    return Wheels(formats, synonyms, sectors)


def _formats(path: Path, instead: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    if not path.is_file():
        raise MediaNotFound(
            f"no emotion-wheel file at {path}", "give the folder with format.csv, synonym.xlsx, wheel1-5"
        )
    found: dict[str, list[str]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))):
        base, listed = row.get("name") or "", row.get("format") or ""
        if base in _MISSING:
            continue
        for form in instead.get(base, [] if listed in _MISSING else _pieces(listed)):
            found[form].append(base)
        found[base].append(base)
    return dict(found)


def _synonyms(path: Path) -> dict[str, list[str]]:
    rows = _sheet(path)
    head = [str(c) for c in rows[0]]
    found: dict[str, set[str]] = defaultdict(set)
    for run in range(1, N_RUNS + 1):
        word_at, listed_at = head.index(f"word_run{run}"), head.index(f"synonym_run{run}")
        for row in rows[1:]:
            word = str(row[word_at]).strip().lower()
            found[word].add(word)
            for synonym in _pieces(str(row[listed_at] or "")):
                found[synonym.lower()].add(word)
    return {word: sorted(targets) for word, targets in found.items()}


def _tree(path: Path) -> dict[str, dict[str, list[str]]]:
    """Level 1 -> level 2 -> level 3; an empty cell repeats the one above."""
    tree: dict[str, dict[str, list[str]]] = {}
    current = ["", "", ""]
    for row in _sheet(path)[1:]:
        for i, cell in enumerate(row[:3]):
            if cell is not None:
                current[i] = str(cell).lower().strip()
        tree.setdefault(current[0], {}).setdefault(current[1], []).append(current[2])
    return tree


def _sectors(tree: Mapping[str, Mapping[str, Sequence[str]]], level: int) -> dict[str, str]:
    """Wheel word -> cluster; a word that stands twice goes where it stands last, as in the authors' loop."""
    found: dict[str, str] = {}
    for first, branches in tree.items():
        found[first] = first if level == 1 else min(branches)
        for second, leaves in branches.items():
            cluster = first if level == 1 else second
            found[second] = cluster
            found.update(dict.fromkeys(leaves, cluster))
    return found


def _pieces(listed: str) -> list[str]:
    bare = listed.removeprefix("[").removesuffix("]")
    return [w.strip() for w in re.split("['\",]", bare) if w.strip()]


def _sheet(path: Path) -> list[tuple[object, ...]]:
    if not path.is_file():
        raise MediaNotFound(
            f"no emotion-wheel file at {path}", "give the folder with format.csv, synonym.xlsx, wheel1-5"
        )
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingDependency("openpyxl is not installed", "pip install 'affectgpt[eval]'") from None
    book = load_workbook(path, read_only=True, data_only=True)
    try:
        return [tuple(row) for row in book.worksheets[0].iter_rows(values_only=True) if any(c is not None for c in row)]
    finally:
        book.close()
