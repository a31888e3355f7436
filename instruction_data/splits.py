"""Which split a row belongs to, by the people and dialogues in it; and what a test set already holds."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from affectgpt.errors import OptionError
from affectgpt.records.instruction import Split
from instruction_data.tracks import hash_file

__all__ = ["Splitter", "TestFiles", "fold"]

_TEXT_SUFFIXES = frozenset({".txt", ".csv", ".tsv", ".json", ".jsonl", ".srt", ".vtt"})
FEWEST_WORDS = 4
"""A shorter line stands in any corpus: finding "I don't know." in a test set means nothing."""
LARGEST_FILE_MB = 512


class Splitter:
    """Keys (a speaker, a dialogue, a recording's hash) to splits, each by its own hash and the same for ever.

    shares: split -> share of keys, together 1.
    """

    def __init__(self, shares: Mapping[Split, float], seed: int = 0) -> None:
        if not shares or abs(sum(shares.values()) - 1.0) > 1e-6 or min(shares.values()) < 0:
            raise OptionError(f"the splits' shares are {dict(shares)}", "give shares that add up to 1")
        self._shares = dict(shares)
        self._seed = seed

    def of_key(self, key: str) -> Split:
        """The split of one key."""
        digest = hashlib.blake2b(f"{self._seed}/{key}".encode(), digest_size=8).digest()
        at, reached = int.from_bytes(digest, "big") / 2**64, 0.0
        for split, share in self._shares.items():
            reached += share
            if at < reached:
                return split
        return next(reversed(self._shares))

    def of(self, keys: Iterable[str]) -> Split | None:
        """The split that all keys share; None where they fall apart, so that what holds them may be in neither."""
        found = {self.of_key(key) for key in keys}
        return found.pop() if len(found) == 1 else None


class TestFiles:
    """What a folder of test files holds: hashes of the files, and of every text of some length in them.

    Bounded by eight bytes a text; the texts themselves are not kept.
    """

    __test__ = False  # for pytest: no class of tests

    def __init__(self, folder: Path | None) -> None:
        self.media: set[str] = set()
        self.texts: set[int] = set()
        self.n_files = 0
        if folder is None:
            return
        if not folder.is_dir():
            raise OptionError(f"no folder of test files at {folder}", "correct `test_files`, or leave it out")
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.n_files += 1
            self.media.add(hash_file(path))
            if path.suffix.lower() in _TEXT_SUFFIXES and path.stat().st_size <= LARGEST_FILE_MB * 1_000_000:
                self.texts.update(_hash(text) for text in _texts(path))

    def holds(self, texts: Iterable[str], media_sha256: Iterable[str]) -> str:
        """What of a row stands in the test files, in words; empty where nothing does."""
        if any(sha in self.media for sha in media_sha256):
            return "a recording"
        for text in texts:
            if any(_hash(piece) in self.texts for piece in _pieces(text)):
                return "a text"
        return ""


def fold(text: str) -> str:
    """Lower case, letters and digits only, single spaces: the form in which two texts are the same."""
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(fold(text).encode(), digest_size=8).digest(), "big")


def _pieces(text: str) -> Iterator[str]:
    """The text, and each line of it, where long enough to mean something."""
    for piece in dict.fromkeys((text, *text.splitlines())):
        if len(piece.split()) >= FEWEST_WORDS:
            yield piece


def _texts(path: Path) -> Iterator[str]:
    """Every line of a file, every cell of a table, every text in JSON; what does not parse is taken as lines."""
    content = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix.lower() in (".json", ".jsonl"):
        for part in [content] if path.suffix.lower() == ".json" else content.splitlines():
            try:
                yield from (piece for text in _leaves(json.loads(part)) for piece in _pieces(text))
            except (ValueError, RecursionError):
                yield from _pieces(part)
        return
    yield from _pieces(content)
    if path.suffix.lower() in (".csv", ".tsv"):
        import csv
        import io

        csv.field_size_limit(10_000_000)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        try:
            for row in csv.reader(io.StringIO(content), delimiter=delimiter):
                yield from (piece for cell in row for piece in _pieces(cell))
        except csv.Error:
            return


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
