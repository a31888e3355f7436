"""Who writes explanations: the composer, or a teacher behind any OpenAI-compatible server. The Exp-CoT engine.

ExpLLM (arXiv 2409.02828) has a large model explain a label that it was given. What comes of that is a rationalisation,
so every teacher's answer goes through the same filters as the composer's, the label-blind one among them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from affectgpt.answers import CANNOT_TELL, write_answer
from affectgpt.engines.engine import Engine
from affectgpt.errors import EngineError, EngineUnreachable
from affectgpt.parsing import parse
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Explanation, Prompt, Sampling
from affectgpt.textualize import restate
from instruction_data.composer import VERSION, compose, conclude
from instruction_data.drafts import Evidence

__all__ = ["ComposerWriter", "TeacherWriter", "Writer"]


class Writer(Protocol):
    """Writes the three parts from evidence."""

    name: str
    version: str

    def write(self, evidence: Sequence[Evidence], rngs: Sequence[random.Random]) -> list[str]:
        """One answer an item, in order; what could not be written begins with `unwritten: ` and the reason.

        Raises:
            EngineUnreachable: nothing answers, so that going on would lose every row.
        """
        ...


class ComposerWriter:
    """The grammar: no model, every citation right by construction."""

    name, version = "composer", VERSION

    def write(self, evidence: Sequence[Evidence], rngs: Sequence[random.Random]) -> list[str]:
        """See `Writer`."""
        return [compose(e.observations, e.appraisal, rng) for e, rng in zip(evidence, rngs, strict=True)]


class TeacherWriter:
    """A language model that is shown the evidence and, where `is_told`, the label that the evidence comes to.

    The first part of its answer is replaced by this program's own restatement, as everywhere; numbers and label of the
    conclusion are the appraisal's where the model was told them.
    """

    def __init__(
        self, engine: Engine, is_told: bool, prompts: PromptLibrary | None = None, sampling: Sampling | None = None
    ) -> None:
        self.name = "teacher" if is_told else "teacher-blind"
        self.version = f"{engine.name}:{engine.model}"
        self._engine, self._is_told = engine, is_told
        self._prompts = prompts or PromptLibrary()
        self._sampling = sampling or Sampling(max_tokens=700, temperature=0.7)

    def write(self, evidence: Sequence[Evidence], rngs: Sequence[random.Random]) -> list[str]:
        """See `Writer`."""
        prompts = [self._ask(e) for e in evidence]
        return [self._finished(e, said) for e, said in zip(evidence, self._answers(prompts), strict=True)]

    def _ask(self, e: Evidence) -> Prompt:
        if not self._is_told:
            return self._prompts.render("explain", e.observations, e.appraisal)
        return self._prompts.render("teach", e.observations, e.appraisal, label=e.label or CANNOT_TELL)

    def _answers(self, prompts: Sequence[Prompt]) -> list[Completion | str]:
        """All side by side; where one fails, each by itself, so that it costs one row."""
        try:
            return list(self._engine.generate(prompts, self._sampling))
        except EngineUnreachable:
            raise
        except EngineError:
            return [self._answer(p) for p in prompts]

    def _answer(self, prompt: Prompt) -> Completion | str:
        try:
            return self._engine.generate([prompt], self._sampling)[0]
        except EngineUnreachable:
            raise
        except EngineError as error:
            return f"unwritten: {error.what}"

    def _finished(self, e: Evidence, said: Completion | str) -> str:
        if isinstance(said, str):
            return said
        answer = parse(said)
        if not isinstance(answer, Explanation):
            # A refusal must reach the filter that counts refusals.
            return f"unwritten: {answer.reason}: {said.text[:200]}"
        lines = [restate(o) for o in e.observations.items]
        conclusion = conclude(e.observations, e.appraisal) if self._is_told else answer.conclusion
        return write_answer(lines, answer.interpretation, conclusion)
