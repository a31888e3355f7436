"""Sets of emotions that hold the right one at a chosen rate, and when to say nothing.

Split conformal prediction (Vovk et al. 2005; the score 1 - p of the true label: Sadinle et al. 2019). Over samples
exchangeable with those it was calibrated on, the set holds the true label with at least the chosen probability; on
other material, other microphones or other people it promises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from affectgpt.errors import InputError
from affectgpt.records import EmotionSet

__all__ = ["Threshold", "calibrate"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A calibrated cut: labels of at least `least` probability are in the set. `coverage` in (0, 1) was asked for.

    `n` samples set it.
    """

    least: float
    coverage: float
    n: int

    def choose(self, probabilities: Mapping[str, float], largest: int = 2) -> EmotionSet:
        """The set of one distribution; abstains where it is empty or holds more than `largest` labels."""
        ranked = sorted(probabilities, key=lambda label: -probabilities[label])
        kept = tuple(label for label in ranked if probabilities[label] >= self.least)
        return EmotionSet(kept, not 0 < len(kept) <= largest, self.coverage)


def calibrate(true_label_probabilities: ArrayLike, coverage: float) -> Threshold:
    """The cut from the probability (n,) that each calibration sample gave its true label.

    With too few samples for the coverage asked, every label is in every set.

    Raises:
        InputError: no samples, a value outside [0, 1], or a coverage outside (0, 1).
    """
    scores = 1.0 - np.asarray(true_label_probabilities, np.float64)
    if not 0 < coverage < 1:
        raise InputError(f"a coverage of {coverage:g}", "give a number between 0 and 1")
    if scores.ndim != 1 or not len(scores) or not ((scores >= 0) & (scores <= 1)).all():
        raise InputError("calibration needs a list of probabilities", "give one in [0, 1] for each sample")
    # The finite-sample quantile: the ceil((n + 1) coverage)-th smallest score.
    rank = math.ceil((len(scores) + 1) * coverage)
    cut = float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0
    # A label exactly at the cut belongs in the set, whatever the last bit of 1 - (1 - p) says.
    return Threshold(max(0.0, 1.0 - cut - 1e-12), coverage, len(scores))
