"""Tables of Arrow's kinds, a few rows at a time: Parquet, and the folders that Hugging Face datasets save."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from affectgpt.batch.parquet_columns import open_arrow
from affectgpt.batch.sources.places import Place, place_errors
from affectgpt.batch.sources.texts import RawRow
from affectgpt.errors import InputError

__all__ = ["arrow_rows", "count_parquet", "hf_files", "parquet_rows"]

_HELD_BYTES: Final = 32 << 20
"""About how much of a table is held as rows at once: rows may carry media."""
_MOST_ROWS: Final = 1_000


def parquet_rows(place: Place) -> Iterator[tuple[int, RawRow]]:
    """(number from 1, row). A row group that is damaged gives a fault for each of its rows.

    Raises:
        InputError: no Parquet. MissingDependency: no pyarrow.
    """
    arrow, parquet = open_arrow()
    with place.open(is_packed=False) as file, _parquet(arrow, parquet, place, file) as table:
        number = 0
        for group in range(table.num_row_groups):
            about = table.metadata.row_group(group)
            end = number + about.num_rows
            size = _batch_rows(about.total_byte_size, about.num_rows)
            try:
                for batch in table.iter_batches(size, row_groups=[group]):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
            except (arrow.ArrowException, OSError, ValueError) as error:
                while number < end:
                    number += 1
                    yield number, f"a row in a damaged part of the file ({error})"


def count_parquet(place: Place) -> int:
    """Rows that the file's footer promises. Raises as `parquet_rows`."""
    arrow, parquet = open_arrow()
    with place.open(is_packed=False) as file, _parquet(arrow, parquet, place, file) as table:
        return int(table.metadata.num_rows)


def hf_files(folder: Place) -> list[tuple[str, Place]]:
    """(split, Arrow file) of what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote; empty for other folders.

    Raises:
        InputError: one of their lists of files is damaged.
    """
    splits = folder.inside("dataset_dict.json")
    if splits.is_file():
        names = _listed(splits, "splits")
        return [(name, file) for name in names for _, file in hf_files(folder.inside(name))]
    state = folder.inside("state.json")
    if not (state.is_file() and folder.inside("dataset_info.json").is_file()):
        return []
    files = [entry["filename"] if isinstance(entry, dict) else None for entry in _listed(state, "_data_files")]
    return [("", folder.inside(_plain_name(state, name))) for name in files]


def arrow_rows(place: Place) -> Iterator[tuple[int, RawRow]]:
    """(number from 1, row) of an Arrow stream.

    Raises:
        InputError: no such stream, or it breaks off. MissingDependency: no pyarrow.
    """
    arrow, _ = open_arrow()
    with place.open(is_packed=False) as file:
        try:
            number = 0
            with arrow.ipc.open_stream(file) as stream:
                for batch in stream:
                    size = _batch_rows(batch.nbytes, batch.num_rows)
                    for at in range(0, batch.num_rows, size):
                        for row in batch.slice(at, size).to_pylist():
                            number += 1
                            yield number, row
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{place.url()}: it breaks off after row {number} ({error})", "save it again") from error


def _parquet(arrow: Any, parquet: Any, place: Place, file: Any) -> Any:
    try:
        return parquet.ParquetFile(file)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{place.url()}: no Parquet file ({error})", "check that it is whole") from error


def _batch_rows(n_bytes: int, n_rows: int) -> int:
    return max(1, min(_MOST_ROWS, _HELD_BYTES * n_rows // max(1, n_bytes)))


def _listed(place: Place, key: str) -> list[Any]:
    try:
        with place.open(is_packed=False) as file:
            listed = json.loads(file.read(1 << 24))[key]
        if not isinstance(listed, list):
            raise ValueError(f"{key} is no list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{place.url()}: damaged ({error!r})", "save the dataset again") from error
    return listed


def _plain_name(state: Place, name: object) -> str:
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name.startswith("."):
        raise InputError(f"{state.url()}: names the file {str(name)[:80]!r}", "save the dataset again")
    with place_errors(state.url()):
        return name
