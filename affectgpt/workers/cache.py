"""What was read from media, kept on disk by what it was read from: bounded, whole or absent, shared by processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from affectgpt.errors import OptionError
from affectgpt.workers.folders import locked, private_folder

__all__ = ["MediaCache"]

_HEAD: Final = struct.Struct("<24sd32s")
"""What an entry begins with: `_MAGIC`, when it was put (seconds since 1970), SHA-256 of that time and the value."""
_MAGIC: Final = b"affectgpt media cache 1\n"
_SUFFIX: Final = ".entry"
_KEY: Final = re.compile(r"[0-9a-f]{64}-[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_STALE_PART_S: Final = 3600.0
_LOOKS: Final = 100
"""How often a process looks the folder through while it fills it once."""


class MediaCache:
    """At most `max_bytes` of entries in `folder` (0700); the one used longest ago goes first.

    The folder is looked through after every hundredth of `max_bytes` that a process puts there, so several processes
    may exceed the bound by a hundredth each meanwhile: to list 100,000 entries takes longer than to write one.

    With `max_age_s` nothing is given back that was put longer ago, however often it was used since; `sweep` deletes it.

    An entry that was cut short, altered or written by another version of this form is a miss and is removed. Several
    processes may use the folder at once. A failing disk costs hits and never a request.
    """

    def __init__(self, folder: Path, max_bytes: int, max_age_s: float | None = None) -> None:
        if max_bytes < 0 or (max_age_s is not None and not max_age_s > 0):
            raise OptionError(f"a cache of {max_bytes} bytes for {max_age_s} s", "give 0 or more, and more than 0")
        self.folder = private_folder(folder)
        self.max_bytes, self.max_age_s = max_bytes, max_age_s
        self.n_hits = self.n_misses = 0
        self._n_new_bytes = 0
        self._n_seen_bytes: int | None = None

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
            put_s, value = _opened(path.read_bytes())
            if value is not None and not self._is_old(put_s):
                os.utime(path)
                self.n_hits += 1
                return value
            path.unlink(missing_ok=True)
        self.n_misses += 1
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep `value`; what is larger than the cache is not kept."""
        path = self._path(key)
        if len(value) + _HEAD.size > self.max_bytes:
            return
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                now_s = time.time()
                file.write(_HEAD.pack(_MAGIC, now_s, _digest(now_s, value)))
                file.write(value)
            part.replace(path)
            self._n_new_bytes += len(value) + _HEAD.size
            if self._is_look_due():
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

    def sweep(self) -> int:
        """Remove what is older than `max_age_s`; returns how many entries went."""
        n_gone = 0
        for _, _, path in self._entries() if self.max_age_s is not None else ():
            with suppress(OSError):
                with path.open("rb") as file:
                    head = file.read(_HEAD.size)
                if len(head) < _HEAD.size or self._is_old(_HEAD.unpack(head)[1]):
                    path.unlink()
                    n_gone += 1
        return n_gone

    def _is_old(self, put_s: float) -> bool:
        return self.max_age_s is not None and not 0 <= time.time() - put_s <= self.max_age_s

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

    def _is_look_due(self) -> bool:
        if self._n_seen_bytes is None or self._n_new_bytes > self.max_bytes // _LOOKS:
            return True
        return self._n_seen_bytes + self._n_new_bytes > self.max_bytes

    def _shrink(self) -> None:
        """Remove the oldest entries until the rest fits, and parts that a crash left behind."""
        with locked(self.folder / ".lock"):
            entries = self._entries()
            n_bytes = sum(size for _, size, _ in entries)
            # A full cache is emptied a little further, or the very next entry would have it looked through again.
            excess = n_bytes - (self.max_bytes - self.max_bytes // _LOOKS) if n_bytes > self.max_bytes else 0
            self._n_new_bytes, self._n_seen_bytes = 0, min(n_bytes, n_bytes - excess)
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


def _opened(data: bytes) -> tuple[float, bytes | None]:
    """When an entry was put, and its value; None where the entry is not whole."""
    if len(data) < _HEAD.size:
        return 0.0, None
    magic, put_s, digest = _HEAD.unpack_from(data)
    value = data[_HEAD.size :]
    return put_s, value if magic == _MAGIC and digest == _digest(put_s, value) else None


def _digest(put_s: float, value: bytes) -> bytes:
    digest = hashlib.sha256(struct.pack("<d", put_s))
    digest.update(value)
    return digest.digest()
