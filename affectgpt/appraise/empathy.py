"""Empathy and distress of whoever wrote a text about somebody's misfortune, as they would rate themselves.

Two reactions that go together and are not the same (Batson et al. 1987): empathy is warm and for the other (tender,
moved, compassionate), distress is for oneself (upset, troubled, disturbed). The head was fitted on messages of a few
sentences that readers of sad news wrote to friends (Buechel et al. 2018, Empathic Reactions); on other texts it is a
guess, and it tells of a text, never of what sort of person somebody is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import Encoder, load_encoder
from affectgpt.appraise.heads import Head, load_head
from affectgpt.appraise.words import HEADS, LAYERS, own_rows
from affectgpt.errors import InputError, ModelError

__all__ = ["HEAD", "PIECE_WORDS", "SCALES", "EmpathyAppraiser", "reaction_rows"]

HEAD = "words_empathy"
SCALES = ("empathy", "distress")
"""Columns of what is read; each from 1, not at all, to 7, extremely."""
PIECE_WORDS = 80
"""Words that are read at once: about a hundred word pieces, where the encoder takes 128. A longer text is read in equal
pieces, each counting by its words."""

Features = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> rows (B, 384 x layers), as `Encoder.features` gives them."""
Tags = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Those rows -> GoEmotions logits (B, 28)."""


class EmpathyAppraiser:
    """Empathy and distress from words. Loads the set's tuned encoder and its heads at the first text."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive

    def read(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Empathy and distress (B, 2) in [1, 7], columns as in SCALES; NaN for a text without a word.

        Raises:
            InputError: what is no text. ModelError, MissingDependency: heads or encoder.
        """
        if isinstance(texts, str):
            raise InputError("one text where a list of texts is expected", "wrap it in a list")
        found = np.full((len(texts), len(SCALES)), np.nan)
        said = [k for k, text in enumerate(texts) if not isinstance(text, str) or text.split()]
        if not said:
            return found
        encoder = load_encoder(tuned="permissive" if self._permissive else "default")
        head, tags = self._head(HEAD, encoder), self._head(HEADS["goemotions28"], encoder)
        rows = reaction_rows([texts[k] for k in said], lambda t: encoder.features(t, LAYERS), tags.logits)
        found[said] = head.values(rows)
        return found

    def _head(self, name: str, encoder: Encoder) -> Head:
        head = load_head(name, self._permissive)
        if head.card["input"].get("update", "") != encoder.update_sha256:
            raise ModelError(f"head {name} was fitted on another encoder's vectors", "reinstall, or retrain it")
        return head


def reaction_rows(texts: Sequence[str], features: Features, tags: Tags) -> NDArray[np.float32]:
    """Rows (B, D) that the head reads: those of the words appraiser, averaged over the text's pieces by their words."""
    cut = [_pieces(text) for text in texts]
    flat = [piece for pieces in cut for piece in pieces]
    vectors = features(flat)
    own = own_rows(vectors, tags(vectors))
    weight = np.array([max(1, len(piece.split())) for piece in flat], np.float32)
    owner = np.repeat(np.arange(len(texts)), [len(pieces) for pieces in cut])
    rows, total = np.zeros((len(texts), own.shape[1]), np.float32), np.zeros(len(texts), np.float32)
    np.add.at(rows, owner, own * weight[:, None])
    np.add.at(total, owner, weight)
    mean: NDArray[np.float32] = rows / total[:, None]
    return mean


def _pieces(text: str) -> list[str]:
    """Equal runs of at most PIECE_WORDS words; what is no string passes, so that the encoder names it."""
    words = text.split() if isinstance(text, str) else []
    if len(words) <= PIECE_WORDS:
        return [text]
    n = -(-len(words) // PIECE_WORDS)
    edges = [round(k * len(words) / n) for k in range(n + 1)]
    return [" ".join(words[a:b]) for a, b in pairwise(edges)]
