"""Predictors that ask a language model: a prompt of the suite's own, or the whole agent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import TYPE_CHECKING, Any, get_args

from affectgpt.agent import PROMPT_ID, AffectAgent, Parts
from affectgpt.answers import open_answer
from affectgpt.appraise.panel import Panel
from affectgpt.appraise.prototypes import appraise
from affectgpt.corpora import Example
from affectgpt.emotions import load_lexicon
from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from affectgpt.evaluation import faithfulness
from affectgpt.evaluation.appraisers import answer_each, read_distribution
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.parsing import parse
from affectgpt.prompting import PromptLibrary, PromptTemplate, observation_lines
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.records import (
    Completion,
    Decider,
    Explanation,
    Modality,
    Observations,
    Outcome,
    Prompt,
    Sampling,
    UnparsedAnswer,
)
from affectgpt.textualize import restate

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["Agent", "AgentChoices", "Asked", "LanguageModel", "PromptOptions", "complete_each"]

_PLACES = ("text", "context", "labels")
_YES_NO = PromptTemplate(
    "yes-no", "1", "", ("observations", "question"), "text", "", "Observations\n{observations}\n\n{question}"
)
_LABEL_LINE = re.compile(r"^\W*(?:label|emotion|answer)\W*:\s*(.+?)\W*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which model answers and how far. Keys come from the environment alone: a suite is no place for one.

    `scripted` gives those answers in turn, without a model.
    """

    engine: str = "http"
    model: str | None = None
    base_url: str | None = None
    adapter: str = "none"
    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    scripted: Sequence[str] = ()

    def open(self) -> Engine:
        """The engine."""
        from affectgpt.engines.echo import EchoEngine
        from affectgpt.engines.engine import EngineOptions, open_engine

        if self.scripted:
            return EchoEngine(tuple(map(str, self.scripted)))
        return open_engine(EngineOptions(self.engine, self.model, self.base_url, None, self.adapter))  # type: ignore[arg-type]

    @property
    def sampling(self) -> Sampling:
        """How to decode."""
        return Sampling(max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed)


