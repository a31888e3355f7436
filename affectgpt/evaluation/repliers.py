"""Predictors that reply to what somebody said: a model by the library's prompt, the nearest reply known, a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from affectgpt.corpora import Example
from affectgpt.errors import EngineError, OptionError
from affectgpt.evaluation.asked import Asked, complete_each
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.samples import Answer, Prediction
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion
from affectgpt.textualize.speech import clean_quote

__all__ = ["GivenReplies", "Replier", "ReplyOptions", "Retrieval", "dialogue_lines"]

LONGEST_DIALOGUE = 12
"""Lines of a dialogue that are shown, the latest: as many as in the rows that models are trained on."""
_STOPS = ("\nspeaker:", "\nlistener:")
"""Where a model begins the next turn, its reply is over."""


def dialogue_lines(example: Example) -> str:
    """The dialogue as prompts show it, a line a turn; the last is the speaker's, and the two take turns."""
    lines = [*example.context, example.text or ""][-LONGEST_DIALOGUE:]
    roles = ["speaker" if (len(lines) - i) % 2 else "listener" for i in range(len(lines))]
    return "\n".join(f"{role}: {clean_quote(line)}" for role, line in zip(roles, lines, strict=True))


@dataclass(frozen=True, slots=True)
class ReplyOptions(Asked):
    """Which model replies, and by which prompt of the library; its only place is `dialogue`."""

    max_tokens: int = 80
    prompt: str = "reply"


class Replier:
    """A language model that replies to the last line of a dialogue."""

    def __init__(self, labels: LabelSet, options: ReplyOptions) -> None:
        self._template = PromptLibrary().get(options.prompt)
        if self._template.variables != ("dialogue",) or self._template.soft:
            raise OptionError(f"the prompt {options.prompt!r} takes more than a dialogue", "name one that replies")
        self._sampling = replace(options.sampling, stop=_STOPS)
        self._engine = options.open()

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """All at once, or down to the one that the engine fails on."""
        prompts = [self._template.render(dialogue=dialogue_lines(e)) for e in examples]
        return [self._read(c) for c in complete_each(self._engine, prompts, self._sampling)]

    def _read(self, completion: Completion | EngineError) -> Answer:
        if isinstance(completion, EngineError):
            return completion
        facts = {"model": f"{completion.engine}:{completion.model}", "prompt": self._template.version}
        return Prediction(text=completion.text.strip(), facts=facts)


class Retrieval:
    """The reply that followed the most similar turn of the training side, by sentence vectors.

    n_before: lines before the turn that are compared with it.
    """

    def __init__(self, labels: LabelSet, fit: Sequence[Example] = (), n_before: int = 1) -> None:
        from affectgpt.appraise.words import WordsAppraiser

        if n_before < 0:
            raise OptionError(f"n_before: {n_before}", "0 or more")
        known = [e for e in fit if e.references and e.references[0].strip() and (e.text or "").strip()]
        if not known:
            raise OptionError("no replies to choose from", "name a training side with replies by `fit:`")
        self._n_before, self._embed = n_before, WordsAppraiser().embed
        self._replies = [e.references[0].strip() for e in known]
        self._dialogues = np.array([_origin(e) for e in known])
        self._vectors = self._embed([self._shown(e) for e in known])
        self.origin = f"the nearest of {len(known)} replies"

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """The nearest of another dialogue; of several equally near the first."""
        near = self._embed([self._shown(e) for e in examples]) @ self._vectors.T
        return [self._nearest(e, row) for e, row in zip(examples, near, strict=True)]

    def _nearest(self, example: Example, near: NDArray[np.float32]) -> Prediction:
        others = np.where(self._dialogues == _origin(example), -np.inf, near)
        k = int(others.argmax())
        if not np.isfinite(others[k]):
            return Prediction(unparsed="no reply of another dialogue")
        return Prediction(text=self._replies[k], facts={"similarity": round(float(others[k]), 4)})

    def _shown(self, example: Example) -> str:
        # The turn stands first: a long text is cut at its end.
        before = example.context[-self._n_before :] if self._n_before else ()
        return " ".join([example.text or "", *reversed(before)])


class GivenReplies:
    """The replies that people gave: what the other figures stand beside, and a side for a judge."""

    def __init__(self, labels: LabelSet) -> None:
        self.origin = "the corpus's own replies"

    def predict(self, examples: Sequence[Example]) -> list[Answer]:
        """The first reference of each."""
        return [Prediction(text=e.references[0]) if e.references else Prediction(unparsed="no reply") for e in examples]


def _origin(example: Example) -> str:
    return example.group.get("dialogue", example.id)
