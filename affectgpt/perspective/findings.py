"""What is found of a sentence: both sides' feelings, where they part, and the words that part them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Difference", "SentenceReading", "WordShare"]

_TOLD = {
    "valence": ("more pleasant", "more unpleasant"),
    "arousal": ("more stirring", "calmer"),
    "dominance": ("more in control", "less in control"),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One dimension of one sentence: writer and reader in [-1, 1], and the reader's less the writer's.

    half_width: the difference that raters would find lies within it of `value`, at the coverage of the bounds.
    is_flagged: whether `value` reaches the calibrated cut.
    """

    dimension: str
    writer: float
    reader: float
    value: float
    half_width: float
    is_flagged: bool

    @property
    def told(self) -> str:
        """The side that the reader's feeling lies to, in words: `more unpleasant`."""
        return _TOLD[self.dimension][self.value < 0]


@dataclass(frozen=True, slots=True)
class WordShare:
    """A word as it stands in the text, from `start` to `end`, and the share of the flagged difference that it carries.

    The share is what goes of the difference when the word is left out: 1 all of it, 0 nothing, below 0 the word
    holds the sides together.
    """

    word: str
    start: int
    end: int
    share: float


@dataclass(frozen=True, slots=True)
class SentenceReading:
    """One sentence, from `start` to `end` of the text; `words` where it is flagged, the heaviest first."""

    text: str
    start: int
    end: int
    differences: tuple[Difference, ...]
    words: tuple[WordShare, ...] = ()

    @property
    def flagged(self) -> tuple[Difference, ...]:
        """The dimensions on which the sides part; empty where they do not."""
        return tuple(d for d in self.differences if d.is_flagged)

    @property
    def told(self) -> str:
        """What a reader likely feels beside the writer, in words; empty where the sides do not part."""
        return ", ".join(d.told for d in self.flagged)
