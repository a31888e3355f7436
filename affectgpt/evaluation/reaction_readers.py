"""Predictors of what a text does to people: its writer's empathy and distress, and how far reader and writer part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import difference, empathy
from affectgpt.appraise.heads import read_card
from affectgpt.appraise.words import DIMENSIONS
from affectgpt.corpora import Example
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction

__all__ = ["DifferenceOfSides", "Empathy"]


class Empathy:
    """Empathy and distress, 1 to 7, by the trained head."""

    def __init__(self, labels: LabelSet, permissive: bool = False) -> None:
        self._read = empathy.EmpathyAppraiser(permissive)
        self.origin = _origin(empathy.HEAD, permissive)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By text; an example without words is not answered."""
        return _numbers(examples, empathy.SCALES, self._read.read)


class DifferenceOfSides:
    """The reader's valence, arousal and dominance less the writer's, by the trained head."""

    def __init__(self, labels: LabelSet, permissive: bool = False) -> None:
        self._read = difference.DifferenceAppraiser(permissive)
        self.origin = _origin(difference.HEAD, permissive)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By text; an example without words is not answered."""
        return _numbers(examples, DIMENSIONS, self._read.difference)


def _numbers(
    examples: Sequence[Example], names: Sequence[str], read: Callable[[Sequence[str]], NDArray[np.float64]]
) -> list[Answer]:
    said = [e for e in examples if (e.text or "").strip()]
    rows = read([e.text or "" for e in said]).tolist() if said else []
    found = {e.id: Prediction(values=dict(zip(names, row, strict=True))) for e, row in zip(said, rows, strict=True)}
    return [found.get(e.id, Prediction(unparsed="the appraiser had nothing to read")) for e in examples]


def _origin(name: str, permissive: bool) -> str:
    card = read_card(name, permissive)
    return f"{name}: fitted on {', '.join(card['data'])}; {card['split']}"
