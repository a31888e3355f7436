"""HEF as a predictor: the small model alone, the large one asked at once, or in two stages, causes marked or not.

What a large model's answer does not name is counted as unparsed, though a conversation would go on with the small
model's: an ablation must not be flattered by what it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from affectgpt.corpora import MELD, Example
from affectgpt.dialogue.feelings import FeelingOptions, Question, decide_all, feeling_of
from affectgpt.dialogue.hearing import EncoderHearing, Hearing
from affectgpt.dialogue.records import Feeling
from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from affectgpt.evaluation.asked import Asked
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.prompting import PromptLibrary

__all__ = ["STAGES", "FeelingChoices", "Feelings"]

STAGES: Final = ("small", "one", "two")
"""Nobody is asked; asked once with every label; asked for the likeliest, and for the rest on "none of these"."""


@dataclass(frozen=True, slots=True)
class FeelingChoices(Asked):
    """How the feeling is decided. `stages` is one of STAGES; the rest is `FeelingOptions`'s."""

    engine: str = "local"
    stages: str = "two"
    n_first: int = 3
    marks_causes: bool = True
    permissive: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError on an unknown stage."""
        if self.stages not in STAGES:
            raise OptionError(f"stages: {self.stages}", f"choose of {', '.join(STAGES)}")

    @property
    def asking(self) -> FeelingOptions:
        """The switches of HEF."""
        return FeelingOptions(self.n_first if self.stages == "two" else 0, self.marks_causes)


class Feelings:
    """Reads the feeling of a text: by its 32 labels where the task has these, else by the line in its dialogue."""

    def __init__(self, labels: LabelSet, options: FeelingChoices, hearing: Hearing | None = None) -> None:
        self._labels, self._options = labels, options
        self._hearing = hearing or EncoderHearing(options.permissive)
        self._engine = options.open() if options.stages != "small" else None
        self._prompts = PromptLibrary()
        self.origin = f"{options.stages}, cause words {'marked' if options.marks_causes else 'left plain'}"

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """All at once; where the engine fails on a batch, half by half, down to the one that it fails on."""
        questions = [self._question(e) for e in examples]
        found = self._decided(questions)
        return [f if isinstance(f, EngineError) else self._read(q, f) for q, f in zip(questions, found, strict=True)]

    def _decided(self, questions: Sequence[Question]) -> list[Feeling | EngineError]:
        name = self._labels.name or "labels"
        if self._engine is None:
            return [feeling_of(q.feelings, name) for q in questions]
        try:
            return [*decide_all(questions, name, self._engine, self._prompts, self._options.asking)]
        except EngineUnreachable:
            raise
        except EngineError as error:
            if len(questions) == 1:
                return [error]
            half = len(questions) // 2
            return [*self._decided(questions[:half]), *self._decided(questions[half:])]

    def _question(self, example: Example) -> Question:
        said = example.text or ""
        if self._labels.name == self._hearing.label_set:
            feelings = self._labels.spread(self._hearing.line(said).feelings)
        else:
            row = self._hearing.emissions([*example.context, said], 1)[0]
            feelings = self._labels.spread(dict(zip(MELD, map(float, row), strict=True)))
        causes = self._hearing.causes(said) if self._options.marks_causes else ()
        return Question(said, feelings, causes, tuple(" ".join(t.split()) for t in example.context[-6:]))

    def _read(self, question: Question, feeling: Feeling) -> Prediction:
        ranked = sorted(question.feelings, key=lambda k: -question.feelings[k])
        facts = {"decided_by": feeling.decided_by, "small": ranked[0], "rank": ranked.index(feeling.label) + 1}
        return Prediction(
            feeling.label, (feeling.label,), question.feelings if self._engine is None else {}, text=feeling.label,
            facts=facts, unparsed=feeling.note,
        )  # fmt: skip
