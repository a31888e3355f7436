"""Files of instruction rows: JSON lines and Parquet, written whole or not at all, read a row at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from affectgpt.errors import InputError, MediaNotFound, MissingDependency
from affectgpt.records import InstructionExample
from instruction_data.row_json import LONGEST_LINE, dump_row, load_row, to_row

__all__ = ["read_parquet", "read_rows", "replacing", "write_json", "write_parquet", "write_rows"]

PARQUET_BATCH = 2_000
"""Rows of one Parquet row group, and so of what is held in memory."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that takes `path`'s place when the block ends well; else `path` stays as it was.

    The content reaches the disk before the name does, so that no crash leaves half a file under the real name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """One JSON document, whole or not at all."""
    with replacing(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def write_rows(path: Path, examples: Iterable[InstructionExample]) -> int:
    """Write rows as JSON lines, whole or not at all; returns how many."""
    n = 0
    with replacing(path) as file:
        for example in examples:
            file.write(dump_row(example) + "\n")
            n += 1
    return n


def read_rows(path: Path) -> Iterator[InstructionExample]:
    """The rows of a JSON-lines file (or a `.parquet` one), one at a time.

    Raises:
        MediaNotFound: no such file. InputError: a malformed row, named by its line.
    """
    if path.suffix == ".parquet":
        yield from read_parquet(path)
        return
    if not path.is_file():
        raise MediaNotFound(f"no rows at {path}", "check the path, or build them with `affectgpt data build`")
    with path.open("rb") as file:
        for n, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            try:
                line = raw.decode("utf-8-sig" if n == 1 else "utf-8")
                if line.strip():
                    yield load_row(line)
            except UnicodeDecodeError as error:
                raise InputError(f"{path} line {n} is not UTF-8 ({error.reason})", "build the file again") from None
            except InputError as error:
                raise InputError(f"{path} line {n}: {error.what}", error.remedy) from None


def write_parquet(path: Path, examples: Iterable[InstructionExample]) -> int:
    """Write rows as Parquet, whole or not at all; returns how many.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    n = 0
    try:
        with parquet.ParquetWriter(part, _schema(arrow), compression="zstd") as writer:
            for batch in _batches(examples):
                writer.write_table(arrow.Table.from_pylist(batch, schema=_schema(arrow)))
                n += len(batch)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return n


def read_parquet(path: Path) -> Iterator[InstructionExample]:
    """The rows of a Parquet file, a row group at a time.

    Raises:
        MediaNotFound: no such file. InputError: no Parquet, or a malformed row. MissingDependency: no pyarrow.
    """
    arrow, parquet = _arrow()
    if not path.is_file():
        raise MediaNotFound(f"no rows at {path}", "check the path")
    try:
        table = parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is no Parquet file ({error})", "build the file again") from None
    n = 0
    with table:
        for batch in table.iter_batches(PARQUET_BATCH):
            for row in batch.to_pylist():
                n += 1
                try:
                    yield load_row(json.dumps(row))
                except InputError as error:
                    raise InputError(f"{path} row {n}: {error.what}", error.remedy) from None


def _batches(examples: Iterable[InstructionExample]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for example in examples:
        batch.append(to_row(example))
        if len(batch) == PARQUET_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _schema(arrow: Any) -> Any:
    """Column types, fixed: a file whose lists are all empty must still read as lists of texts."""
    text, texts = arrow.string(), arrow.list_(arrow.string())
    message = arrow.struct([("role", text), ("content", text)])
    source = arrow.struct([("set", text), ("licence", text)])
    provenance = [("sources", arrow.list_(source)), ("observations", texts), ("prompt_id", text)]
    provenance += [("prompt_version", text), ("writer", text), ("writer_version", text), ("filters", texts)]
    provenance += [("media_sha256", texts), ("speaker", text), ("dialogue", text), ("wording", text)]
    columns = [("id", text), ("task", text), ("split", text), ("messages", arrow.list_(message)), ("opening", text)]
    columns += [(name, texts) for name in ("images", "videos", "audios")]
    return arrow.schema([*columns, ("provenance", arrow.struct(provenance))])


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependency("Parquet needs pyarrow", "pip install 'affectgpt[data]'") from None
    return pyarrow, parquet
