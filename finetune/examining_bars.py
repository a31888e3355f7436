"""The figures that an adapter is held to, each a ratio of sums over rows, with its interval and its aim.

Rows are drawn again whole for the intervals, so that the claims of one answer stay together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.evaluation.faithfulness_scorer import STILL
from affectgpt.evaluation.intervals import LEVEL, Figure, Resampling, interval
from finetune.examining_flips import Flip, Followed
from finetune.judging import Judged, distinct_2, word_pairs

__all__ = ["BARS", "VOCABULARIES", "Bar", "Case", "measure"]

VOCABULARIES = {"all": None, "first": "", "second": "second"}
"""How the rows' wording is named here, and what a row's provenance calls it."""

NORMAL = 1.96
"""Standard errors on either side of a 95 % interval."""

Counted = tuple[float, float]
"""What was right, and of how much; (0, 0) where the row asks for nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row with its answer judged, and what came of its flip where it has one."""

    judged: Judged
    wording: str = ""
    flip: Flip | None = None
    followed: Followed | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure: what it counts in a case, and what it aims at (`at_least`, else at most); no aim: for reading."""

    name: str
    count: Callable[[Case], Counted]
    aim: float | None = None
    at_least: bool = True

    def is_met(self, value: float) -> bool | None:
        """Whether the value reaches the aim; None without an aim or a value."""
        if self.aim is None or value != value:
            return None
        return value >= self.aim if self.at_least else value <= self.aim


def _parts(count: Callable[[Judged], Counted]) -> Callable[[Case], Counted]:
    """A count over three-part rows alone."""
    return lambda case: count(case.judged) if case.judged.is_three_part else (0.0, 0.0)


def _share(holds: Callable[[Judged], bool], among: Callable[[Judged], bool]) -> Callable[[Case], Counted]:
    """The share of three-part rows in which something holds, among those that it is asked of."""
    return _parts(lambda j: (float(holds(j)), 1.0) if among(j) else (0.0, 0.0))


def _asked(right: bool) -> Callable[[Case], Counted]:
    """Yes/no rows whose right answer is `right`; an answer that is neither yes nor no is wrong."""
    return lambda case: (float(case.judged.said_yes is right), 1.0) if case.judged.gold_yes is right else (0.0, 0.0)


def _flipped(holds: Callable[[Case], bool]) -> Callable[[Case], Counted]:
    return lambda case: (float(holds(case)), 1.0) if case.flip is not None else (0.0, 0.0)


def _moved(case: Case) -> bool:
    assert case.flip is not None
    moved = case.followed.moved if case.followed else 0.0
    return abs(moved) >= STILL and moved * case.flip.expected > 0


BARS: tuple[Bar, ...] = (
    Bar("answers read", _share(lambda j: j.is_parsed, lambda j: True), 0.995),
    Bar("claims supported", _parts(lambda j: (j.n_supported, j.n_claims)), 0.99),
    Bar("the model's own claims supported", _parts(lambda j: (j.own_supported, j.own_claims)), 0.99),
    Bar("observations covered", _parts(lambda j: (j.n_covered, j.n_shown)), 0.97),
    Bar(
        "observations covered, nothing restated for it",
        _parts(lambda j: (0, 0) if j.is_opened else (j.n_covered, j.n_shown)),
        0.97,
    ),
    Bar("cues imagined", _parts(lambda j: (j.n_imagined, j.n_named)), 0.005, at_least=False),
    Bar("cues imagined in the model's own", _parts(lambda j: (j.own_imagined, j.own_named)), 0.005, at_least=False),
    Bar("feelings named where the appraisal has them", _parts(lambda j: (j.n_feelings_right, j.n_feelings))),
    Bar("channels read as a feeling, told so", _parts(lambda j: (j.n_clear_told, j.n_clear))),
    Bar("interpretations without a slip", _share(lambda j: not j.slips, lambda j: j.is_parsed)),
    Bar("label is the appraisal's", _share(lambda j: j.is_parsed and j.label == j.gold, lambda j: True), 0.98),
    Bar("planted cues rejected", _asked(False), 0.9),
    Bar("true cues confirmed", _asked(True)),
    Bar(
        "yes/no answers right to the id",
        lambda case: (float(case.judged.is_exact), 1.0) if case.judged.gold_yes is not None else (0.0, 0.0),
    ),
    Bar("conflicts named", _share(lambda j: j.names_conflict, lambda j: j.has_conflict), 0.95),
    Bar(
        "no conflict named where none is",
        _share(lambda j: j.is_parsed and not j.names_conflict, lambda j: not j.has_conflict),
        0.95,
    ),
    Bar("two channels weighed where two are shown", _share(lambda j: j.n_weighed > 1, lambda j: j.n_channels > 1)),
    Bar("one cue flipped: the label follows", _flipped(lambda c: bool(c.followed and c.followed.label)), 0.9),
    Bar(
        "one cue flipped: the interpretation follows",
        _flipped(lambda c: bool(c.followed and c.followed.interpretation)),
        0.9,
    ),
    Bar("one cue flipped: the valence moves the right way", _flipped(_moved)),
)


