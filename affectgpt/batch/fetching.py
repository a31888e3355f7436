"""An item's medium as a file of this machine, with its hash: where it lies, or fetched for as long as it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Protocol, TypeVar

from affectgpt import media
from affectgpt.batch.records import Item
from affectgpt.errors import AffectError, MediaNotFound, MediaUnreachable, MissingDependency, UnreadableMedia

__all__ = ["MOST_BYTES", "Fetcher", "FileFetcher", "Medium", "suffix_of"]

_T = TypeVar("_T")

MOST_BYTES: Final = 4 << 30
"""Of one medium that is fetched: an hour of good video has some 2 GB, and an endless one must not fill the disk."""

_BLOCK_BYTES: Final = 1 << 20
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_SUFFIX = re.compile(r"(\.[a-z0-9]{1,10})(?:[?#]|$)")
"""A file's kind at the end of its name, or before a URL's query."""

_TAGS: Final = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "generation", "version_id")
_TIMES: Final = ("LastModified", "last_modified", "updated", "mtime", "modified", "Last-Modified")


@dataclass(frozen=True, slots=True)
class Medium:
    """A medium at hand: its file, and the SHA-256 of its bytes.

    `is_ours` where the file was made for this reading, and goes when it is over.
    """

    path: Path
    sha256: str
    is_ours: bool = False

    def discard(self) -> None:
        """Remove the file, if it was made for this reading."""
        if self.is_ours:
            self.path.unlink(missing_ok=True)


class Fetcher(Protocol):
    """Where media come from. Every call blocks, and may come from several threads."""

    def stamp(self, item: Item) -> str | None:
        """What the place says of the medium's version, hashed; None where it says nothing, or there is no medium.

        Raises:
            MediaNotFound: there is no such medium.
        """
        ...

    def beside(self, item: Item) -> tuple[str, ...]:
        """SHA-256 of what else is read along with the medium: the subtitles beside a local file."""
        ...

    def fetch(self, item: Item, known_sha256: str | None = None) -> Medium:
        """The medium as a file; `known_sha256` saves hashing one that lies here.

        Raises:
            MediaNotFound, UnreadableMedia: there is none, or it is empty or too large.
            MediaUnreachable: the place that it lies in did not give it.
            MissingDependency: no package at hand speaks to that place.
        """
        ...


class FileFetcher:
    """Local paths are read in place; bytes and URLs that fsspec opens become files in `room` while they are needed."""

    def __init__(self, room: Path, most_bytes: int = MOST_BYTES) -> None:
        self._room, self._most_bytes = room, most_bytes

    def stamp(self, item: Item) -> str | None:
        """See `Fetcher.stamp`. A local file's: its size and its time of change."""
        if item.media is None or item.content is not None:
            return None
        if not _URL.match(item.media):
            try:
                found = Path(item.media).stat()
            except (OSError, ValueError) as error:
                raise MediaNotFound(f"{item.media!r}: cannot be opened ({error})", "check the path") from error
            return _digest(found.st_size, found.st_mtime_ns)
        said = _asked(item.media, lambda system, path: system.info(path))
        told = [(name, str(said[name])) for name in (*_TAGS, *_TIMES) if said.get(name)]
        return _digest(said.get("size"), told) if told else None

    def beside(self, item: Item) -> tuple[str, ...]:
        """See `Fetcher.beside`."""
        if item.media is None or item.content is not None or _URL.match(item.media):
            return ()
        with suppress(OSError, ValueError):
            subtitles = media.subtitle_path(item.media)
            return (hashlib.sha256(subtitles.read_bytes()).hexdigest(),) if subtitles else ()
        return ()

    def fetch(self, item: Item, known_sha256: str | None = None) -> Medium:
        """See `Fetcher.fetch`."""
        if item.content is not None:
            return self._keep(item, [item.content])
        assert item.media is not None, "an item without a medium has nothing to fetch"
        if _URL.match(item.media):
            return _asked(item.media, lambda system, path: self._keep(item, _blocks(system, path)))
        return Medium(Path(item.media), known_sha256 or media.media_hash(item.media))

    def _keep(self, item: Item, blocks: Iterable[bytes]) -> Medium:
        """Write the blocks to a file of our own, which is there whole or not at all."""
        path = self._room / f"{token_hex(8)}{suffix_of(item)}"
        digest, n_bytes = hashlib.sha256(), 0
        try:
            with path.open("xb") as file:
                for block in blocks:
                    n_bytes += len(block)
                    if n_bytes > self._most_bytes:
                        raise UnreadableMedia(f"{_named(item)}: more than {self._most_bytes >> 20} MiB", "cut it")
                    digest.update(block)
                    file.write(block)
            if n_bytes == 0:
                raise UnreadableMedia(f"{_named(item)}: the file is empty", "copy or record it again")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Medium(path, digest.hexdigest(), is_ours=True)


def suffix_of(item: Item) -> str:
    """The medium's kind as its name tells it, such as `.mp4`, or nothing."""
    found = _SUFFIX.search((item.media or "").lower())
    return found[1] if found else ""


def _named(item: Item) -> str:
    return item.media or f"the medium of {item.id}"


def _blocks(system: Any, path: str) -> Iterator[bytes]:
    with system.open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _asked(url: str, ask: Callable[[Any, str], _T]) -> _T:
    """`ask(file system, path)`, its failures in this package's words."""
    import fsspec

    try:
        return ask(*fsspec.core.url_to_fs(url))
    except AffectError:
        raise
    except FileNotFoundError as error:
        raise MediaNotFound(f"{url}: there is no such medium", "check the URL") from error
    except ImportError as error:
        raise MissingDependency(f"{url}: {error}", "install the package that fsspec names") from error
    except ValueError as error:
        raise MediaNotFound(f"{url}: no place that can be read from ({error})", "check the URL") from error
    except Exception as error:  # every file system has errors of its own
        raise MediaUnreachable(
            f"{url}: {type(error).__name__}: {error}", "see that the place can be reached"
        ) from error


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
