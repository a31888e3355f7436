"""How far a reader's feeling likely lies from the writer's: valence, arousal and dominance of one sentence, twice.

EmoBank's raters judged each sentence from the writer's side and from the reader's (Buechel & Hahn 2017). Most of what
parts the two numbers is that a handful of people rated: how little of it could be told at all, and how little a head
tells, stands on its card. The card's bounds are calibrated so that few sentences are flagged that raters see alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.encoder import load_encoder
from affectgpt.appraise.heads import load_head
from affectgpt.appraise.words import DIMENSIONS, LAYERS, WordsAppraiser
from affectgpt.errors import ModelError

__all__ = ["HEAD", "Bounds", "DifferenceAppraiser", "DifferenceReading"]

HEAD = "words_difference"

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What was calibrated on sentences that nothing was fitted on, by dimension as in DIMENSIONS.

    told: whether raters' differences hold more than their noise; a dimension that is not told is never flagged.
    spread: deviation of the predicted differences. cut: the largest predicted difference, in spreads, from which a
    sentence is flagged; of sentences that raters see alike from both sides at most `false_alarms` reach it (split
    conformal over those alone). half_width: the true difference lies within it of the predicted one at `coverage`.
    n_alike, n: sentences that set the cut, and the half widths.
    hits: how often raters of other sentences found a difference to the side that a flag told, of half a point of five
    or more; hits_unflagged: how often they found one to the side predicted where nothing was flagged.
    """

    told: tuple[bool, ...]
    spread: tuple[float, ...]
    cut: float
    false_alarms: float
    half_width: tuple[float, ...]
    coverage: float
    n_alike: int
    n: int
    hits: float
    hits_unflagged: float


@dataclass(frozen=True, slots=True, eq=False)
class DifferenceReading:
    """Of B sentences: what both sides feel together (B, 3), and the reader's less the writer's (B, 3), in [-2, 2]."""

    middle: Doubles
    difference: Doubles

    @property
    def writer(self) -> Doubles:
        """What the writer likely feels (B, 3), in [-1, 1]."""
        return np.clip(self.middle - self.difference / 2, -1, 1)

    @property
    def reader(self) -> Doubles:
        """What a reader likely feels (B, 3), in [-1, 1]."""
        return np.clip(self.middle + self.difference / 2, -1, 1)


class DifferenceAppraiser:
    """Reads both sides of sentences. Loads the encoders and the heads at the first call that needs them."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive
        self._words = WordsAppraiser(permissive)

    @property
    def bounds(self) -> Bounds:
        """What is calibrated. Raises ModelError where the head's card does not say."""
        card = load_head(HEAD, self._permissive).card
        try:
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in card["bounds"].items()}
            bounds = Bounds(**given)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"head {HEAD} does not fit together: its bounds ({error})", "reinstall it") from None
        sizes = {len(row) for row in (bounds.told, bounds.spread, bounds.half_width)}
        if sizes != {len(DIMENSIONS)} or min(bounds.spread) <= 0 or not any(bounds.told):
            raise ModelError(f"head {HEAD} does not fit together: its bounds", "reinstall it")
        return bounds

    def read(self, texts: Sequence[str]) -> DifferenceReading:
        """Both sides of each text.

        Raises:
            InputError: what is no text. ModelError, MissingDependency: heads or encoder.
        """
        return DifferenceReading(self._words.dimensions(texts), self.difference(texts))

    def difference(self, texts: Sequence[str]) -> Doubles:
        """The reader's less the writer's alone (B, 3), at half the cost. Raises as `read`."""
        head, encoder = load_head(HEAD, self._permissive), load_encoder()
        if head.card["input"].get("update", "") != encoder.update_sha256:
            raise ModelError(f"head {HEAD} was fitted on another encoder's vectors", "reinstall, or retrain it")
        return head.values(encoder.features(texts, LAYERS))