def measure(cases: Mapping[str, Sequence[Case]], resamples: int = 1000) -> dict[str, Any]:
    """Vocabulary -> who answered -> the figures as JSON takes them.

    distinct-2 stands beside the composer's on the same rows.
    """
    return {
        name: {
            who: _figures(_of(listed, wording), _of(cases.get("composer", ()), wording), resamples)
            for who, listed in cases.items()
        }
        for name, wording in VOCABULARIES.items()
    }


def _of(cases: Sequence[Case], wording: str | None) -> list[Case]:
    return [c for c in cases if wording is None or c.wording == wording]


def _figures(cases: Sequence[Case], composed: Sequence[Case], resamples: int) -> list[dict[str, Any]]:
    found = []
    for bar in BARS:
        figure = _ratio(bar, cases, resamples)
        told = {"name": figure.name, "value": _told(figure.value), "low": _told(figure.low), "high": _told(figure.high)}
        told |= {
            "n": figure.n,
            "counts": figure.note,
            "aim": bar.aim,
            "at_least": bar.at_least,
            "met": bar.is_met(figure.value),
        }
        found.append(told)
    return [*found, *_variety(cases, composed)]


def _ratio(bar: Bar, cases: Sequence[Case], resamples: int) -> Figure:
    counted = np.array([pair for c in cases if (pair := bar.count(c))[1] > 0], np.float64).reshape(-1, 2)
    n = len(counted)
    part, whole = counted.sum(0) if n else (0.0, 0.0)
    figure = interval(
        bar.name,
        lambda at: float(np.divide(*counted[at].sum(0))),
        n,
        Resampling(resamples),
        note=f"{part:g} of {whole:g}",
    )
    return _at_the_edge(figure) if n and part in (0.0, whole) else figure


def _at_the_edge(figure: Figure) -> Figure:
    """Where every row is right, or none, drawing them again says nothing: the exact binomial interval over rows."""
    from scipy.stats import binomtest

    exact = binomtest(round(figure.value) * figure.n, figure.n).proportion_ci(LEVEL, method="exact")
    return replace(figure, low=float(exact.low), high=float(exact.high))


def _variety(cases: Sequence[Case], composed: Sequence[Case]) -> list[dict[str, Any]]:
    """distinct-2 of the interpretations beside the composer's of the same rows, and the difference.

    Texts drawn twice lower distinct-2, so that the bootstrap would miss: the interval of the difference is the
    jackknife's (Efron & Tibshirani 1993, ch. 11), each row left out once.
    """
    theirs = {c.judged.row_number: c.judged.interpretation for c in composed}
    pairs = [
        (c.judged.interpretation, theirs[c.judged.row_number])
        for c in cases
        if c.judged.is_three_part and c.judged.row_number in theirs
    ]
    ours, others = [a for a, _ in pairs], [b for _, b in pairs]
    value, floor = _told(distinct_2(ours)), _told(distinct_2(others))
    told = {"low": None, "high": None, "n": len(pairs), "counts": "", "at_least": True}
    met = None if value is None or floor is None else value >= floor
    found: list[dict[str, Any]] = [{"name": "distinct-2", "value": value, "aim": floor, "met": met, **told}]
    if value is not None and floor is not None and ours != others:
        without = _left_out(ours) - _left_out(others)
        error = float(np.sqrt((len(pairs) - 1) / len(pairs) * ((without - without.mean()) ** 2).sum()))
        less, reach = value - floor, NORMAL * error
        told |= {"low": _told(less - reach), "high": _told(less + reach)}
        found.append({"name": "distinct-2 less the composer's", "value": less, "aim": 0.0, "met": met, **told})
    return found


def _left_out(texts: Sequence[str]) -> NDArray[np.float64]:
    """distinct-2 of all texts but the n-th, (N,)."""
    counted = [Counter(word_pairs(text)) for text in texts]
    whole = sum(counted, Counter())
    n_pairs, n_kinds = whole.total(), len(whole)
    kinds = [n_kinds - sum(whole[pair] == n for pair, n in own.items()) for own in counted]
    rest = [n_pairs - own.total() for own in counted]
    return np.array([k / n if n else np.nan for k, n in zip(kinds, rest, strict=True)])


def _told(value: float) -> float | None:
    """A number as JSON takes it: what cannot be told is null."""
    return value if math.isfinite(value) else None
