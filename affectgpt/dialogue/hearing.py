"""What the words appraiser hears in a line, read once a line: feelings, a vector; and its cause words.

One pass of the encoder serves all heads of a line, and what was heard is kept for a while, as numbers and without the
words, because a conversation is read again at every turn. Heads and their inputs are `affectgpt.appraise.words`'s own.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import WIDTH, Encoder, WordStates, load_encoder
from affectgpt.appraise.heads import Head, load_head
from affectgpt.appraise.words import HEADS, LAYERS, N_CONTEXT, dialogue_rows, own_rows
from affectgpt.corpora import MELD
from affectgpt.emotions import load_lexicon
from affectgpt.errors import ModelError

__all__ = ["LONGEST_HEARD", "EncoderHearing", "Heard", "Hearing", "clipped", "spelt"]

Float = NDArray[np.float32]
Double = NDArray[np.float64]
CauseWords = tuple[tuple[int, int, float], ...]
"""(start, end, probability) a word, in characters."""

LONGEST_HEARD = 480
"""Characters of a line that are read: about what the encoder's 128 word pieces hold of English."""
N_PICTOGRAPHS = 8
"""Different pictographs of a line that are spelt out."""
_LAST_LETTERS = 0x2000
_BLANK = re.compile(r"\s+")
N_KEPT = 1024
"""Lines kept: about 6 MB, and more than are read of a conversation."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One line alone.

    feelings: probability by label of the hearing's `label_set`. vector (384,): the last layer's token average.
    row (1208,) and tags (28,): the heads' inputs. cause_words: of the line as it was read (`spelt`, `clipped`).
    """

    feelings: Mapping[str, float]
    vector: Float
    row: Float
    tags: Double
    cause_words: CauseWords = ()


class Hearing(Protocol):
    """Who reads lines. `label_set` names the set of the feelings."""

    label_set: str

    def line(self, text: str) -> Heard:
        """What one line tells by itself."""
        ...

    def causes(self, text: str) -> CauseWords:
        """The line's words as (start, end, probability that it lies in the span that caused a feeling), in characters.

        Empty where nobody can tell.
        """
        ...

    def emissions(self, lines: Sequence[str], n_read: int) -> Double:
        """Probabilities (n_read, 7) in meld7's order of the last `n_read` lines, each with those before it in view."""
        ...


