"""Sets of emotions that hold the right one at a chosen rate, and when to say nothing.

Split conformal prediction (Vovk et al. 2005; the score 1 - p of the true label: Sadinle et al. 2019). Over samples
exchangeable with those it was calibrated on, the set holds the true label with at least the chosen probability; on
other material, other microphones or other people it promises nothing.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from affectgpt.appraise.heads import head_folder
from affectgpt.errors import InputError, ModelError
from affectgpt.records import EmotionSet

__all__ = ["COVERAGE", "FILE", "Calibration", "Threshold", "calibrate", "load_calibration", "reading_key"]

COVERAGE = 0.9
"""Asked for where nobody asks for another."""
FILE = "conformal.json"


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


@dataclass(frozen=True, slots=True)
class Calibration:
    """The cuts of a set of appraisers, for every combination of modalities that was calibrated.

    coverages: ascending, in (0, 1). least: reading (`face`, `speech+voice` …) -> the cut at each of them. n: samples.
    """

    coverages: tuple[float, ...]
    least: Mapping[str, tuple[float, ...]]
    n: Mapping[str, int]

    def threshold(self, modalities: Collection[str], coverage: float = COVERAGE) -> Threshold | None:
        """The cut for a reading of these modalities fused; None for a combination that was not calibrated.

        A coverage between two that were stored takes the cut of the higher one; above the highest, every label is in
        the set.

        Raises:
            InputError: a coverage outside (0, 1).
        """
        if not 0 < coverage < 1:
            raise InputError(f"a coverage of {coverage:g}", "give a number between 0 and 1")
        key = reading_key(modalities)
        if key not in self.least:
            return None
        at = bisect_left(self.coverages, coverage - 1e-9)
        least = self.least[key][at] if at < len(self.coverages) else 0.0
        return Threshold(least, coverage, self.n[key])


def reading_key(modalities: Collection[str]) -> str:
    """The name of a combination of modalities, whatever their order."""
    return "+".join(sorted(set(map(str, modalities))))


def load_calibration(permissive: bool = False, folder: Path | None = None) -> Calibration | None:
    """The cuts that ship with a set of heads; None where it ships none, and then no set is told.

    Raises:
        ModelError: a file that does not hold what it should.
    """
    return _load((folder or head_folder(permissive)) / FILE)


@lru_cache(maxsize=8)
def _load(path: Path) -> Calibration | None:
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        coverages = tuple(map(float, document["coverages"]))
        least = {str(k): tuple(map(float, row["least"])) for k, row in document["readings"].items()}
        n = {str(k): int(row["n"]) for k, row in document["readings"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path.name} in {path.parent} holds no cuts ({error!r})", "reinstall, or calibrate again"
        ) from None
    rising = all(a < b for a, b in pairwise(coverages))
    fits = all(len(row) == len(coverages) and all(0 <= x <= 1 for x in row) for row in least.values())
    if not coverages or not rising or not fits:
        raise ModelError(f"{path.name} in {path.parent} does not fit together", "reinstall, or calibrate again")
    return Calibration(coverages, least, n)
