"""A build's journal: a line a try, kept or dropped, so that a build that was killed goes on where it stood.

The last line may have been cut; it is taken off. Nothing reads a journal but the build: rows get their name only when
all of them are there.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from affectgpt.errors import InputError, OptionError

__all__ = ["Journal", "Try"]


SYNC_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Try:
    """One try: its number, its task, the row as a line of JSON, or why there is none.

    `text` is what a repetition is found by.
    """

    k: int
    task: str
    line: str = ""
    dropped: str = ""
    text: str = ""


@dataclass(slots=True)
class Journal:
    """The tries of one split, in order."""

    path: Path
    fingerprint: str
    n_tried: int = 0
    n_kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    _file: IO[str] | None = None
    _synced_s: float = 0.0

    def __enter__(self) -> Journal:
        """Open, read what is there, and go on behind it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._mend()
        if not self.path.is_file() or not self.path.stat().st_size:
            self.path.write_text(json.dumps({"fingerprint": self.fingerprint}) + "\n", encoding="utf-8")
        for _, row in self._lines():
            self._count(row)
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def add(self, tries: list[Try]) -> None:
        """Append tries. A killed process loses none of them; a power cut loses the last second's at most."""
        assert self._file is not None
        for t in tries:
            row = {"k": t.k, "task": t.task} | (
                {"dropped": t.dropped} if t.dropped else {"row": t.line, "text": t.text}
            )
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._count(row)
        self._file.flush()
        if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced_s = time.monotonic()

    def kept(self) -> Iterator[tuple[str, str]]:
        """(the row as a line of JSON, its text) of every try that was kept, in order."""
        yield from ((row["row"], row["text"]) for _, row in self._lines() if "row" in row)

    def _count(self, row: dict[str, Any]) -> None:
        self.n_tried = max(self.n_tried, row["k"] + 1)
        if "row" in row:
            self.n_kept += 1
        else:
            self.dropped[f"{row['task']}: {row['dropped']}"] += 1

    def _mend(self) -> None:
        """Take off a last line that was cut. Raises OptionError for a journal of another recipe."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return
        with self.path.open("rb+") as file:
            end = _last_line_end(file)
            file.truncate(end)
            if not end:
                return
            file.seek(0)
            head = file.readline()
        try:
            found = json.loads(head).get("fingerprint")
        except (ValueError, AttributeError):
            raise InputError(f"{self.path} is no journal", "delete it, or build with --fresh") from None
        if found != self.fingerprint:
            raise OptionError(
                f"{self.path.parent.parent} holds the beginning of another recipe's rows",
                "build into another folder, or begin anew with --fresh",
            )

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.path.open(encoding="utf-8") as file:
            for n, line in enumerate(file, 1):
                if n == 1:
                    continue
                try:
                    yield n, json.loads(line)
                except ValueError:
                    raise InputError(f"{self.path} line {n} is damaged", "build with --fresh") from None


def _last_line_end(file: IO[bytes]) -> int:
    """The offset behind the last line break; 0 where there is none."""
    at = file.seek(0, os.SEEK_END)
    while at > 0:
        step = min(at, 65536)
        file.seek(at - step)
        found = file.read(step).rfind(b"\n")
        if found >= 0:
            return at - step + found + 1
        at -= step
    return 0
