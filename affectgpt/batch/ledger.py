"""The ledger over files: what is done is kept in a journal, then put on a shelf in the form that was asked for.

Every row is in one of the two at any moment, and a killed process leaves them so that the next one can go on: a row
that was acknowledged is there, whole; a row that was not is there whole or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, get_args

from affectgpt.batch.files import replacing, unwritable
from affectgpt.batch.index import Index
from affectgpt.batch.journal import Journal
from affectgpt.batch.line_shelf import LineShelf, RowLines
from affectgpt.batch.plain import sound
from affectgpt.batch.records import Done, Failure, Row
from affectgpt.batch.row_json import dump_row, load_row, read_head
from affectgpt.batch.selection import Shard
from affectgpt.errors import OptionError

__all__ = ["FileLedger", "FormName", "Shelf", "open_ledger"]

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
"""Also what pathlib leaves of `s3://…`."""

FormName = Literal["auto", "jsonl", "parquet", "openai"]


class Shelf(Protocol):
    """Where finished rows stand in their final form."""

    journal_path: Path
    failures_path: Path
    journal_rows: int | None

    def tidy(self) -> None:
        """Delete what a killed job began to write."""
        ...

    def heads(self) -> Iterator[tuple[str, Done]]:
        """(id, what is known) of every row on the shelf; where an id stands twice the later one counts.

        Raises:
            OptionError: what lies there was not written in this form.
        """
        ...

    def rows(self, journal: Journal) -> Iterator[Row]:
        """Every row, on the shelf or still in the journal, each id once."""
        ...

    def n_bytes(self) -> int:
        """Bytes of what is on the shelf."""
        ...

    def seal(self, journal: Journal, has_doubles: bool) -> None:
        """Put the journal's rows on the shelf and empty the journal; with `has_doubles` see that each id stands once.

        Raises:
            OutputError: they cannot be written; nothing is lost.
        """
        ...


class FileLedger:
    """A `Ledger` over a journal and a shelf, for one process at a time.

    One thread appends and closes; `done` and the counts may be asked from any other meanwhile.

    Raises:
        OptionError: the journal cannot be written, is being written, or journal or shelf hold something else.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._index = shelf, Index()
        self._in_vain: dict[str, Row] = {}
        shelf.journal_path.parent.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(shelf.journal_path, load_row)
        try:
            shelf.tidy()
            self._n_waiting = 0
            self._has_doubles = self._recover()
        except BaseException:
            self._journal.release()
            raise

    @property
    def n_ok(self) -> int:
        """Rows that were answered."""
        return self._index.n_ok

    @property
    def n_failed(self) -> int:
        """Rows that failed."""
        return self._index.n_failed

    def done(self, id: str) -> Done | None:
        """See `Ledger.done`."""
        return self._index.get(sound(id))

    def append(self, rows: Sequence[Row]) -> None:
        """See `Ledger.append`."""
        lines = [dump_row(row) for row in self._worth_keeping(rows)]
        heads = [read_head(line) for line in lines]
        self._journal.append(lines)
        for id, done in heads:
            self._has_doubles |= self._index.put(id, done)
        self._n_waiting += len(lines)
        most = self._shelf.journal_rows
        if most is not None and self._n_waiting >= most:
            # What stands twice by now is taken out once, at the close: each time would write old files anew.
            self._shelf.seal(self._journal, has_doubles=False)
            self._n_waiting = 0

    def rows(self) -> Iterator[Row]:
        """Every row that is kept, each id once, whatever run it is from."""
        return self._shelf.rows(self._journal)

    def n_bytes(self) -> int:
        """Bytes of the output in its final form, without what still waits in the journal."""
        return self._shelf.n_bytes()

    def close(self, *, complete: bool = True) -> None:
        """See `Ledger.close`. Failed rows are also listed in a file of their own beside the output.

        `earlier_stays` there marks those that were done again in vain: what an earlier run answered is in the output.
        The next run tries them again, since what stands there was made by other means than now.
        """
        try:
            if complete:
                self._shelf.seal(self._journal, self._has_doubles)
                self._list_failures()
                self._journal.remove()
        finally:
            self._journal.release()

    def _worth_keeping(self, rows: Sequence[Row]) -> Iterator[Row]:
        """The rows without those that failed where an answered one stands; why they failed is remembered."""
        answered = {sound(row.id) for row in rows if row.status == "ok"}
        for row in rows:
            id = sound(row.id)
            earlier = self._index.get(id)
            if row.status == "ok":
                self._in_vain.pop(id, None)
            elif id in answered or (earlier is not None and earlier.status == "ok"):
                self._in_vain[id] = replace(row, outcome=None, extra={})
                continue
            yield row

    def _recover(self) -> bool:
        """Learn what is there; whether an id stands more than once."""
        has_doubles = False
        for id, done in self._shelf.heads():
            has_doubles |= self._index.put(id, done)
        for line in self._journal.lines():
            try:
                has_doubles |= self._index.put(*read_head(line))
            except ValueError:
                has_doubles = True  # a damaged line: sealing leaves it out
            self._n_waiting += 1
        return has_doubles

    def _list_failures(self) -> None:
        if not self.n_failed and not self._in_vain:
            self._shelf.failures_path.unlink(missing_ok=True)
            return
        with replacing(self._shelf.failures_path) as file:
            for row in self._shelf.rows(self._journal):
                if row.error is not None:
                    file.write(_failure_line(row, row.error, earlier_stays=False))
            for row in self._in_vain.values():
                if row.error is not None:
                    file.write(_failure_line(row, row.error, earlier_stays=True))