class EncoderHearing:
    """The package's encoder and heads. Loads at the first line; threads may share it.

    `permissive` takes the freely licensed heads: its feelings are basic8's, and there are no cause words.
    `line_head` reads lines in dialogue: basic8, fitted on three kinds of talk, or meld7, on Friends alone.
    """

    def __init__(self, permissive: bool = False, line_head: Literal["basic8", "meld7"] = "basic8") -> None:
        self._line_head = line_head
        self.label_set = "basic8" if permissive else "empathetic32"
        self._permissive = permissive
        self._kept: OrderedDict[bytes, Heard] = OrderedDict()
        self._lock = threading.Lock()

    def line(self, text: str) -> Heard:
        """See `Hearing.line`. Raises ModelError, MissingDependency: heads or encoder."""
        return self.lines([text])[0]

    def lines(self, texts: Sequence[str]) -> list[Heard]:
        """Several at once; those heard before are not read again. One thread reads at a time: the encoder is shared."""
        asked = [clipped(spelt(clipped(text))) for text in texts]
        with self._lock:
            keys = [_key(t) for t in asked]
            fresh = {k: t for k, t in zip(keys, asked, strict=True) if k not in self._kept}
            if fresh:
                self._kept.update(zip(fresh, self._hear(list(fresh.values())), strict=True))
            found = [self._kept[k] for k in keys]
            for k in keys:
                self._kept.move_to_end(k)
            while len(self._kept) > N_KEPT:
                self._kept.popitem(last=False)
        return found

    def causes(self, text: str) -> CauseWords:
        """See `Hearing.causes`. Of a long line what is read of it counts; pictographs have no places."""
        if self._permissive or not text.strip():
            return ()
        read = clipped(text)
        if spelt(read) == read:
            # The tail of a line that was clipped stands as far from its end as it did.
            head, shift = (len(read), 0) if read == text else (len(_head(text)), len(text) - len(read))
            moved = ((0 if a < head else shift, a, b, p) for a, b, p in self.line(text).cause_words)
            return tuple((a + s, b + s, p) for s, a, b, p in moved)
        with self._lock:
            return self._causes(self._encoder.words([text[:LONGEST_HEARD]])[0])

    def emissions(self, lines: Sequence[str], n_read: int) -> Double:
        """See `Hearing.emissions`."""
        if not n_read:
            return np.zeros((0, len(MELD)))
        heard = self.lines(lines[-(n_read + N_CONTEXT) :])
        tags = np.stack([h.tags for h in heard])
        first = len(heard) - n_read
        rows = np.stack([h.row for h in heard[first:]])
        history = [tags[max(0, k - N_CONTEXT) : k] for k in range(first, len(heard))]
        head = self._head(HEADS[self._line_head])
        found = head.probabilities(dialogue_rows(rows, history))
        return _as_meld(found, head.classes)

    @property
    def _encoder(self) -> Encoder:
        if not load_head(HEADS["goemotions28"], self._permissive).card["input"].get("update"):
            return load_encoder()
        return load_encoder(tuned="permissive" if self._permissive else "default")

    def _head(self, name: str) -> Head:
        head = load_head(name, self._permissive)
        if head.card["input"].get("update", "") != self._encoder.update_sha256:
            raise ModelError(f"head {name} was fitted on another encoder's vectors", "reinstall, or retrain the words")
        return head

    def _hear(self, texts: Sequence[str]) -> list[Heard]:
        features, words = self._encoder.read(texts, LAYERS)
        tags = self._head(HEADS["goemotions28"]).logits(features)
        rows = own_rows(features, tags)
        return [
            Heard(felt, features[k, -WIDTH:], rows[k], tags[k], self._causes(words[k]))
            for k, felt in enumerate(self._feelings(rows, tags))
        ]

    def _causes(self, read: WordStates) -> CauseWords:
        if self._permissive or not read.spans:
            return ()
        p = self._head("words_cause").probabilities(read.states)[:, 0]
        return tuple((a, b, float(x)) for (a, b), x in zip(read.spans, p, strict=True))

    def _feelings(self, rows: Float, tags: Double) -> list[dict[str, float]]:
        head = self._head(HEADS[self.label_set])
        inputs = dialogue_rows(rows, [tags[:0]] * len(rows)) if self._permissive else rows
        return [dict(zip(head.classes, map(float, p), strict=True)) for p in head.probabilities(inputs)]


def _key(text: str) -> bytes:
    """A line's place among those kept: no word of it stays."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def spelt(text: str) -> str:
    """The text with its pictographs as their Unicode names: the encoder's vocabulary holds hardly any of them."""
    found = [c for c in text if ord(c) > _LAST_LETTERS and unicodedata.category(c) == "So"]
    for c in list(dict.fromkeys(found))[:N_PICTOGRAPHS]:
        text = text.replace(c, f" {unicodedata.name(c, '').lower()} ")
    return text if not found else " ".join(text.split())


def clipped(text: str) -> str:
    """What is read of a line: all, or its first third and last two thirds where it is long, cut between words.

    A long message says what it is about at its beginning and what it comes to at its end.
    """
    if len(text) <= LONGEST_HEARD:
        return text
    tail = text[1 + LONGEST_HEARD // 3 - LONGEST_HEARD :]
    # Cut after its first blank, so that what is left is a piece of the text as it stands.
    blank = _BLANK.search(tail)
    return f"{_head(text)} {tail[blank.end() :] if blank and blank.end() < len(tail) else tail}"


def _head(text: str) -> str:
    """The beginning of a long line."""
    head = text[: LONGEST_HEARD // 3]
    return head.rsplit(maxsplit=1)[0] if len(head.split()) > 1 else head


def _as_meld(found: Double, classes: Sequence[str]) -> Double:
    """Probabilities over a head's classes as ones over meld7, in its order."""
    lexicon = load_lexicon()
    moved = np.zeros((len(found), len(MELD)))
    for k, label in enumerate(classes):
        name = label if label in MELD else lexicon.convert(label, "basic8", "meld7")
        if name is None:
            raise ModelError(f"the label {label!r} has no place in meld7", "reinstall")
        moved[:, MELD.index(name)] += found[:, k]
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))
