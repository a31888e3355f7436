"""Scorers over labels, numbers and probabilities, and the table of all scorers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.evaluation import metrics, word_scorers
from affectgpt.evaluation.cause_scorer import cause
from affectgpt.evaluation.faithfulness_scorer import faithfulness
from affectgpt.evaluation.intervals import Statistic
from affectgpt.evaluation.judged_scorer import judged
from affectgpt.evaluation.measures import Measure, Scorer, ScoringPlan, with_gold
from affectgpt.evaluation.reply_scorer import reply
from affectgpt.evaluation.samples import Sample

__all__ = ["SCORERS", "measure"]


def measure(names: Sequence[str], samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """All statistics of these scorers.

    Raises:
        OptionError: no such scorer, or one that lacks what it needs.
    """
    unknown = [n for n in names if n not in SCORERS]
    if unknown:
        raise OptionError(f"no scorer {unknown[0]!r}", f"choose of {', '.join(SCORERS)}")
    return [m for name in names for m in SCORERS[name](samples, plan)]


def _classes(
    samples: Sequence[Sample], plan: ScoringPlan
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Members, gold and predicted class numbers; no answer where the label is not of the set."""
    at = {label: i for i, label in enumerate(plan.labels)}
    members = with_gold(samples, lambda s: s.label in at)
    gold = np.array([at[samples[i].label or ""] for i in members], dtype=np.intp)
    said = np.array([_said(samples[i], at) for i in members], dtype=np.intp)
    return members, gold, said


def _said(sample: Sample, at: Mapping[str, int]) -> int:
    answered = sample.status == "scored"
    return at.get(sample.answer.label or "", metrics.NO_ANSWER) if answered else metrics.NO_ANSWER


def classification(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """Weighted, macro and micro F1, UAR, accuracy. No answer is a wrong answer."""
    members, gold, said = _classes(samples, plan)
    size = len(plan.labels)

    def over(figure: Callable[[NDArray[np.intp]], float]) -> Statistic:
        return lambda at: figure(metrics.confusion(gold[at], said[at], size))

    figures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "weighted F1": lambda t: metrics.f1(t, "weighted"),
        "macro F1": lambda t: metrics.f1(t, "macro"),
        "micro F1": lambda t: metrics.f1(t, "micro"),
        "UAR": metrics.uar,
        "accuracy": metrics.accuracy,
    }
    return [Measure(name, over(f), members) for name, f in figures.items()]


def multilabel(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """F1 over label sets: macro, micro, and the mean over samples."""
    members = with_gold(samples, lambda s: bool(s.labels))
    gold = np.array([[label in samples[i].labels for label in plan.labels] for i in members], dtype=bool)
    said = np.array([[label in _label_set(samples[i]) for label in plan.labels] for i in members], dtype=bool)
    return [
        Measure(f"{kind} F1 (multi-label)", lambda at, k=kind: metrics.multilabel_f1(gold[at], said[at], k), members)  # type: ignore[misc]
        for kind in ("macro", "micro", "samples")
    ]


def _label_set(sample: Sample) -> set[str]:
    if sample.status != "scored":
        return set()
    return {*sample.answer.words, *([sample.answer.label] if sample.answer.label else [])}


def regression(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """Pearson's r and CCC of every number that the gold holds. No answer stands as 0, the middle of the scale."""
    names = sorted({name for s in samples if s.has_gold for name in s.values})
    found = []
    for name in names:
        members = with_gold(samples, lambda s, n=name: n in s.values)  # type: ignore[misc]
        gold = np.array([samples[i].values[name] for i in members])
        said = np.array([_number(samples[i], name) for i in members])
        if not any(name in samples[i].answer.values for i in members):
            continue  # the predictor does not claim this number at all
        for title, figure in (("r", metrics.pearson), ("CCC", metrics.ccc)):
            found.append(Measure(f"{title} {name}", lambda at, f=figure, g=gold, p=said: f(g[at], p[at]), members))  # type: ignore[misc]
    return found


def _number(sample: Sample, name: str) -> float:
    value = sample.answer.values.get(name, 0.0) if sample.status == "scored" else 0.0
    return value if np.isfinite(value) else 0.0


def _probabilities(
    samples: Sequence[Sample], members: NDArray[np.intp], labels: tuple[str, ...]
) -> NDArray[np.float64]:
    """(B, C), rows summing to 1; no answer is the uniform distribution, which knows nothing."""
    rows = np.array([[samples[i].answer.probabilities.get(x, 0.0) for x in labels] for i in members]).reshape(
        -1, len(labels)
    )
    answered = np.array([samples[i].status == "scored" for i in members])[:, None]
    total = rows.sum(1, keepdims=True)
    known = answered & (total > 0)
    return np.where(known, rows / np.where(known, total, 1.0), 1.0 / len(labels))


def calibration(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """ECE of the top label and Brier's score, where the predictor gives probabilities."""
    members, gold, _ = _classes(samples, plan)
    if not any(samples[i].answer.probabilities for i in members):
        return []
    p = _probabilities(samples, members, plan.labels)
    return [
        Measure("ECE", lambda at: metrics.ece(p[at], gold[at]), members, higher_is_better=False),
        Measure("Brier", lambda at: metrics.brier(p[at], gold[at]), members, higher_is_better=False),
    ]


def distribution(samples: Sequence[Sample], plan: ScoringPlan) -> list[Measure]:
    """The six label-distribution measures, as skill over always answering the prior. Gold labels share evenly."""
    members = with_gold(samples, lambda s: any(x in plan.labels for x in s.labels))
    if not any(samples[i].answer.probabilities for i in members):
        return []
    gold = np.array([[x in samples[i].labels for x in plan.labels] for i in members], dtype=np.float64)
    gold /= gold.sum(1, keepdims=True)
    prior = np.array([plan.prior.get(x, 0.0) for x in plan.labels])
    prior = prior / prior.sum() if prior.sum() > 0 else gold.mean(0)
    said = metrics.label_distribution(gold, _probabilities(samples, members, plan.labels))
    base = metrics.label_distribution(gold, np.broadcast_to(prior, gold.shape))

    def over(name: str, better: bool) -> Statistic:
        return lambda at: metrics.skill(float(said[name][at].mean()), float(base[name][at].mean()), better)

    return [Measure(f"{name} skill", over(name, b), members) for name, b in metrics.LABEL_DISTRIBUTION.items()]


SCORERS: Mapping[str, Scorer] = {
    "classification": classification,
    "multilabel": multilabel,
    "regression": regression,
    "sentiment": word_scorers.sentiment,
    "open_vocabulary": word_scorers.open_vocabulary,
    "wheel": word_scorers.wheel,
    "calibration": calibration,
    "distribution": distribution,
    "text": word_scorers.text,
    "cause": cause,
    "faithfulness": faithfulness,
    "reply": reply,
    "judged": judged,
}
"""Every scorer by the name that a suite uses."""
