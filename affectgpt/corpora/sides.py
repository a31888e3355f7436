"""Sides of a corpus that is published in one piece: each key drawn by its own hash, the same for ever."""

from __future__ import annotations

import hashlib

__all__ = ["place_of"]


def place_of(key: str, seed: int = 0) -> float:
    """Where a key (a speaker, a dialogue) lies in [0, 1): evenly spread, and its own whatever else there is."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