def _failure_line(row: Row, error: Failure, *, earlier_stays: bool) -> bytes:
    told = {
        "id": sound(row.id),
        "number": row.number,
        "media": None if row.media is None else sound(row.media),
        "stage": error.stage,
        "type": error.type,
        "message": sound(error.message),
        "attempts": error.attempts,
        "earlier_stays": earlier_stays,
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


def open_ledger(
    out: Path, form: FormName = "auto", shard: Shard | None = None, journal_rows: int = 10_000
) -> FileLedger:
    """The ledger that writes `out`, gone on with where there are rows already.

    form: "jsonl" and "openai" write one file; "parquet" a folder of files of about `journal_rows` rows each; "auto"
        takes "jsonl" for a name in .jsonl or .ndjson, and "parquet" for a folder, a new name without a suffix, or
        .parquet.
    shard: names the file after the shard (`rows-2-of-4.jsonl`), so that all shards may be given the same `out`.

    Raises:
        OptionError: no such form, or the output cannot be written there, is being written, or holds something else.
        MissingDependency: "parquet" without pyarrow.
    """
    if form not in get_args(FormName):
        raise OptionError(f"no output form {form!r}", f"choose one of {', '.join(get_args(FormName))}")
    if _URL.match(str(out)):
        raise OptionError(
            f"{out}: an output lies on this machine", "name a local path, and copy it there when it is done"
        )
    try:
        return FileLedger(_shelf(out, _form_of(out) if form == "auto" else form, shard, journal_rows))
    except OSError as error:
        fault = unwritable(out, error)
        raise OptionError(fault.what, fault.remedy) from error


def _shelf(out: Path, form: FormName, shard: Shard | None, journal_rows: int) -> Shelf:
    if form == "parquet":
        from affectgpt.batch.parquet_shelf import ParquetShelf

        return ParquetShelf(out, shard, journal_rows)
    if out.is_dir():
        raise OptionError(f"{out} is a folder", "name a file in it, such as rows.jsonl, or choose the form parquet")
    if shard is not None:
        out = out.with_name(f"{out.stem}-{shard.name}{out.suffix}")
    if form == "openai":
        from affectgpt.batch.openai_results import OpenAIResults

        return LineShelf(out, OpenAIResults())
    return LineShelf(out, RowLines())


def _form_of(out: Path) -> FormName:
    suffix = out.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if out.is_dir() or suffix in ("", ".parquet"):
        return "parquet"
    raise OptionError(f"no output form is known for {out.name!r}", "name it rows.jsonl, or a folder for Parquet")