@dataclass(frozen=True, slots=True)
class PromptOptions(Asked):
    """A suite's own prompt, with `{text}`, `{context}` and `{labels}` where the example and the labels go."""

    prompt: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class AgentChoices(Asked):
    """How the agent is evaluated. `engine: none` takes the appraisal without a language model.

    decide: whose label counts, the fused appraisal's (`appraisal`) or the one that the model wrote (`llm`); both are
    kept. permissive: only appraisers that were trained on freely licensed data. faithful: also flip single cues and ask
    yes/no questions, some eight more answers an example.
    """

    engine: str = "none"
    adapter: str = "default"
    max_tokens: int = 640
    modalities: Sequence[str] = ("face", "voice", "speech")
    decide: str = "appraisal"
    permissive: bool = False
    faithful: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError where they contradict each other."""
        if self.decide not in get_args(Decider):
            raise OptionError(f"decide: {self.decide}", " or ".join(get_args(Decider)))
        if self.decide == "llm" and not self.asks:
            raise OptionError("decide: llm without an engine", "there is nobody to decide; name an engine")
        if self.faithful and not self.asks:
            raise OptionError("faithful: true without an engine", "there is no explanation to test; name an engine")
        unknown = set(self.modalities) - set(Modality)
        if unknown:
            raise OptionError(f"no modality {min(unknown)!r}", f"choose of {', '.join(Modality)}")

    @property
    def asks(self) -> bool:
        """Whether a language model takes part."""
        return self.engine != "none" or bool(self.scripted)


def complete_each(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion | EngineError]:
    """All at once; where the engine fails on a batch, half by half, down to the one prompt that it fails on.

    Raises:
        EngineUnreachable: nothing answers at all.
    """
    try:
        return list(engine.generate(prompts, sampling)) if prompts else []
    except EngineUnreachable:
        raise
    except EngineError as error:
        if len(prompts) == 1:
            return [error]
        half = len(prompts) // 2
        return [*complete_each(engine, prompts[:half], sampling), *complete_each(engine, prompts[half:], sampling)]


class LanguageModel:
    """A language model with a prompt.

    The answer is a label, a list of words, or a line `Label: …`; anything else is unparsed.
    """

    def __init__(self, labels: LabelSet, options: PromptOptions) -> None:
        texts = (options.system, options.prompt)
        places = {name for text in texts for _, name, _, _ in Formatter().parse(text) if name is not None}
        if not places <= set(_PLACES):
            lost = min(places - set(_PLACES))
            raise OptionError(f"the prompt has a place {{{lost}}}", "use {text}, {context}, {labels}")
        if "text" not in places:
            raise OptionError("the prompt never shows the example", "write {text} where it goes")
        version = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
        self._template = PromptTemplate("suite", version, "", tuple(sorted(places)), "text", *texts)
        self._labels = labels
        self._sampling = options.sampling
        self._engine = options.open()

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """All at once, or down to the one that the engine fails on."""
        prompts = [self._template.render(**self._fill(e)) for e in examples]
        written = complete_each(self._engine, prompts, self._sampling)
        return [c if isinstance(c, EngineError) else self._read(c.text, f"{c.engine}:{c.model}") for c in written]

    def _fill(self, example: Example) -> dict[str, str]:
        filled = {
            "text": example.text or "",
            "context": "\n".join(example.context) or "none",
            "labels": ", ".join(self._labels.labels),
        }
        return {name: filled[name] for name in self._template.variables}

    def _read(self, text: str, who: str) -> Prediction:
        facts = {"model": who, "prompt": self._template.version}
        line = _LABEL_LINE.search(text)
        pieces = [p for p, _ in load_lexicon().resolve_all(line[1] if line else text.strip(" .\n\"'*"))]
        placed = [(p, self._labels.place(p.strip(" .\"'*"))) for p in pieces]
        if not any(label for _, label in placed):
            return Prediction(text=text, facts=facts, unparsed="names no emotion that is known")
        label = next(label for _, label in placed if label)
        return Prediction(label, tuple(p for p, _ in placed), text=text, facts=facts)


class Agent:
    """The whole agent over a clip or a text."""

    def __init__(self, labels: LabelSet, options: AgentChoices) -> None:
        self._labels = labels
        self._options = options
        self._prompts = PromptLibrary()
        self._engine = options.open() if options.asks else None
        self._panel = Panel(options.permissive)

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """One after another."""
        return answer_each(self._one, examples)

    def _one(self, example: Example) -> Prediction:
        options = AgentOptions(
            modalities=frozenset(map(Modality, self._options.modalities)),
            speech=SpeechOptions(text=example.text),
            sampling=self._options.sampling,
            decide=self._options.decide,  # type: ignore[arg-type]
            permissive=self._options.permissive,
            revisions=0,  # what is measured is the model: a second look would mend its claims
        )
        agent = AffectAgent(self._engine, options, prompts=self._prompts, parts=Parts(appraiser=self._panel))
        return self._read(agent.explain(example.media))

    def _read(self, outcome: Outcome) -> Prediction:
        read = read_distribution(outcome.appraisal.fused if outcome.appraisal else None, self._labels)
        facts: dict[str, Any] = {"observations": [o.line for o in outcome.observations.items]}
        if outcome.completion is not None:
            facts["model"] = f"{outcome.completion.engine}:{outcome.completion.model}"
        answer = outcome.answer
        if answer is None:
            return replace(read, facts=facts)
        if isinstance(answer, UnparsedAnswer):
            return Prediction(text=answer.raw, facts=facts, unparsed=answer.reason)
        facts |= self._facts(answer, outcome.observations)
        c, decision = answer.conclusion, outcome.decision
        facts["labels"] = {"llm": c.label, "appraisal": decision.appraisal}
        label = self._labels.place(decision.label) if decision.label else None
        values = {"valence": c.valence, "arousal": c.arousal, "dominance": c.dominance}
        return Prediction(label, c.emotions, read.probabilities, values, answer.raw, facts)

    def _facts(self, answer: Explanation, observations: Observations) -> dict[str, Any]:
        blind = faithfulness.recover(answer, observations)
        facts: dict[str, Any] = {
            "claims": faithfulness.read_claims(answer),
            "cues": list(faithfulness.named_cues(answer)),
            "blind": self._labels.place(blind) if blind else "",
        }
        if self._options.faithful:
            facts["flips"] = faithfulness.flips(observations, self._ask)
            facts["pairs"] = self._pairs(observations)
        return facts

    def _ask(self, observations: Observations) -> Explanation | UnparsedAnswer:
        """The agent's own question, over observations alone: their reading is the prototypes'."""
        engine = self._engine
        assert engine is not None
        prompt = self._prompts.render(PROMPT_ID, observations, appraise(observations))
        opening = open_answer([restate(o) for o in observations.items])
        return parse(engine.generate([replace(prompt, opening=opening)], self._options.sampling)[0])

    def _pairs(self, observations: Observations) -> list[dict[str, Any]]:
        asked = faithfulness.questions(observations)
        engine = self._engine
        assert engine is not None
        prompts = [_YES_NO.render(observations=observation_lines(observations), question=q.text) for q in asked]
        said = engine.generate(prompts, replace(self._options.sampling, max_tokens=8)) if prompts else []
        return [
            {"cue": q.cue, "expected": q.expected, "said": faithfulness.said_yes(c.text), "raw": c.text[:80]}
            for q, c in zip(asked, said, strict=True)
        ]
