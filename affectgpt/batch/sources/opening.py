"""The one place that decides what kind of source a path, pattern or URL names."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

from affectgpt.batch.records import BadItem, Item, Source
from affectgpt.batch.sources.arrows import arrow_rows, count_parquet, hf_files, parquet_rows
from affectgpt.batch.sources.fields import Fields
from affectgpt.batch.sources.folders import MEDIA_SUFFIXES, FilesSource, FolderSource, match
from affectgpt.batch.sources.places import Place, Reach, open_place, packed_suffix
from affectgpt.batch.sources.requests import Requests, is_request
from affectgpt.batch.sources.texts import RawRow, csv_rows, json_rows
from affectgpt.errors import InputError, OptionError

__all__ = ["SourceForm", "SourceOptions", "open_source"]

SourceForm = Literal["auto", "media", "jsonl", "csv", "parquet", "hf", "openai"]

_PATTERN: Final = re.compile(r"[*?\[]")
_FORMS: Final[Mapping[str, SourceForm]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "hf",
}
_ROWS: Final[Mapping[str, Callable[[Place], Iterator[tuple[int, RawRow]]]]] = {
    "jsonl": json_rows,
    "openai": json_rows,
    "csv": csv_rows,
    "parquet": parquet_rows,
    "hf": arrow_rows,
}
_METADATA: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""The list beside the media in folders that Hugging Face datasets build from (`imagefolder` and its kin)."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a source is read.

    form: "auto" goes by names and, in JSON lines, by the first row.
    columns: what this table calls its columns, by what they hold (see `affectgpt.batch.sources.fields`).
    allow_media: beginnings of URLs that rows may name beyond the source's own place.
    """

    form: SourceForm = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    allow_media: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise OptionError for a form that is not read."""
        if self.form not in get_args(SourceForm):
            raise OptionError(f"no input form {self.form!r}", f"choose one of {', '.join(get_args(SourceForm))}")


class _RowReader(Protocol):
    def read(self, number: int, row: Mapping[str, object]) -> Item | BadItem: ...


@dataclass(frozen=True, slots=True)
class _Table:
    """One file of rows, and the split that it holds."""

    place: Place
    split: str = ""


class TableSource:
    """The rows of one file or of several, one after another."""

    def __init__(self, name: str, tables: Sequence[_Table], form: SourceForm, options: SourceOptions) -> None:
        self.name = name
        self._tables, self._form, self._options = tables, form, options
        for table in tables:
            if not table.place.is_file():
                raise InputError(f"{table.place.url()}: there is no such file", "check the path")
            self._reader(table)

    def iterate(self) -> Iterator[Item | BadItem]:
        """See `Source.iterate`."""
        number = 0
        for table in self._tables:
            reader = self._reader(table)
            is_first = True
            for _, row in _ROWS[self._form](table.place):
                number += 1
                if isinstance(row, str):
                    yield BadItem(number, None, row)
                    continue
                if is_first and self._form == "jsonl" and self._options.form == "auto" and is_request(row):
                    reader = Requests(self._reach(table))
                is_first = False
                yield reader.read(number, {**row, "split": table.split} if table.split else row)

    def count(self) -> int | None:
        """See `Source.count`."""
        if self._form == "parquet":
            return sum(count_parquet(table.place) for table in self._tables)
        if any(not table.place.is_local for table in self._tables):
            return None
        return sum(1 for table in self._tables for _ in _ROWS[self._form](table.place))

    def _reader(self, table: _Table) -> _RowReader:
        if self._form == "openai":
            return Requests(self._reach(table))
        return Fields(self._reach(table), self._options.columns)

    def _reach(self, table: _Table) -> Reach:
        return Reach(table.place.folder, self._options.allow_media)


def open_source(where: str, options: SourceOptions | None = None) -> Source:
    """The source that a path, a pattern or a URL names.

    A folder is a saved Hugging Face dataset, a list of media beside them (`metadata.csv`), Parquet files, or media; a
    file is a list, or one medium. JSON lines whose first row has `custom_id` and `body` are OpenAI requests.

    Raises:
        InputError: there is nothing there, or it cannot be opened. OptionError: options that are no such.
        MissingDependency: no package at hand opens it.
    """
    if not where.strip():
        raise OptionError("no source is named", "name a folder, a list, or a pattern in quotation marks")
    source = _open(where, options or SourceOptions())
    rows = source.iterate()
    next(rows, None)  # what cannot be read at all is told before any model loads
    if isinstance(rows, Generator):
        rows.close()
    return source


def _open(where: str, options: SourceOptions) -> Source:
    place = open_place(where)
    if place.is_folder():
        return _open_folder(where, place, options)
    if not place.is_file() and _PATTERN.search(where):
        return _open_files(where, match(where), options)
    if not place.is_file():
        raise InputError(f"{where}: there is no such file or folder", "check the path")
    return _open_files(where, [place], options)


def _open_files(where: str, places: list[Place], options: SourceOptions) -> Source:
    forms = {_FORMS.get(place.suffix, "media") for place in places} if options.form == "auto" else {options.form}
    if len(forms) > 1:
        raise InputError(f"{where}: files of several kinds ({', '.join(sorted(forms))})", "name one kind at a time")
    (form,) = forms
    if form == "media":
        return FilesSource(where, places)
    return TableSource(where, [_Table(place) for place in places], form, options)


def _open_folder(where: str, folder: Place, options: SourceOptions) -> Source:
    form = options.form
    if form in ("auto", "hf") and (files := hf_files(folder)):
        return TableSource(where, [_Table(file, split) for split, file in files], "hf", options)
    if form == "hf":
        raise InputError(f"{where}: no dataset that save_to_disk wrote", "name the folder with its state.json")
    if form == "auto":
        for name in _METADATA:
            listed = folder.inside(name)
            if listed.is_file():
                return TableSource(where, [_Table(listed)], _FORMS[listed.suffix], options)
    if form in ("auto", "parquet") and (tables := _parquet_files(folder)):
        return TableSource(where, [_Table(table) for table in tables], "parquet", options)
    if form not in ("auto", "media"):
        raise InputError(f"{where} is a folder", f"name files of the form {form}, such as '{where.rstrip('/')}/*'")
    return FolderSource(where, folder)


def _parquet_files(folder: Place) -> list[Place]:
    """The Parquet files of a folder that holds such files and no media, as copies of datasets do."""
    found: list[Place] = []
    for place, names in folder.walk():
        if any(packed_suffix(name) in MEDIA_SUFFIXES for name in names):
            return []
        found += [place.inside(name) for name in names if name.endswith(".parquet") and not name.startswith("_")]
    return found
