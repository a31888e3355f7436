"""A reader of both sides, and an embedder, whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.difference import Bounds, DifferenceReading

VOCABULARY = ("wonderful", "beaten", "dog", "fine", "whatever", "the", "was", "said")


@dataclass
class FakeSides:
    """Each loaded word moves the reader from the writer; `asked` holds the batches that were read."""

    weights: dict[str, tuple[float, float, float]] = field(
        default_factory=lambda: {
            "beaten": (-0.4, 0.3, 0.0),
            "whatever": (-0.3, 0.0, 0.0),
            "fine": (0.2, 0.0, 0.0),
            "cheered": (0.6, 0.0, 0.0),
            "ordered": (0.0, 0.0, -0.9),
        }
    )
    asked: list[list[str]] = field(default_factory=list)
    bounds: Bounds = field(
        default_factory=lambda: Bounds(
            (True, True, False), (0.1, 0.1, 0.1), 2.5, 0.05, (0.3, 0.3, 0.3), 0.9, 500, 800, 0.2, 0.1
        )
    )

    def read(self, texts: Sequence[str]) -> DifferenceReading:
        """Around one middle."""
        difference = self.difference(texts)
        return DifferenceReading(np.full_like(difference, 0.1), difference)

    def difference(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The sum over a text's words."""
        self.asked.append(list(texts))
        rows = [[self.weights.get(w.strip(".,!?").lower(), (0, 0, 0)) for w in t.split()] for t in texts]
        return np.array([np.sum(r, axis=0) if r else np.zeros(3) for r in rows], np.float64).reshape(-1, 3)


class FakeEmbedder:
    """Bags of words over VOCABULARY, of unit length."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows (B, 9); the last column keeps a text without known words from being nothing."""
        rows = [[*(t.lower().count(w) for w in VOCABULARY), 0.1] for t in texts]
        vectors = np.array(rows, np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
