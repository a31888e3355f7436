"""Which rows are there, in little memory: some 300 bytes a row, whatever the row holds."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from affectgpt.batch.fingerprints import DIGITS
from affectgpt.batch.records import Done, Fingerprints

__all__ = ["Index", "digest_of"]

_LENGTHS: Final = (32, DIGITS // 2, DIGITS // 2, 16)
"""Bytes of a medium's hash, of the two fingerprints, and of a stamp."""
_HEX: Final = re.compile("[0-9a-f]*")


def digest_of(id: str) -> bytes:
    """16 bytes that stand for an id."""
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Index:
    """What is known of each row, by id. `n_ok` and `n_failed` count them."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes | Done] = {}
        self.n_ok = self.n_failed = 0

    def get(self, id: str) -> Done | None:
        """What is known of this row, or None."""
        packed = self._rows.get(digest_of(id))
        return _unpack(packed) if isinstance(packed, bytes) else packed

    def put(self, id: str, done: Done) -> bool:
        """Remember a row; whether another stood under its id."""
        key, packed = digest_of(id), _pack(done)
        earlier = self._rows.get(key)
        self._rows[key] = packed
        if earlier is not None:
            self._count(earlier, -1)
        self._count(packed, 1)
        return earlier is not None

    def __contains__(self, id: str) -> bool:
        return digest_of(id) in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def _count(self, packed: bytes | Done, by: int) -> None:
        if packed[0] & 1 if isinstance(packed, bytes) else packed.status == "ok":
            self.n_ok += by
        else:
            self.n_failed += by


def _pack(done: Done) -> bytes | Done:
    """A byte of flags (bit 0: ok; bit 1 + n: the nth hash is there), then the hashes that are there.

    What does not fit this form, as others may have written it, is kept as it is.
    """
    prints = done.fingerprints
    flags, parts = int(done.status == "ok"), []
    for n, text in enumerate((prints.media_sha256, prints.perception, prints.answer, done.media_stamp)):
        if text is not None:
            if not _HEX.fullmatch(text) or len(text) != 2 * _LENGTHS[n]:
                return done
            parts.append(bytes.fromhex(text))
            flags |= 2 << n
    return bytes([flags]) + b"".join(parts)


def _unpack(packed: bytes) -> Done:
    at, texts = 1, []
    for n, length in enumerate(_LENGTHS):
        is_there = packed[0] & (2 << n)
        texts.append(packed[at : at + length].hex() if is_there else None)
        at += length if is_there else 0
    media_sha256, perception, answer, stamp = texts
    return Done("ok" if packed[0] & 1 else "failed", Fingerprints(media_sha256, perception, answer), stamp)
