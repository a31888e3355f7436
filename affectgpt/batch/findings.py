"""What rows hold, added up one at a time in little memory: labels, valence and arousal, timings, failures."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from affectgpt.batch.records import Row

__all__ = ["GRID_STEP", "Findings", "Moments", "Spread"]

GRID_STEP: Final = 0.1
"""Side of a cell of the valence and arousal plane, [-1, 1] each way: what the prompt shows of them is no finer."""

MOST_EXAMPLES: Final = 5
N_SLOWEST: Final = 10

_NORMAL_95: Final = 1.959964
"""The 97.5th percentile of the standard normal distribution."""

_BINS_A_DECADE: Final = 20
"""A quantile of a spread is off by 6 % at most: half of 10 ** (1 / 20)."""
_LEAST: Final = 1e-4


class Spread:
    """How numbers above 0 spread, in bins on a logarithmic scale: memory does not grow with their count."""

    def __init__(self) -> None:
        self.n = 0
        self.total = self.most = 0.0
        self._bins: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count one number; what is 0.0001 or less counts as that."""
        self.n += 1
        self.total += value
        self.most = max(self.most, value)
        self._bins[round(math.log10(max(value, _LEAST)) * _BINS_A_DECADE)] += 1

    def quantile(self, share: float) -> float:
        """The number that this share in [0, 1] of all does not exceed, within 6 %; 0.0 of none."""
        left = share * self.n
        for at in sorted(self._bins):
            left -= self._bins[at]
            if left <= 0:
                return min(10 ** (at / _BINS_A_DECADE), self.most)
        return 0.0

    def to_json(self) -> dict[str, Any]:
        """Count, mean, median, 95th percentile, the most, and the bins as (middle, count)."""
        return {
            "n": self.n,
            "mean": self.total / self.n if self.n else 0.0,
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "most": self.most,
            "bins": [[10 ** (at / _BINS_A_DECADE), self._bins[at]] for at in sorted(self._bins)],
        }


class Moments:
    """A sum of numbers and of their squares: their mean, and how well it is known."""

    def __init__(self) -> None:
        self.n = 0
        self.total = self._squares = 0.0

    def add(self, value: float) -> None:
        """Count one number."""
        self.n += 1
        self.total += value
        self._squares += value * value

    def to_json(self) -> dict[str, Any]:
        """Count, sum, mean, and the half width of the mean's 95 % interval; None where fewer than two tell nothing.

        The interval is the normal one, 1.96 standard errors either way: too short for few and very unequal numbers.
        """
        mean = self.total / self.n if self.n else None
        half = None
        if self.n > 1 and mean is not None:
            half = _NORMAL_95 * math.sqrt(max(0.0, self._squares / self.n - mean * mean) / (self.n - 1))
        return {"n": self.n, "total": self.total, "mean": mean, "half_width": half}


class Findings:
    """Sums over rows."""

    def __init__(self) -> None:
        self.n_rows = self.n_failed = 0
        self.n_prompt_tokens = self.n_completion_tokens = 0
        self.media_s = 0.0
        self.labels: Counter[str] = Counter()
        self.plane: Counter[tuple[float, float]] = Counter()
        self.timings: dict[str, Spread] = {}
        self.failures: Counter[tuple[str, str]] = Counter()
        self.answers: Counter[str] = Counter()
        self.grounding: Counter[str] = Counter()
        self.n_conflicts = self.n_disputed = 0
        self._examples: dict[tuple[str, str], list[dict[str, str]]] = {}
        self._slowest: list[tuple[float, int, str]] = []

    def add(self, row: Row) -> None:
        """Count one row."""
        self.n_rows += 1
        if row.error is not None:
            self.n_failed += 1
            kind = row.error.stage, row.error.type
            self.failures[kind] += 1
            examples = self._examples.setdefault(kind, [])
            if len(examples) < MOST_EXAMPLES:
                examples.append({"id": row.id, "message": row.error.message})
        elif row.outcome is not None:
            self._add_outcome(row, row.outcome)

    def to_json(self) -> dict[str, Any]:
        """All sums, in JSON's types."""
        return {
            "rows": self.n_rows,
            "failed": self.n_failed,
            "media_s": self.media_s,
            "prompt_tokens": self.n_prompt_tokens,
            "completion_tokens": self.n_completion_tokens,
            "labels": dict(self.labels.most_common()),
            "plane_step": GRID_STEP,
            "plane": [[valence, arousal, n] for (valence, arousal), n in sorted(self.plane.items())],
            "timings_s": {stage: spread.to_json() for stage, spread in self.timings.items()},
            "answers": dict(self.answers.most_common()),
            "grounding": dict(self.grounding),
            "conflicts": self.n_conflicts,
            "disputed": self.n_disputed,
            "failures": [
                {"stage": stage, "type": type_, "n": n, "examples": self._examples[stage, type_]}
                for (stage, type_), n in self.failures.most_common()
            ],
            "slowest": [{"id": id, "number": -number, "total_s": s} for s, number, id in self._ranked()],
        }

    def _add_outcome(self, row: Row, outcome: Mapping[str, Any]) -> None:
        label = outcome["decision"]["label"]
        self.labels[label if label is not None else "cannot tell"] += 1
        self.n_disputed += bool(outcome["decision"]["is_disputed"])
        if (appraisal := outcome["appraisal"]) is not None:
            self.n_conflicts += bool(appraisal["conflicts"])
            fused = appraisal["fused"]
            self.plane[_cell(fused["valence"]), _cell(fused["arousal"])] += 1
        answer = outcome["answer"]
        self.answers["none" if answer is None else "parsed" if answer["parsed"] else "unparsed"] += 1
        self.grounding.update(outcome["grounding"] or {})
        if (completion := outcome["completion"]) is not None:
            self.n_prompt_tokens += completion["n_prompt_tokens"]
            self.n_completion_tokens += completion["n_completion_tokens"]
        if (clip := outcome["clip"]) is not None:
            self.media_s += clip["duration_s"] or 0.0
        self._add_timings(row, outcome["timings_s"])

    def _add_timings(self, row: Row, timings_s: Mapping[str, float]) -> None:
        for stage, seconds in timings_s.items():
            self.timings.setdefault(stage, Spread()).add(seconds)
        # The earlier of two that took as long is the first to be told of.
        ranked = (timings_s.get("total", 0.0), -row.number, row.id)
        if len(self._slowest) < N_SLOWEST:
            heapq.heappush(self._slowest, ranked)
        else:
            heapq.heappushpop(self._slowest, ranked)

    def _ranked(self) -> list[tuple[float, int, str]]:
        return sorted(self._slowest, reverse=True)


def _cell(value: float | None) -> float:
    """The middle of the cell that a value in [-1, 1] lies in."""
    return round(round((value or 0.0) / GRID_STEP) * GRID_STEP, 6) + 0.0
