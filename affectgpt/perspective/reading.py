"""Reads a text sentence by sentence from the writer's side and the reader's, and finds the words that part the two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.difference import Bounds, DifferenceAppraiser, DifferenceReading
from affectgpt.appraise.words import DIMENSIONS
from affectgpt.errors import InputError
from affectgpt.perspective.findings import Difference, SentenceReading, WordShare
from affectgpt.safety.sentences import split_sentences

__all__ = ["LONGEST_SENTENCE", "LONGEST_TEXT", "SideReader", "find_differences", "gaps"]

LONGEST_TEXT = 200_000
"""Characters of a text that are taken: some 35,000 words, a short novel."""
LONGEST_SENTENCE = 64
"""Words of a sentence that are read at once; a longer one is read in equal parts."""
_WORD = re.compile(r"\S+")

Doubles = NDArray[np.float64]
Span = tuple[int, int]


class SideReader(Protocol):
    """Whatever reads both sides of sentences; `DifferenceAppraiser` does."""

    @property
    def bounds(self) -> Bounds:
        """What is calibrated."""
        ...

    def read(self, texts: Sequence[str]) -> DifferenceReading:
        """Both sides of each text."""
        ...

    def difference(self, texts: Sequence[str]) -> Doubles:
        """What `read` gives as the difference, alone."""
        ...


def find_differences(text: str, reader: SideReader | None = None) -> tuple[SentenceReading, ...]:
    """Every sentence of a text from both sides, flagged where these part; a text without a word gives none.

    A sentence of more than LONGEST_SENTENCE words stands as several. The encoder knows English.

    Raises:
        InputError: longer than LONGEST_TEXT. ModelError, MissingDependency: heads or encoder.
    """
    if len(text) > LONGEST_TEXT:
        raise InputError(f"a text of {len(text):,} characters", f"give at most {LONGEST_TEXT:,} at a time")
    spans = list(_sentences(text))
    if not spans:
        return ()
    reader = reader or DifferenceAppraiser()
    bounds, read = reader.bounds, reader.read([text[a:b] for a, b in spans])
    found = [_reading(text, span, read, k, bounds) for k, span in enumerate(spans)]
    return tuple(_with_words(found, text, reader))


def gaps(difference: Doubles, bounds: Bounds, towards: Doubles | None = None) -> Doubles:
    """How far the sides part (B,), in spreads: the widest difference of those that are told.

    towards (3,): the sum of the differences instead, each to the side given by +1 or -1, 0 for none.
    """
    spreads = difference / np.array(bounds.spread)
    if towards is None:
        return np.asarray(np.abs(spreads[:, np.array(bounds.told)]).max(axis=1))
    return np.asarray(spreads @ towards)


def directions(reading: SentenceReading) -> Doubles:
    """The side of each dimension (3,) as `gaps` takes it: those that are flagged alone."""
    return np.array([np.sign(d.value) * d.is_flagged for d in reading.differences])


def _reading(text: str, span: Span, read: DifferenceReading, k: int, bounds: Bounds) -> SentenceReading:
    writer, reader, value = read.writer[k], read.reader[k], read.difference[k]
    differences = tuple(
        Difference(
            name,
            float(writer[c]),
            float(reader[c]),
            float(value[c]),
            bounds.half_width[c],
            bool(bounds.told[c] and abs(value[c]) >= bounds.cut * bounds.spread[c]),
        )
        for c, name in enumerate(DIMENSIONS)
    )
    return SentenceReading(text[span[0] : span[1]], *span, differences)


def _with_words(found: Sequence[SentenceReading], text: str, reader: SideReader) -> Iterator[SentenceReading]:
    """The flagged sentences with the share of each word: what goes when it is left out, all read in one batch."""
    asked = {k: [m.span() for m in _WORD.finditer(text, s.start, s.end)] for k, s in enumerate(found) if s.flagged}
    without = {k: [_left_out(text, spans, n) for n in range(len(spans))] for k, spans in asked.items()}
    flat = [t for k in asked for t in (found[k].text, *without[k])]
    read = reader.difference(flat) if flat else np.zeros((0, len(DIMENSIONS)))
    at, bounds = 0, reader.bounds
    for k, sentence in enumerate(found):
        if k not in asked:
            yield sentence
            continue
        n = len(asked[k])
        left = gaps(read[at : at + n + 1], bounds, directions(sentence))
        at += n + 1
        shares = (left[0] - left[1:]) / left[0] if n > 1 else np.ones(n)
        words = [WordShare(text[a:b], a, b, float(x)) for (a, b), x in zip(asked[k], shares, strict=True)]
        ranked = tuple(sorted(words, key=lambda w: (-w.share, w.start)))
        yield SentenceReading(sentence.text, sentence.start, sentence.end, sentence.differences, ranked)


def _left_out(text: str, spans: Sequence[Span], n: int) -> str:
    return " ".join(text[a:b] for k, (a, b) in enumerate(spans) if k != n)


def _sentences(text: str) -> Iterator[Span]:
    """Where each sentence stands, without the white space around it; overlong ones in equal parts."""
    at = 0
    for piece in split_sentences(text):
        words = [m.span() for m in _WORD.finditer(text, at, at + len(piece))]
        at += len(piece)
        n = -(-len(words) // LONGEST_SENTENCE)
        edges = [round(k * len(words) / n) for k in range(n + 1)] if n else []
        yield from ((words[a][0], words[b - 1][1]) for a, b in pairwise(edges))
