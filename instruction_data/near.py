"""Rows that say again what an earlier row said: exactly, or nearly, by MinHash over words."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from instruction_data.splits import fold

if TYPE_CHECKING:
    from datasketch import MinHash

__all__ = ["Repeats"]

N_PERMUTATIONS = 64
BANDS, ROWS = 16, 4
"""Sixteen bands of four: of pairs alike to 0.9 all but one in 10^7 are compared, of pairs alike to 0.3 one in eight."""
SHINGLE = 4
"""Words of a shingle."""


class Repeats:
    """Remembers what was kept. A row costs 64 numbers, 16 entries and a hash: about 2 kB.

    datasketch's MinHash gives the sketches; its index keeps whole objects, this one numbers.
    """

    def __init__(self, near: float) -> None:
        self._near = near
        self._seen: set[bytes] = set()
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        self._sketches: list[NDArray[np.uint32]] = []

    def why_not(self, text: str) -> str:
        """`duplicate: …` where the same was kept before; otherwise it is remembered, and the answer is empty."""
        words = fold(text).split()
        exact = hashlib.blake2b(" ".join(words).encode(), digest_size=12).digest()
        if exact in self._seen:
            return "duplicate: word for word"
        if self._near:
            sketch = sketch_of(words)
            keys = [(b, sketch[b * ROWS : (b + 1) * ROWS].tobytes()) for b in range(BANDS)]
            near = {i for key in keys for i in self._bands.get(key, ())}
            if any(float((self._sketches[i] == sketch).mean()) >= self._near for i in near):
                return "duplicate: nearly"
            self._sketches.append(sketch)
            for key in keys:
                self._bands.setdefault(key, []).append(len(self._sketches) - 1)
        self._seen.add(exact)
        return ""


def sketch_of(words: list[str]) -> NDArray[np.uint32]:
    """The MinHash of a text's shingles: 64 numbers, equal in as many places as the two texts are alike.

    Raises:
        MissingDependency: datasketch is not installed.
    """
    shingles = {" ".join(words[i : i + SHINGLE]).encode() for i in range(max(1, len(words) - SHINGLE + 1))}
    sketch = _empty().copy()
    sketch.update_batch(list(shingles))
    return np.asarray(sketch.hashvalues, np.uint32)


@cache
def _empty() -> MinHash:
    """A sketch of nothing, to be copied: drawing its permutations anew took a tenth of a row's making.

    Raises:
        MissingDependency: datasketch is not installed.
    """
    try:
        from datasketch import MinHash
    except ImportError:
        raise MissingDependency(
            "finding near-duplicates needs datasketch", "pip install 'affectgpt[data]', or set filters.near=0"
        ) from None
    return MinHash(N_PERMUTATIONS, seed=1, hashfunc=_hash32)


def _hash32(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "big")
