"""What a scorer gives: named statistics over samples, taken by sample numbers so that any can be bootstrapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation.intervals import Statistic
from affectgpt.evaluation.samples import Sample

__all__ = ["Measure", "Scorer", "ScoringPlan", "with_gold"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A named statistic over the `n` samples of `members` (their places in the run).

    is_resampled: whether it has an interval; a figure that falls where a sample is drawn twice has none.
    """

    name: str
    statistic: Statistic
    members: NDArray[np.intp]
    higher_is_better: bool = True
    note: str = ""
    is_resampled: bool = True


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """What scorers need to know: the labels, the training side's label shares, the wheels' folder and own forms."""

    labels: tuple[str, ...]
    prior: Mapping[str, float] = field(default_factory=dict)
    wheels: Path | None = None
    wheel_forms: Mapping[str, Sequence[str]] = field(default_factory=dict)


Scorer = Callable[[Sequence[Sample], ScoringPlan], list[Measure]]


def with_gold(samples: Sequence[Sample], has: Callable[[Sample], bool]) -> NDArray[np.intp]:
    """Places of the samples with a usable gold that `has` what is to be scored."""
    return np.array([i for i, s in enumerate(samples) if s.has_gold and has(s)], dtype=np.intp)
