"""Predictors: whatever answers examples. A constant, the majority, an appraiser, the whole agent, a language model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from affectgpt.corpora import Example
from affectgpt.errors import OptionError
from affectgpt.evaluation.appraisers import Face, Prototypes, Voice, Words
from affectgpt.evaluation.datasets import LabelSet, options_of
from affectgpt.evaluation.given import GivenAnswers
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.evaluation.suite import PredictorSpec

__all__ = ["KINDS", "Predictor", "baselines", "open_predictor"]


class Predictor(Protocol):
    """Answers examples, one each, in order; an example that cannot be answered gives its error in place of one.

    One that has an attribute `origin` says there what it was fitted on; reports show it.
    """

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """One answer an example.

        Raises:
            AffectError: nothing can be answered at all (no server, no weights).
        """
        ...


class Constant:
    """The same answer always."""

    def __init__(
        self,
        labels: LabelSet,
        label: str | None = None,
        words: Sequence[str] = (),
        values: Mapping[str, float] | None = None,
        text: str = "",
    ) -> None:
        if label is not None and label not in labels.labels:
            raise OptionError(f"the constant {label!r} is no label", f"choose of {', '.join(labels.labels)}")
        sure = {label: 1.0} if label else {}
        self.answer = Prediction(label, tuple(words) or ((label,) if label else ()), sure, dict(values or {}), text)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """The constant, for each."""
        return [self.answer for _ in examples]


class Majority(Constant):
    """The most frequent label of the training side, its label shares as probabilities, its means as values."""

    def __init__(self, labels: LabelSet, fit: Sequence[Example] = ()) -> None:
        super().__init__(labels)
        counts = Counter(name for e in fit for name in (e.labels or ((e.label,) if e.label else ())))
        total = sum(counts.values())
        # Ties go to the label that stands first in the set.
        top = max(labels.labels, key=lambda x: counts[x]) if total else None
        names = sorted({n for e in fit for n in e.values})
        means = {n: float(np.mean([e.values[n] for e in fit if n in e.values])) for n in names}
        shares = {x: counts[x] / total for x in labels.labels} if total else {}
        self.answer = Prediction(top, (top,) if top else (), shares, means)


def baselines(labels: LabelSet, fit: Sequence[Example]) -> dict[str, Constant]:
    """What stands beside every figure: the majority, and a constant that costs nothing to make.

    The constant says neutral (or the first label), names every label as a word, and 0 for every number.
    """
    plain = "neutral" if "neutral" in labels.labels else labels.labels[0]
    names = sorted({n for e in fit for n in e.values})
    constant = Constant(labels, plain, labels.labels, dict.fromkeys(names, 0.0))
    return {"constant": constant, "majority": Majority(labels, fit)}


def _agent(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.asked import Agent, AgentChoices

    return Agent(labels, AgentChoices(**options))


def _llm(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.asked import LanguageModel, PromptOptions

    return LanguageModel(labels, PromptOptions(**options))


def _empathy(labels: LabelSet, permissive: bool = False) -> Predictor:
    from affectgpt.evaluation.reaction_readers import Empathy

    return Empathy(labels, permissive)


def _difference(labels: LabelSet, permissive: bool = False) -> Predictor:
    from affectgpt.evaluation.reaction_readers import DifferenceOfSides

    return DifferenceOfSides(labels, permissive)


def _reply(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.repliers import Replier, ReplyOptions

    return Replier(labels, ReplyOptions(**options))


def _retrieval(labels: LabelSet, fit: Sequence[Example] = (), n_before: int = 1) -> Predictor:
    from affectgpt.evaluation.repliers import Retrieval

    return Retrieval(labels, fit, n_before)


def _given_replies(labels: LabelSet) -> Predictor:
    from affectgpt.evaluation.repliers import GivenReplies

    return GivenReplies(labels)


def _judged(labels: LabelSet, runs: Path | None = None, **options: Any) -> Predictor:
    from affectgpt.evaluation.judged import Judged, JudgeOptions

    return Judged(labels, JudgeOptions(runs=str(runs or ""), **options))


def _feeling(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.feelings import FeelingChoices, Feelings

    return Feelings(labels, FeelingChoices(**options))


KINDS: Mapping[str, Callable[..., Predictor]] = {
    "constant": Constant,
    "majority": Majority,
    "prototypes": Prototypes,
    "words": Words,
    "voice": Voice,
    "face": Face,
    "answers": GivenAnswers,
    "agent": _agent,
    "llm": _llm,
    "empathy": _empathy,
    "difference": _difference,
    "reply": _reply,
    "retrieval": _retrieval,
    "given_replies": _given_replies,
    "judged": _judged,
    "feeling": _feeling,
}
"""Every predictor by the name that a suite uses."""


def open_predictor(
    spec: PredictorSpec, labels: LabelSet, fit: Sequence[Example], runs: Path | None = None
) -> Predictor:
    """The predictor of a suite. `runs` is the folder in which the suite's other tasks keep their samples.

    Raises:
        OptionError: no such kind, or an option that it does not take.
    """
    if spec.kind not in KINDS:
        raise OptionError(f"no predictor {spec.kind!r}", f"choose of {', '.join(KINDS)}")
    kind = KINDS[spec.kind]
    taken = options_of(kind)
    # What a run gives is no option of a suite; where runs lie may be both.
    given = {name: value for name, value in {"fit": fit, "runs": runs}.items() if name in taken}
    chosen = _chosen_by(spec.kind)
    _refuse(spec, [name for name in (options_of(chosen) if chosen else taken) if name != "fit"])
    try:
        return kind(labels, **{**given, **spec.options})
    except TypeError as error:
        raise OptionError(f"the predictor {spec.kind}: {error}", "see examples/suites") from None


def _chosen_by(kind: str) -> type[Any] | None:
    """The dataclass of a kind's options, where it has one."""
    if kind not in ("agent", "llm", "reply", "judged", "feeling"):
        return None
    from affectgpt.evaluation import asked, feelings, judged, repliers

    return {
        "agent": asked.AgentChoices, "llm": asked.PromptOptions, "reply": repliers.ReplyOptions,
        "judged": judged.JudgeOptions, "feeling": feelings.FeelingChoices,
    }[kind]  # fmt: skip


def _refuse(spec: PredictorSpec, allowed: Sequence[str]) -> None:
    unknown = [o for o in spec.options if o not in allowed]
    if unknown:
        raise OptionError(
            f"the predictor {spec.kind} takes no {unknown[0]!r}", f"it takes {', '.join(allowed) or 'nothing'}"
        )
