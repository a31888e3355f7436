"""Figures over replies as texts: BLEU up to an order, and how little they repeat each other.

Each is taken from counts of single replies, so that a bootstrap adds counts up instead of reading the texts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency

__all__ = ["BleuCounts", "count_bleu", "distinct", "word_groups"]

ORDER = 4
"""Longest n-gram counted."""


@dataclass(frozen=True, slots=True, eq=False)
class BleuCounts:
    """What BLEU is made of: the n-grams of each of B replies, right and written, and its and its reference's length.

    right, written (B, ORDER) · length, reference_length (B,), in tokens.
    """

    right: NDArray[np.int64]
    written: NDArray[np.int64]
    length: NDArray[np.int64]
    reference_length: NDArray[np.int64]

    def bleu(self, at: NDArray[np.intp], order: int) -> float:
        """Corpus BLEU in [0, 100] over these replies, with n-grams up to `order`, smoothed as sacrebleu does (exp)."""
        from sacrebleu.metrics.bleu import BLEU

        sums = self.right[at].sum(0)[:order].tolist(), self.written[at].sum(0)[:order].tolist()
        lengths = int(self.length[at].sum()), int(self.reference_length[at].sum())
        score = BLEU.compute_bleu(*sums, *lengths, smooth_method="exp", max_ngram_order=order)
        return float(score.score)


def count_bleu(replies: Sequence[str], references: Sequence[Sequence[str]]) -> BleuCounts:
    """Counts of replies against their references (Papineni et al. 2002), lower case, sacrebleu's 13a tokens.

    Raises:
        MissingDependency: sacrebleu.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", "pip install 'affectgpt[eval]'") from None
    counter = BLEU(lowercase=True, effective_order=True, max_ngram_order=ORDER)
    scores: list[Any] = [counter.sentence_score(r, list(rs)) for r, rs in zip(replies, references, strict=True)]
    return BleuCounts(
        np.array([s.counts for s in scores], np.int64).reshape(-1, ORDER),
        np.array([s.totals for s in scores], np.int64).reshape(-1, ORDER),
        np.array([s.sys_len for s in scores], np.int64),
        np.array([s.ref_len for s in scores], np.int64),
    )


def distinct(texts: Iterable[str], n: int) -> float:
    """Share of different groups of `n` neighbouring words among all of them, lower case; NaN where there is none.

    distinct-n of Li et al. 2016 (arXiv 1510.03055), over words. It falls as more texts are looked at: compare sets of
    one size.
    """
    groups = [group for text in texts for group in word_groups(text, n)]
    return len(set(groups)) / len(groups) if groups else float("nan")


def word_groups(text: str, n: int) -> list[tuple[str, ...]]:
    """The groups of `n` neighbouring words of a text, lower case."""
    words = text.lower().split()
    return list(zip(*(islice(words, k, None) for k in range(n)), strict=False))
