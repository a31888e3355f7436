"""What a source gives, read as a job reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.sources import SourceOptions, open_source

__all__ = ["items", "read"]


def read(where: Path | str, **options: Any) -> list[Item | BadItem]:
    """Every row, the same in a second reading, and as many as are promised."""
    source = open_source(str(where), SourceOptions(**options))
    assert source.name == str(where)
    rows = list(source.iterate())
    assert rows == list(source.iterate()), "a second reading gives something else"
    assert source.count() in (None, len(rows))
    return rows


def items(rows: list[Item | BadItem]) -> list[Item]:
    """The rows, all of which must be sound."""
    assert [r for r in rows if isinstance(r, BadItem)] == []
    return [r for r in rows if isinstance(r, Item)]
