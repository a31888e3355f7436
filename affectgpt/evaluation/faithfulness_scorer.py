"""Figures of faithfulness, from what `faithfulness` noted in each sample's facts.

`claims`: {supported, contradicted, uncited} · `blind`: the label that a reader recovers without the emotion words ·
`flips`: [{cue, kind, expected, moved}] changes of valence · `pairs`: [{cue, expected, said}] yes/no questions ·
`cues`: those that the explanation names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from affectgpt.evaluation.measures import Measure, ScoringPlan, with_gold
from affectgpt.evaluation.samples import Sample

__all__ = ["STILL", "faithfulness"]

STILL = 0.05
"""A conclusion whose valence moves less than this, of 2, has not moved: the answers give one decimal."""

_FEWEST = 20
"""Samples below which a regression over cues says nothing: about as many as there are cues in common use."""

Counts = tuple[NDArray[np.float64], NDArray[np.float64]]


def faithfulness(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """Claim support, label-blind recovery, single-cue flips, yes/no pairs, and the shortcut probe.

    Each over the samples that hold the fact; an answer that could not be read holds none.
    """
    found = [
        _ratio(samples, "claims supported", "claims", lambda c: (c["supported"], sum(c.values()))),
        _ratio(samples, "claims contradicted", "claims", lambda c: (c["contradicted"], sum(c.values())), better=False),
        _ratio(samples, "flips the right way", "flips", lambda f: _moves(f, 1)),
        _ratio(samples, "flips the wrong way", "flips", lambda f: _moves(f, -1), better=False),
        _ratio(samples, "yes/no pairs right", "pairs", lambda p: (sum(x["said"] == x["expected"] for x in p), len(p))),
        _ratio(samples, "absent cues affirmed", "pairs", _affirmed, better=False),
        _recovery(samples),
        *_probe(samples),
    ]
    return [m for m in found if len(m.members)]


def _ratio(
    samples: Sequence[Sample], name: str, fact: str, count: Callable[[Any], tuple[float, float]], better: bool = True
) -> Measure:
    """A ratio of sums: every claim, flip or question weighs the same, whichever sample it is of."""
    members = np.array([i for i, s in enumerate(samples) if s.status == "scored" and s.answer.facts.get(fact)], np.intp)
    counted = np.array([count(samples[i].answer.facts[fact]) for i in members], np.float64).reshape(-1, 2)

    def over(at: NDArray[np.intp]) -> float:
        part, whole = counted[at].sum(0)
        return float(part / whole) if whole else float("nan")

    return Measure(name, over, members, better)


def _moves(flips: Sequence[Mapping[str, float]], way: int) -> tuple[float, float]:
    hit = sum(abs(f["moved"]) >= STILL and way * f["moved"] * f["expected"] > 0 for f in flips)
    return float(hit), float(len(flips))


def _affirmed(pairs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    absent = [p for p in pairs if not p["expected"]]
    return float(sum(p["said"] is True for p in absent)), float(len(absent))


def _recovery(samples: Sequence[Sample]) -> Measure:
    """How often the label can be told from the explanation without its emotion words."""
    places = [i for i, s in enumerate(samples) if s.status == "scored" and "blind" in s.answer.facts and s.answer.label]
    same = np.array([samples[i].answer.facts["blind"] == samples[i].answer.label for i in places], np.float64)
    members = np.array(places, np.intp)
    return Measure("label recovered blind", lambda at: float(same[at].mean()), members)


def _probe(samples: Sequence[Sample]) -> list[Measure]:
    """How much of valence and arousal the named cues explain, and how much the single best one does.

    After "Reading Smiles": a model whose valence one cue explains as well as all cues do reads that cue, not the face.
    """
    members = with_gold(samples, lambda s: s.status == "scored" and "cues" in s.answer.facts)
    cues = sorted({c for i in members for c in samples[i].answer.facts["cues"]})
    if len(members) < _FEWEST or not cues:
        return []
    named = np.array([[c in samples[i].answer.facts["cues"] for c in cues] for i in members], np.float64)
    found = []
    for value in ("valence", "arousal"):
        target = np.array([samples[i].answer.values.get(value, 0.0) for i in members])
        if target.std() == 0:
            continue
        alone = [_squared_r(named[:, k], target) for k in range(len(cues))]
        best = int(np.argmax(alone))
        found += [
            Measure(f"{value} explained by all cues, R²", _over(named, target), members, note="cross-validated"),
            Measure(
                f"{value} explained by one cue, r²",
                lambda at, x=named[:, best], y=target: _squared_r(x[at], y[at]),  # type: ignore[misc]
                members,
                higher_is_better=False,
                note=f"the cue is {cues[best]}",
            ),
        ]
    return found


def _over(named: NDArray[np.float64], target: NDArray[np.float64]) -> Callable[[NDArray[np.intp]], float]:
    try:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import cross_val_predict
    except ModuleNotFoundError:
        raise MissingDependency("scikit-learn is not installed", "pip install 'affectgpt[eval]'") from None
    # Predicted once, out of fold: a resample that repeats a sample would put it on both sides of a fold.
    said = cross_val_predict(Ridge(alpha=1.0), named, target, cv=5)

    def over(at: NDArray[np.intp]) -> float:
        spread = float(((target[at] - target[at].mean()) ** 2).sum())
        return 1.0 - float(((target[at] - said[at]) ** 2).sum()) / spread if spread else float("nan")

    return over


def _squared_r(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)
