"""Text files as rows: CSV, TSV and JSON lines from anywhere, refused as a whole only when they are no such file."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from affectgpt.errors import InputError, MediaNotFound

__all__ = ["LARGEST_FILE_MB", "csv_rows", "json_lines", "number", "read_text", "within"]

LARGEST_FILE_MB = 512
"""A larger label file is refused: the largest real one here has 4 MB."""


def read_text(path: Path) -> str:
    """The file's text, UTF-8 with or without a mark.

    Raises:
        MediaNotFound: no such file. InputError: too large, or not UTF-8.
    """
    if not path.is_file():
        raise MediaNotFound(f"no label file at {path}", "check the path")
    if path.stat().st_size > LARGEST_FILE_MB * 1_000_000:
        raise InputError(f"{path} is larger than {LARGEST_FILE_MB} MB", "split it")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from None


def csv_rows(path: Path, needs: Sequence[str], delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """(row number from 1, columns) of a table with a header. A row that is short has empty columns.

    Raises:
        InputError: the table cannot be read, or lacks a column of `needs`.
    """
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(read_text(path)), delimiter=delimiter)
    try:
        missing = [c for c in needs if c not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}", f"its columns are {reader.fieldnames}")
        for n, row in enumerate(reader, 1):
            yield n, {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}
    except csv.Error as error:
        raise InputError(f"{path} is not a table: {error}", "save it as CSV with quotes") from None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(line number from 1, object), None for a line that is no JSON object; empty lines are passed over."""
    for n, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield n, row if isinstance(row, dict) else None


def number(text: object) -> float:
    """The number that this is, NaN where it is none."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def within(folder: Path, name: str) -> tuple[Path | None, str]:
    """A file named in a table, and what is wrong with it: it must exist inside the folder."""
    if not name:
        return None, "no media file is named"
    try:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return None, f"{name!r} lies outside the folder"
        if not path.is_file():
            return path, f"missing media file {name!r}"
        return path, "" if path.stat().st_size else f"empty media file {name!r}"
    except (OSError, ValueError):
        return None, f"{name!r} is no file name"
