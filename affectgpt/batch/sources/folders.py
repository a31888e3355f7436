"""Folders and patterns of media files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from affectgpt.batch.plain import sound
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.sources.places import Place, open_place, place_errors
from affectgpt.errors import InputError

__all__ = ["MEDIA_SUFFIXES", "FilesSource", "FolderSource", "match"]

_KINDS = (
    "3gp aac aif aiff amr asf au avi flac flv gif jpeg jpg m2ts m4a m4v mka mkv mov mp3 mp4 mpeg mpg mts ogg oga ogv "
    "opus png ts wav webm webp wma wmv"
)
MEDIA_SUFFIXES: Final = frozenset(f".{kind}" for kind in _KINDS.split())
"""Files that a folder's items are made of: containers and pictures that PyAV and Pillow open, by their usual names."""

_WORDS: Final = frozenset({".srt", ".vtt", ".txt"})
_LANGUAGE: Final = re.compile(r"\.[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?$")


class FolderSource:
    """Every medium below a folder, in sorted order; its id is the path from there.

    A text or subtitles alone are an item too; subtitles that belong to a medium beside them are read with that one, and
    a .txt of a medium's name is somebody's notes. What a file is, is told by its name; hidden ones are passed over.
    """

    def __init__(self, name: str, folder: Place) -> None:
        self.name = name
        self._folder = folder

    def iterate(self) -> Iterator[Item | BadItem]:
        """See `Source.iterate`."""
        number = 0
        root = self._folder.path.rstrip("/")
        for folder, names in self._folder.walk():
            for name in _items(names):
                number += 1
                place = folder.inside(name)
                yield Item(sound(place.path[len(root) :].lstrip("/")), number, place.url())
        if not number:
            raise InputError(f"{self.name}: no media in this folder", "name a folder of clips, or a list of them")

    def count(self) -> int | None:
        """See `Source.count`."""
        return sum(len(_items(names)) for _, names in self._folder.walk())


class FilesSource:
    """The files that a pattern matched, whatever their names; an id is the path as it was matched."""

    def __init__(self, name: str, places: list[Place]) -> None:
        self.name = name
        self._places = places

    def iterate(self) -> Iterator[Item | BadItem]:
        """See `Source.iterate`."""
        root = posixpath.commonpath([posixpath.dirname(p.path) for p in self._places])
        for number, place in enumerate(self._places, 1):
            yield Item(sound(posixpath.relpath(place.path, root)), number, place.url())

    def count(self) -> int | None:
        """See `Source.count`."""
        return len(self._places)


def match(pattern: str) -> list[Place]:
    """The files that a pattern (`*`, `?`, `[…]`, `**`) matches, sorted; hidden ones only where it begins with a dot.

    Raises:
        InputError: none does.
    """
    place = open_place(pattern)
    with place_errors(pattern):
        paths = sorted(map(str, place.system.glob(place.path)))
    found = [p for p in map(place.at, paths) if p.is_file() and p.name.startswith(".") <= place.name.startswith(".")]
    if not found:
        raise InputError(f"{pattern}: no file matches", "check the pattern, and put it in quotation marks")
    return found


def _items(names: list[str]) -> list[str]:
    """Of a folder's files those that are items."""
    media = [name for name in names if PurePosixPath(name).suffix.lower() in MEDIA_SUFFIXES]
    stems = {PurePosixPath(name).stem for name in media}
    words = [name for name in names if PurePosixPath(name).suffix.lower() in _WORDS]
    alone = [n for n in words if not {(stem := PurePosixPath(n).stem), _LANGUAGE.sub("", stem)} & stems]
    return sorted([*media, *alone])
