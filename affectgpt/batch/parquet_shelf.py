"""Finished rows as a folder of Parquet files, each whole from the moment that it has its name.

Columns that one counts and filters by are typed, the observations are a list of structs, and what is nested deeper is
JSON in a text (`affectgpt.batch.parquet_columns`). A folder may hold several shards of a job, each under names of its
own. Names that begin with "_" are passed over by the usual readers of such folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from affectgpt.batch.files import replacing
from affectgpt.batch.index import digest_of
from affectgpt.batch.journal import Journal
from affectgpt.batch.line_shelf import latest
from affectgpt.batch.parquet_columns import HEAD_COLUMNS, head_of, open_arrow, row_of, schema, to_columns
from affectgpt.batch.records import Done, Row
from affectgpt.batch.row_json import load_row
from affectgpt.batch.selection import Shard
from affectgpt.errors import OptionError

__all__ = ["ParquetShelf"]

_GROUP_ROWS = 500
"""Rows of a row group, and so of what is held in memory."""

_T = TypeVar("_T")


class ParquetShelf:
    """Files `rows-00001.parquet` and so on in `folder`, a new one for every `journal_rows` rows.

    Raises:
        MissingDependency: no pyarrow. OptionError: `folder` is a file, or holds the shards of another division.
    """

    def __init__(self, folder: Path, shard: Shard | None = None, journal_rows: int = 10_000) -> None:
        self._arrow, self._parquet = open_arrow()
        if folder.exists() and not folder.is_dir():
            raise OptionError(f"{folder} is a file", "name a folder for Parquet, or a .jsonl file")
        self._folder = folder
        self.journal_rows: int | None = max(1, journal_rows)
        self._stem = f"rows-{shard.name}" if shard else "rows"
        self._file_name = re.compile(re.escape(self._stem) + r"-(\d{5,})\.parquet")
        self.journal_path = folder / f"_{self._stem}.jsonl.part"
        self.failures_path = folder / f"_{self._stem}.failures.jsonl"
        _check_division(folder, shard)

    def tidy(self) -> None:
        """Delete what a killed job began to write, and rows that a later file holds anew."""
        for path in self._folder.glob("*.new"):
            if self._file_name.fullmatch(path.stem):
                path.unlink(missing_ok=True)

    def heads(self) -> Iterator[tuple[str, Done]]:
        """(id, what is known) of every row on the shelf, oldest file first.

        Raises:
            OptionError: a file is damaged, or was not written in this form.
        """
        for path in self._files():
            yield from map(head_of, self._read(path, HEAD_COLUMNS))

    def rows(self, journal: Journal) -> Iterator[Row]:
        """Every row, on the shelf or still in the journal, each id once: the newest."""
        fresh = latest(journal)
        newest = set(fresh)
        for path in reversed(self._files()):
            own = [row for row in self._digests(path) if row not in newest]
            yield from (row_of(c) for c in self._read(path) if digest_of(c["id"]) not in newest)
            newest.update(own)
        yield from _waiting(journal, fresh)

    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._files())

    def seal(self, journal: Journal, has_doubles: bool) -> None:
        """Write the journal's rows as a new file, then, with `has_doubles`, take out of older ones what stands twice.

        Raises:
            OutputError: they cannot be written; nothing is lost.
        """
        fresh = latest(journal)
        if fresh:
            number = max((n for n, _ in self._numbered()), default=0) + 1
            target = self._folder / f"{self._stem}-{number:05d}.parquet"
            self._write(target, (to_columns(row) for row in _waiting(journal, fresh)))
        if has_doubles:
            self._drop_doubles()
        journal.clear()

    def _drop_doubles(self) -> None:
        newest: set[bytes] = set()
        for path in reversed(self._files()):
            own = self._digests(path)
            n_stale = sum(digest in newest for digest in own)
            if n_stale == len(own):
                path.unlink()
            elif n_stale:
                stale = frozenset(newest)
                self._write(path, (c for c in self._read(path) if digest_of(c["id"]) not in stale))
            newest.update(own)

    def _digests(self, path: Path) -> list[bytes]:
        return [digest_of(columns["id"]) for columns in self._read(path, ("id",))]

    def _write(self, path: Path, rows: Iterable[dict[str, Any]]) -> None:
        form = schema(self._arrow)
        with replacing(path) as file, self._parquet.ParquetWriter(file, form, compression="zstd") as writer:
            for group in _groups(rows, _GROUP_ROWS):
                writer.write_table(self._arrow.Table.from_pylist(group, schema=form))

    def _read(self, path: Path, columns: tuple[str, ...] | None = None) -> Iterator[dict[str, Any]]:
        try:
            with self._parquet.ParquetFile(path) as file:
                if missing := set(schema(self._arrow).names) - set(file.schema_arrow.names):
                    raise ValueError(f"no column {min(missing)}")
                for batch in file.iter_batches(_GROUP_ROWS, columns=columns and [*columns]):
                    yield from batch.to_pylist()
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            raise OptionError(f"{path}: no rows of a batch ({error})", "choose another output") from error

    def _numbered(self) -> list[tuple[int, Path]]:
        found = [(self._file_name.fullmatch(path.name), path) for path in self._folder.glob("*.parquet")]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _files(self) -> list[Path]:
        """Oldest first."""
        return [path for _, path in self._numbered()]


def _check_division(folder: Path, shard: Shard | None) -> None:
    """A folder divided by four cannot take shards of eight: rows would stand in it twice."""
    for path in folder.glob("*rows*") if folder.is_dir() else ():
        match = re.match(r"_?rows(?:-\d+-of-(\d+))?[-.]", path.name)
        n = int(match[1]) if match and match[1] else None
        if match and n != (shard.n if shard else None):
            there = f"shards of {n}" if n else "rows that were not divided"
            raise OptionError(f"{folder} holds {there}", "go on with the same --shard, or choose another output")


def _waiting(journal: Journal, fresh: dict[bytes, int]) -> Iterator[Row]:
    wanted = frozenset(fresh.values())
    return (load_row(line) for n, line in enumerate(journal.lines()) if n in wanted)


def _groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
