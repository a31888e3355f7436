"""Where sources lie, and how far a row may reach from there: this machine's files, or any place that fsspec opens."""

from __future__ import annotations

import os
import posixpath
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urlsplit

from affectgpt.errors import InputError, MediaNotFound, MissingDependency, OptionError

__all__ = ["Place", "Reach", "open_place", "packed_suffix", "place_errors"]

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_PACKED: Final = frozenset({".gz", ".bz2", ".xz", ".zst"})
_CHAIN: Final = "::"


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a file system of fsspec. `chain` is what follows the first `::` of a chained URL, or empty."""

    system: Any
    path: str
    is_local: bool
    chain: str = ""

    @property
    def suffix(self) -> str:
        """The kind, without that of a packing: `.csv` for `a.CSV.gz`."""
        return packed_suffix(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    @property
    def folder(self) -> Place:
        """The folder that it lies in."""
        return self.at(posixpath.dirname(self.path.rstrip("/")))

    def at(self, path: str) -> Place:
        """Another path of the same file system."""
        return Place(self.system, path, self.is_local, self.chain)

    def inside(self, name: str) -> Place:
        """What lies in this folder under this name."""
        return self.at(posixpath.join(self.path, name))

    def url(self) -> str:
        """The local path, or the URL that opens it."""
        if self.is_local:
            return self.path
        url = str(self.system.unstrip_protocol(self.path))
        return f"{url}{_CHAIN}{self.chain}" if self.chain else url

    def is_folder(self) -> bool:
        """Whether a folder lies here."""
        with place_errors(self.path):
            return bool(self.system.isdir(self.path))

    def is_file(self) -> bool:
        """Whether a file lies here."""
        with place_errors(self.path):
            return bool(self.system.isfile(self.path))

    @contextmanager
    def open(self, *, is_packed: bool = True) -> Iterator[IO[bytes]]:
        """The bytes, unpacked where the name says so (.gz, .bz2, .xz, .zst) unless `is_packed` is False.

        Raises:
            MediaNotFound, InputError, MissingDependency: it cannot be opened or read.
        """
        packing = "infer" if is_packed else None
        with place_errors(self.path), self.system.open(self.path, "rb", compression=packing) as file:
            yield file

    def walk(self) -> Iterator[tuple[Place, list[str]]]:
        """(folder, sorted names of its files), folder by folder in sorted order.

        Hidden files and folders are passed over, and links to folders, which may lead in a circle.

        Raises:
            InputError: a folder cannot be listed.
        """
        with place_errors(self.path):
            if self.is_local:
                steps: Iterator[Any] = os.walk(self.path, onerror=_raise)
            else:
                steps = self.system.walk(self.path, on_error="raise")
            for folder, folders, files in steps:
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield self.at(folder), sorted(name for name in files if name and not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def open_place(where: str) -> Place:
    """The place that a path or a URL names; nothing is read yet.

    Raises:
        InputError: no URL that can be opened. MissingDependency: no package at hand speaks to that place.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    if not _SCHEME.match(where):
        return Place(LocalFileSystem(), str(Path(where).absolute()), is_local=True)
    with place_errors(where):
        system, path = fsspec.core.url_to_fs(where)
    is_local = isinstance(system, LocalFileSystem)
    return Place(system, path, is_local, "" if is_local else where.partition(_CHAIN)[2])


def packed_suffix(name: str) -> str:
    """The kind of a file, in small letters, without that of a packing."""
    path = posixpath.basename(name.lower())
    stem, dot = posixpath.splitext(path)
    return posixpath.splitext(stem)[1] if dot in _PACKED else dot


@contextmanager
def place_errors(name: str) -> Iterator[None]:
    """What a file system raises, in this package's words."""
    try:
        yield
    except (InputError, MissingDependency):
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaNotFound(f"{name}: there is no such file or folder", "check the path") from error
    except PermissionError as error:
        raise InputError(
            f"{name}: it may not be read ({error})", "see to its permissions or your credentials"
        ) from error
    except ImportError as error:
        raise MissingDependency(f"{name}: {error}", "install the package that fsspec names, such as s3fs") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{name}: it cannot be read ({error})", "check the path or URL, and that it is whole"
        ) from error


class Reach:
    """Which media a source's rows may name.

    A list on this machine may name any file of it; one from elsewhere only what lies in its own folder or below. URLs
    beyond that must begin with one of `allowed`: a list that somebody else wrote must not make this machine ask its
    neighbours.
    """

    def __init__(self, folder: Place, allowed: tuple[str, ...] = ()) -> None:
        for prefix in allowed:
            if not _SCHEME.match(prefix) or _CHAIN in prefix:
                raise OptionError(f"{prefix!r} is no URL", "write it like s3://bucket/folder")
        self._folder, self._allowed = folder, allowed

    def resolve(self, named: str) -> str:
        """The local path or URL that a row's text names.

        Raises:
            InputError: it lies out of reach, or is no name of a file.
        """
        if any(c < " " for c in named):
            raise InputError(f"{named[:100]!r} is no name of a file", "name a path or a URL")
        if scheme := _SCHEME.match(named):
            try:
                return self._resolve_url(named, scheme[1].lower())
            except ValueError as error:  # brackets that hold no address
                raise InputError(f"{named[:200]!r} is no URL ({error})", "write it like s3://bucket/name") from None
        if self._folder.is_local:
            return posixpath.join(self._folder.path, named)
        path = posixpath.normpath(named)
        if named.startswith("/") or path.startswith("..") or "\\" in named:
            raise InputError(f"{named[:200]!r} lies outside {self._folder.url()}", "name files below the list's folder")
        return self._folder.inside(path).url()

    def _resolve_url(self, url: str, scheme: str) -> str:
        if scheme == "file" and self._folder.is_local:
            return unquote(urlsplit(url).path)
        own = () if self._folder.is_local else (self._folder.url(),)
        if _CHAIN in url or ".." in unquote(url) or "\\" in url or "@" in urlsplit(url).netloc:
            raise InputError(f"{url[:200]!r} is not fetched", "write the URL plainly, without :: and ..")
        if not any(_begins(url, prefix) for prefix in (*own, *self._allowed)):
            root = "/".join(url.split("/")[:3])
            raise InputError(f"{url[:200]!r} is not fetched from there", f"allow it with --allow-media {root}/")
        return url


def _begins(url: str, prefix: str) -> bool:
    """Whether `url` lies at or below `prefix`: same scheme and host, and the path by whole names."""
    ours, theirs = urlsplit(prefix), urlsplit(url)
    if (ours.scheme.lower(), ours.netloc) != (theirs.scheme.lower(), theirs.netloc):
        return False
    root = ours.path.rstrip("/")
    return theirs.path == root or theirs.path.startswith(root + "/")
