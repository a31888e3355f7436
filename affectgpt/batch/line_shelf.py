"""Finished rows as one file of lines, which gets its name when the job is over and keeps the old content until then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from affectgpt.batch.files import replacing
from affectgpt.batch.index import digest_of
from affectgpt.batch.journal import Journal
from affectgpt.batch.records import Done, Row
from affectgpt.batch.row_json import dump_row, load_row, read_head
from affectgpt.errors import OptionError

__all__ = ["LineForm", "LineShelf", "RowLines", "latest"]


class LineForm(Protocol):
    """How a row stands in a line."""

    def dump(self, row: Row) -> bytes:
        """The row as a line, with its end."""
        ...

    def load(self, line: bytes) -> Row:
        """The row of a line. Raises ValueError where it is none."""
        ...

    def head(self, line: bytes) -> tuple[str, Done]:
        """(id, what a ledger remembers) of a line. Raises ValueError where it is no row."""
        ...


class RowLines:
    """The project's own form: `affectgpt.batch.row_json`."""

    def dump(self, row: Row) -> bytes:
        """See `LineForm.dump`."""
        return dump_row(row)

    def load(self, line: bytes) -> Row:
        """See `LineForm.load`."""
        return load_row(line)

    def head(self, line: bytes) -> tuple[str, Done]:
        """See `LineForm.head`."""
        return read_head(line)


class LineShelf:
    """The file `path` in one form of lines. While a job runs its rows wait in the journal, `path` + ".part"."""

    journal_rows: int | None = None
    """Rows in the journal at which it is put on the shelf; None: only when the job is over."""

    def __init__(self, path: Path, form: LineForm) -> None:
        self.path, self._form = path, form
        self.journal_path = path.with_name(path.name + ".part")
        self.failures_path = path.with_name(path.stem + ".failures.jsonl")

    def tidy(self) -> None:
        """Delete what a killed job began to write."""
        self.path.with_name(self.path.name + ".new").unlink(missing_ok=True)

    def heads(self) -> Iterator[tuple[str, Done]]:
        """(id, what is known) of every row on the shelf.

        Raises:
            OptionError: the file holds something else.
        """
        for n, line in enumerate(self._lines(), 1):
            try:
                yield self._form.head(line)
            except ValueError as error:
                raise OptionError(
                    f"{self.path} line {n}: {error}", "it was not written in this form: choose another output"
                ) from None

    def rows(self, journal: Journal) -> Iterator[Row]:
        """Every row, on the shelf or still in the journal, each id once."""
        fresh = latest(journal)
        yield from (self._form.load(line) for line in self._kept(fresh))
        yield from (load_row(line) for line in _lines_at(journal, fresh))

    def n_bytes(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def seal(self, journal: Journal, has_doubles: bool) -> None:
        """Put the journal's rows on the shelf. `has_doubles`: an id may stand more than once by now.

        Raises:
            OutputError: they cannot be written; shelf and journal stay as they are.
        """
        if not (has_doubles or self.path.exists()) and isinstance(self._form, RowLines):
            journal.rename(self.path)
            return
        fresh = latest(journal)
        if fresh or not self.path.exists():
            with replacing(self.path) as file:
                file.writelines(self._kept(fresh))
                for line in _lines_at(journal, fresh):
                    file.write(line if isinstance(self._form, RowLines) else self._form.dump(load_row(line)))
        journal.remove()

    def _kept(self, fresh: dict[bytes, int]) -> Iterator[bytes]:
        return (line for line in self._lines() if digest_of(self._form.head(line)[0]) not in fresh)

    def _lines(self) -> Iterator[bytes]:
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from file


def latest(journal: Journal) -> dict[bytes, int]:
    """The number of the last line of each id, by the id's digest; damaged lines are passed over."""
    found: dict[bytes, int] = {}
    for n, line in enumerate(journal.lines()):
        try:
            found[digest_of(read_head(line)[0])] = n
        except ValueError:
            continue
    return found


def _lines_at(journal: Journal, fresh: dict[bytes, int]) -> Iterator[bytes]:
    wanted = frozenset(fresh.values())
    return (line for n, line in enumerate(journal.lines()) if n in wanted)
