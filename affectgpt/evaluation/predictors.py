"""Predictors: whatever answers examples. A constant, the majority, an appraiser, the whole agent, a language model."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from affectgpt.appraise import prototypes
from affectgpt.corpora import Example
from affectgpt.errors import AffectError, EngineUnreachable, MissingDependency, ModelError, OptionError
from affectgpt.evaluation.datasets import LabelSet, options_of
from affectgpt.evaluation.samples import Prediction
from affectgpt.evaluation.suite import PredictorSpec
from affectgpt.records import EmotionDistribution

__all__ = ["KINDS", "Answer", "Predictor", "answer_each", "baselines", "open_predictor", "read_distribution"]

Answer = Prediction | AffectError


class Predictor(Protocol):
    """Answers examples, one each, in order; an example that cannot be answered gives its error in place of one."""

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


def read_distribution(read: EmotionDistribution | None, labels: LabelSet) -> Prediction:
    """An appraiser's distribution as a prediction in the task's labels; nothing read is an unparsed answer."""
    if read is None:
        return Prediction(unparsed="the appraiser had nothing to read")
    p = labels.spread(read.probabilities)
    top = max(p, key=lambda k: p[k]) if p else None
    values = {"valence": read.valence, "arousal": read.arousal, "dominance": read.dominance}
    return Prediction(top, (top,) if top else (), p, values)


class Prototypes:
    """The prior reading of the package: the emotion words of a text, or the cues of a clip, against prototypes."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """Text by its words; a clip through the readers, without a language model."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        if example.media is None:
            return read_distribution(prototypes.read_words([example.text or ""]), self._labels)
        from affectgpt.agent import AffectAgent
        from affectgpt.readers import AgentOptions, SpeechOptions

        options = AgentOptions(speech=SpeechOptions(text=example.text))
        appraisal = AffectAgent(None, options).explain(example.media).appraisal
        return read_distribution(appraisal.fused if appraisal else None, self._labels)


class Words:
    """The trained appraiser of words, over a text and what was said before it."""

    def __init__(self, labels: LabelSet, permissive: bool = False) -> None:
        self._labels = labels
        self._read = _appraiser("words", "WordsAppraiser")(permissive=permissive)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By text; an example without words is not answered."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        return read_distribution(self._read.read([example.text or ""], example.context), self._labels)


class Voice:
    """The trained appraiser of the voice, over a clip's sound."""

    def __init__(self, labels: LabelSet, permissive: bool = False, reader: str = "librosa") -> None:
        from affectgpt.readers import open_voice_reader

        self._labels = labels
        self._read = _appraiser("voice", "VoiceAppraiser")(permissive=permissive)
        self._sense = open_voice_reader(reader)  # type: ignore[arg-type]

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By the sound of each clip."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        from affectgpt import media

        track = self._sense.read(media.waveform(media.open_clip(_media(example))))
        return read_distribution(self._read.read(track), self._labels)


class Face:
    """The trained appraiser of the face, over a clip's pictures or a still."""

    def __init__(self, labels: LabelSet, permissive: bool = False) -> None:
        self._labels = labels
        self._read = _appraiser("face", "FaceAppraiser")(permissive=permissive)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """By the most prominent face of each clip."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        from affectgpt import media
        from affectgpt.readers import FaceOptions, open_face_reader

        options = FaceOptions()
        clip = media.open_clip(_media(example))
        track = open_face_reader(options, clip.fps).read(media.frames(clip, options.rate_hz))
        return read_distribution(self._read.read(track), self._labels)


def _media(example: Example) -> Any:
    if example.media is None:
        raise OptionError("the example has no media", "use an appraiser of words")
    return example.media


def _appraiser(module: str, name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(f"affectgpt.appraise.{module}"), name)
    except (ModuleNotFoundError, AttributeError):
        raise OptionError(f"this installation has no appraiser of {module}", "use prototypes") from None
    return found


def answer_each(answer: Callable[[Example], Prediction], examples: Sequence[Example]) -> list[Answer]:
    """The answers, or what kept one from being given; a fault that every example would meet is raised."""
    found: list[Answer] = []
    for example in examples:
        try:
            found.append(answer(example))
        except (EngineUnreachable, MissingDependency, ModelError):
            raise
        except AffectError as error:
            found.append(error)
    return found


def _agent(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.asked import Agent, AgentChoices

    return Agent(labels, AgentChoices(**options))


def _llm(labels: LabelSet, **options: Any) -> Predictor:
    from affectgpt.evaluation.asked import LanguageModel, PromptOptions

    return LanguageModel(labels, PromptOptions(**options))


KINDS: Mapping[str, Callable[..., Predictor]] = {
    "constant": Constant,
    "majority": Majority,
    "prototypes": Prototypes,
    "words": Words,
    "voice": Voice,
    "face": Face,
    "agent": _agent,
    "llm": _llm,
}
"""Every predictor by the name that a suite uses."""


def open_predictor(spec: PredictorSpec, labels: LabelSet, fit: Sequence[Example]) -> Predictor:
    """The predictor of a suite.

    Raises:
        OptionError: no such kind, or an option that it does not take.
    """
    if spec.kind not in KINDS:
        raise OptionError(f"no predictor {spec.kind!r}", f"choose of {', '.join(KINDS)}")
    if spec.kind == "majority":
        _refuse(spec, [])
        return Majority(labels, fit)
    kind = KINDS[spec.kind]
    if spec.kind in ("agent", "llm"):
        from affectgpt.evaluation import asked

        _refuse(spec, options_of(asked.AgentChoices if spec.kind == "agent" else asked.PromptOptions))
    else:
        _refuse(spec, options_of(kind))
    try:
        return kind(labels, **spec.options)
    except TypeError as error:
        raise OptionError(f"the predictor {spec.kind}: {error}", "see examples/suites") from None


def _refuse(spec: PredictorSpec, allowed: Sequence[str]) -> None:
    unknown = [o for o in spec.options if o not in allowed]
    if unknown:
        raise OptionError(
            f"the predictor {spec.kind} takes no {unknown[0]!r}", f"it takes {', '.join(allowed) or 'nothing'}"
        )
