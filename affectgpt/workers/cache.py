"""What was read from media, kept on disk by what it was read from: bounded, whole or absent, shared by processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from affectgpt.errors import OptionError
from affectgpt.workers.folders import locked, private_folder

__all__ = ["MediaCache"]

_MAGIC: Final = b"affectgpt media cache 1\n"
_SUFFIX: Final = ".entry"
_KEY: Final = re.compile(r"[0-9a-f]{64}-[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_STALE_PART_S: Final = 3600.0


class MediaCache:
    """At most `max_bytes` of entries in `folder` (0700); the one used longest ago goes first.

    An entry that was cut short, altered or written by another version of this form is a miss and is removed. Several
    processes may use the folder at once. A failing disk costs hits and never a request.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        if max_bytes < 0:
            raise OptionError(f"a cache of {max_bytes} bytes", "give 0 or more")
        self.folder = private_folder(folder)
        self.max_bytes = max_bytes
        self.n_hits = self.n_misses = 0

    @staticmethod
    def key(media_sha256: str, *shaped_by: object) -> str:
        """A key: the media's hash, then everything that shapes the reading (in JSON's types), by hash too."""
        if not _SHA256.fullmatch(media_sha256):
            raise OptionError(f"{media_sha256!r} is no SHA-256", "hash the media with affectgpt.media.media_hash")
        text = json.dumps(shaped_by, sort_keys=True, ensure_ascii=True)
        return f"{media_sha256}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, or None."""
        path = self._path(key)
        with suppress(OSError):
            value = _opened(path.read_bytes())
            if value is not None:
                os.utime(path)
                self.n_hits += 1
                return value
            path.unlink(missing_ok=True)
        self.n_misses += 1
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value`; what is larger than the cache is not kept."""
        path = self._path(key)
        if len(value) + len(_MAGIC) + 32 > self.max_bytes:
            return
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_MAGIC + hashlib.sha256(value).digest())
                file.write(value)
            part.replace(path)
            self._shrink()
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def forget(self, media_sha256: str) -> int:
        """Remove everything that was read from this medium; returns how many entries there were."""
        if not _SHA256.fullmatch(media_sha256):
            return 0
        found = list(self.folder.glob(f"{media_sha256}-*"))
        for path in found:
            path.unlink(missing_ok=True)
        return sum(path.suffix == _SUFFIX for path in found)

    @property
    def n_bytes(self) -> int:
        """Bytes of all entries now."""
        return sum(size for _, size, _ in self._entries())

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise OptionError(f"{key!r} is no key of a media cache", "make it with MediaCache.key")
        return self.folder / (key + _SUFFIX)

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(last use in ns, bytes, path), the one used longest ago first."""
        found = []
        with os.scandir(self.folder) as listed:
            for entry in listed:
                if entry.name.endswith(_SUFFIX):
                    with suppress(OSError):
                        now = entry.stat(follow_symlinks=False)
                        found.append((now.st_mtime_ns, now.st_size, Path(entry.path)))
        return sorted(found)

    def _shrink(self) -> None:
        """Remove the oldest entries until the rest fits, and parts that a crash left behind."""
        with locked(self.folder / ".lock"):
            entries = self._entries()
            excess = sum(size for _, size, _ in entries) - self.max_bytes
            for _, size, path in entries:
                if excess <= 0:
                    break
                path.unlink(missing_ok=True)
                excess -= size
            newest_s = max((used_ns for used_ns, _, _ in entries), default=0) / 1e9
            for part in self.folder.glob("*.part"):
                with suppress(OSError):
                    if newest_s - part.stat().st_mtime > _STALE_PART_S:
                        part.unlink(missing_ok=True)


def _opened(data: bytes) -> bytes | None:
    """The value of an entry, None where the entry is not whole."""
    begin = len(_MAGIC) + 32
    if not data.startswith(_MAGIC) or len(data) < begin:
        return None
    value = data[begin:]
    return value if hashlib.sha256(value).digest() == data[len(_MAGIC) : begin] else None
