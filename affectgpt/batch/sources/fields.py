"""A row's fields as an item: which column is what, what may be wished for, and what is carried through."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from affectgpt.batch.plain import plain
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.sources.inline import read_data_url
from affectgpt.batch.sources.places import Reach
from affectgpt.batch.wishes import WISHES, read_wishes
from affectgpt.errors import InputError, OptionError

__all__ = ["COLUMNS", "Fields"]

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id",),
    "media": (
        "media",
        "path",
        "file",
        "file_name",
        "filename",
        "clip",
        "video",
        "audio",
        "image",
        "media_path",
        "video_path",
        "audio_path",
        "image_path",
    ),
    "transcript": ("transcript", "transcription", "text"),
    **{name: (name,) for name in WISHES},
}
"""What a column of each name holds, in any letters; where several are there, the first of the list with a value."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Reads rows whose media lie within `reach`. `columns` names the columns of a table that has others.

    Raises:
        OptionError: `columns` names what no row has.
    """

    reach: Reach
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise OptionError for a column that means nothing here."""
        if unknown := set(self.columns) - COLUMNS.keys():
            raise OptionError(f"no column is needed as {min(unknown)!r}", f"there are {', '.join(COLUMNS)}")

    def read(self, number: int, row: Mapping[str, object]) -> Item | BadItem:
        """The row's item, or what is wrong with it."""
        found: dict[str, object] = {}
        used: set[str] = set()
        by_name = {name.strip().lower(): name for name in reversed([*row])}
        for what, names in COLUMNS.items():
            listed = (self.columns[what],) if what in self.columns else names
            for name in listed:
                column = name if name in row else by_name.get(name.lower())
                if column is not None and column not in used and not _is_empty(row[column]):
                    found[what] = row[column]
                    used.add(column)
                    break
        extra = {str(name): plain(value) for name, value in row.items() if name not in used and isinstance(name, str)}
        id = str(plain(found["id"])) if "id" in found else None
        try:
            if not found.keys() & {"media", "transcript", "transcript_file"}:
                raise InputError("neither a medium nor a transcript", self._hint(row))
            return self._item(number, id, found, extra)
        except InputError as error:
            return BadItem(number, id, str(error), extra)

    def _hint(self, row: Mapping[str, object]) -> str:
        """What to do about a row in which nothing is found to explain."""
        if absent := [name for name in self.columns.values() if name not in row]:
            return f"there is no column {absent[0]!r}; its columns are {', '.join(map(str, row))}"[:500]
        return (
            f"fill one of {', '.join([*COLUMNS['media'][:5], *COLUMNS['transcript']])}, or say which columns those are"
        )

    def _item(self, number: int, id: str | None, found: dict[str, object], extra: dict[str, object]) -> Item:
        media, content = self._medium(found.get("media"))
        transcript = found.get("transcript")
        wishes = read_wishes({name: value for name, value in found.items() if name in WISHES})
        if transcript is not None and not isinstance(transcript, str):
            raise InputError("the transcript is no text", "write the words themselves")
        if transcript is not None and "transcript_file" in wishes:
            raise InputError("a transcript and a file with one", "leave one of them empty")
        if "transcript_file" in wishes:
            wishes["transcript_file"] = self._local(str(wishes["transcript_file"]))
        if media is None and transcript is None and "transcript_file" not in wishes:
            raise InputError("neither a medium nor a transcript", "give the medium's path or its bytes")
        name = found["media"] if isinstance(found.get("media"), str) else media
        own = id if id is not None else (str(name) if name and content is None else f"row-{number}")
        return Item(own, number, media, content, transcript, wishes, extra)

    def _medium(self, value: object) -> tuple[str | None, bytes | None]:
        """(name, path or URL of a medium; its bytes where they came along).

        Media columns of Hugging Face datasets are structs of `bytes` and `path`.
        """
        if isinstance(value, Mapping):
            content, path = value.get("bytes"), value.get("path")
            if isinstance(content, bytes) and content:
                return (str(path) if path else None) or "medium", content
            value = path
        if value is None or value == "":
            return None, None
        if isinstance(value, bytes):
            return "medium", value
        if not isinstance(value, str):
            raise InputError(f"the medium is {type(value).__name__}, no path", "name a file, or give its bytes")
        if value[:5].lower() == "data:":
            return read_data_url(value)
        return self.reach.resolve(value), None

    def _local(self, named: str) -> str:
        path = self.reach.resolve(named)
        if "://" in path:
            raise InputError(f"{named[:200]!r} is no file of this machine", "give the words as transcript")
        return path


def _is_empty(value: object) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or (isinstance(value, str) and not value.strip())
