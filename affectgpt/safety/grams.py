"""Pieces of words as numbers: what the head reads in any language, after the folding that the rules read.

Each word is cut into pieces of three to five characters, with a blank before and after it (Bojanowski et al. 2017,
fastText, arXiv 1607.04606); the word and each pair of words are pieces, too. A piece stands at the place that its
CRC-32 names among N_BUCKETS (Weinberger et al. 2009, feature hashing, arXiv 0902.2206).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affectgpt.safety.folding import fold

__all__ = ["N_BUCKETS", "grams"]

N_BUCKETS = 1 << 14
_SIZES = (3, 4, 5)
_LONGEST = 40
"""Characters of a word that are read; longer words are none."""
_WORD = re.compile(r"[^\W_]+|[?!]")

Places = NDArray[np.int64]
Values = NDArray[np.float32]


def grams(text: str) -> tuple[Places, Values]:
    """Places (G,) among N_BUCKETS, and values (G,): square roots of counts, of unit length. Empty without a word."""
    words = [word[:_LONGEST] for word in _WORD.findall(fold(text).text)]
    if not words:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    parts = [_of_word(word) for word in words]
    parts.append(_of_pairs(words))
    places, counts = np.unique(np.concatenate(parts), return_counts=True)
    values = np.sqrt(counts).astype(np.float32)
    return places, values / np.float32(np.linalg.norm(values))


@lru_cache(maxsize=32_768)
def _of_word(word: str) -> Places:
    padded = f" {word} "
    pieces = [padded[at : at + n] for n in _SIZES for at in range(len(padded) - n + 1)]
    return np.array([_place(piece) for piece in {*pieces, padded}], np.int64)


def _of_pairs(words: Sequence[str]) -> Places:
    return np.array([_place(f"{one}\t{other}") for one, other in pairwise(["", *words, ""])], np.int64)


def _place(piece: str) -> int:
    return zlib.crc32(piece.encode("utf-8", "replace")) % N_BUCKETS
