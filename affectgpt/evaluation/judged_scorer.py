"""What a judge of two runs said: how often ours is preferred, and how far the judge agrees with itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from affectgpt.evaluation import pairs
from affectgpt.evaluation.measures import Measure, ScoringPlan
from affectgpt.evaluation.pairs import Compared
from affectgpt.evaluation.samples import Sample

__all__ = ["judged"]


def judged(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """How often ours is preferred, and how far the judge agrees with itself when the two change places.

    Over the pairs with a verdict in both orders; the run's counts tell of the others.
    """
    read = {i: _compared(s) for i, s in enumerate(samples) if s.status == "scored" and s.answer.facts.get("pair")}
    if not read:
        return []
    members, listed = np.array(list(read), np.intp), list(read.values())
    same = sum(not c.raw for c in listed)
    note = f"undecided a half; {same} pairs of one text" if same else "undecided a half"
    told: Mapping[str, tuple[Callable[[Sequence[Compared]], float], str]] = {
        "ours preferred": (pairs.preferred, note),
        "orders agree": (pairs.agreement, "the judge with itself, places changed"),
        "kappa of the orders": (pairs.kappa, "beyond chance"),
        "first place": (pairs.first_place, ".5 is a fair judge's"),
    }
    return [
        Measure(name, lambda at, f=figure: f([listed[k] for k in at]), members, note=what)  # type: ignore[misc]
        for name, (figure, what) in told.items()
    ]


def _compared(sample: Sample) -> Compared:
    facts = sample.answer.facts
    first, second = facts["pair"]
    return Compared(sample.id, first, second, facts.get("model", ""), facts.get("prompt", ""), tuple(facts["raw"]))
