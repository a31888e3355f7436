"""Speed of reading a turn from both sides, and of empathy and distress: JSON on stdout.

A turn of one to five sentences, warm, one at a time, as a conversation brings them; the words that part the sides are
sought in every sentence, as if all were flagged, which is the most that a turn can cost. Milliseconds at the median and
the 95th percentile, beside the target for everything of a turn but the language model. Never a timed test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bench_appraisers import VOCABULARY
from numpy.typing import NDArray

from affectgpt.appraise.difference import Bounds, DifferenceAppraiser, DifferenceReading
from affectgpt.appraise.empathy import EmpathyAppraiser
from affectgpt.perspective import find_differences

TARGET_MS = 40.0
MOST_SENTENCES, MOST_WORDS = 5, 20


class AllFlagged:
    """The shipped reader with a cut that everything reaches."""

    def __init__(self) -> None:
        self._read = DifferenceAppraiser()

    @property
    def bounds(self) -> Bounds:
        """The card's, but for the cut."""
        return replace(self._read.bounds, cut=0.0)

    def read(self, texts: Sequence[str]) -> DifferenceReading:
        """As shipped."""
        return self._read.read(texts)

    def difference(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As shipped."""
        return self._read.difference(texts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=200)
    asked = parser.parse_args()
    said, shipped, flagged, empathy = turns(asked.turns), DifferenceAppraiser(), AllFlagged(), EmpathyAppraiser()
    kinds: dict[str, Callable[[str], object]] = {
        "both sides": lambda text: find_differences(text, shipped),
        "both sides, every word weighed": lambda text: find_differences(text, flagged),
        "empathy and distress": lambda text: empathy.read([text]),
    }
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    found = {name: measure(read, said) for name, read in kinds.items()}
    print(json.dumps({"machine": machine, "target_ms": TARGET_MS, "turns": len(said), **found}, indent=2))


def turns(n: int) -> list[str]:
    """Made-up turns, the same each time."""
    draw, words = random.Random(0), VOCABULARY.split()
    return [
        " ".join(
            " ".join(draw.choices(words, k=draw.randint(3, MOST_WORDS))).capitalize() + "."
            for _ in range(draw.randint(1, MOST_SENTENCES))
        )
        for _ in range(n)
    ]


def measure(read: Callable[[str], object], said: Sequence[str]) -> dict[str, Any]:
    """Milliseconds a turn, after a few that are not counted."""
    for text in said[:5]:
        read(text)
    took = []
    for text in said:
        start = time.perf_counter()
        read(text)
        took.append(1000 * (time.perf_counter() - start))
    return {"median_ms": round(float(np.median(took)), 1), "p95_ms": round(float(np.percentile(took, 95)), 1)}


if __name__ == "__main__":
    main()
