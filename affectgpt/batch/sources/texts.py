"""Tables that are text, row by row in little memory: JSON lines, CSV and TSV, packed or not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final

from affectgpt.batch.sources.places import Place
from affectgpt.errors import InputError

__all__ = ["LONGEST_LINE_BYTES", "LONGEST_VALUE", "RawRow", "csv_rows", "json_rows"]

RawRow = Mapping[str, object] | str
"""The fields of a row, or what is wrong with it, in words."""

LONGEST_LINE_BYTES: Final = 256 << 20
"""Of a line of JSON, which may hold a medium in base64: that of 192 MB."""

LONGEST_VALUE: Final = 10_000_000
"""Characters of one value in a CSV: behind a quotation mark that nothing closes the rest of the file is one value."""

_BLOCK_BYTES: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"


def json_rows(place: Place) -> Iterator[tuple[int, RawRow]]:
    """(number from 1, row) of every line that is not empty.

    Raises:
        InputError: the file cannot be opened, or not read to its end.
    """
    number = 0
    with place.open() as file, _buffered(file) as lines:
        for line in _lines(lines):
            if line is None or line.strip(_BOM + b" \t\r\n"):
                number += 1
                yield number, "a line that is too long" if line is None else _object(line)


def csv_rows(place: Place) -> Iterator[tuple[int, RawRow]]:
    """(number from 1, row) under the names of the first line. A row that is short has empty values.

    Values stand between commas, in a .tsv between tabs; a header without a comma and with semicolons, as spreadsheets
    write it in half of Europe, has its values between those.

    Raises:
        InputError: the file cannot be opened or not read to its end, or its header names nothing or one thing twice.
    """
    csv.field_size_limit(LONGEST_VALUE)
    with place.open() as file, _buffered(file) as lines:
        # A byte that is no UTF-8 becomes a lone surrogate, and spoils its row alone.
        text = io.TextIOWrapper(lines, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            rows = csv.reader(text, delimiter="\t" if place.suffix == ".tsv" else ",")
            header = _next_row(rows)
            if isinstance(header, list) and len(header) == 1 and ";" in header[0] and place.suffix != ".tsv":
                header = next(csv.reader(header, delimiter=";"))
                rows = csv.reader(text, delimiter=";")
            if not isinstance(header, list) or len(set(header)) < len(header) or not any(h.strip() for h in header):
                raise InputError(f"{place.url()}: no header that names its columns", "name each column once, in line 1")
            number = 0
            while (row := _next_row(rows)) is not None:
                if row != []:
                    number += 1
                    yield number, row if isinstance(row, str) else _named(header, row)
        finally:
            text.detach()


@contextmanager
def _buffered(file: Any) -> Iterator[Any]:
    """The file with a `readline` that takes a limit, which not every file system's has."""
    reader = io.BufferedReader(file, _BLOCK_BYTES)
    try:
        yield reader
    finally:
        with suppress(ValueError):  # the file was closed meanwhile
            reader.detach()


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Every line; None for one that is too long, which is passed over without being held."""
    while line := file.readline(LONGEST_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < LONGEST_LINE_BYTES:
            yield line
            continue
        while (rest := file.readline(_BLOCK_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def _object(line: bytes) -> RawRow:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"a line that is not UTF-8 (byte {error.start})"
    except RecursionError:
        return "a line that is no JSON: nested too deeply"
    except ValueError as error:
        return f"a line that is no JSON: {error}"
    return row if isinstance(row, dict) else f"a line that is no JSON object but {type(row).__name__}"


def _next_row(rows: Iterator[list[str]]) -> list[str] | str | None:
    """The next row, what is wrong with it, or None at the end."""
    try:
        return next(rows, None)
    except csv.Error as error:
        return f"a row that is no CSV: {error}"


def _named(header: list[str], row: list[str]) -> RawRow:
    if len(row) > len(header):
        return f"a row of {len(row)} values under {len(header)} names: put quotation marks around those with commas"
    if any("\udc80" <= c <= "\udcff" for value in row for c in value):
        return "a row that is not UTF-8"
    return {name.strip(): value for name, value in zip(header, [*row, *[""] * (len(header) - len(row))], strict=True)}
