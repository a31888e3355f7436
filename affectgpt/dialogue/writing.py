"""A reply while it is written: without thoughts, by the sentence, each screened before it is out, and none twice."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affectgpt.engines.engine import split_reasoning
from affectgpt.errors import EngineError
from affectgpt.records import Completion, Prompt, Sampling
from affectgpt.safety import Screen, SentenceGate

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["LoopGuard", "ThoughtFilter", "Written", "write"]

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it: the text that went out, by whom, the risk for which the rest did not, what went wrong."""

    text: str
    completion: Completion | None = None
    held: str = ""
    error: EngineError | None = None


def write(prompt: Prompt, engine: Engine, sampling: Sampling, screen: Screen) -> Generator[str, None, Written]:
    """The sentences of a reply that may go out, as they come; the generator returns what came of it.

    It ends at a finding that stops, at a sentence that was said before (small models begin to repeat themselves), and
    where the engine fails; closing it stops the model.
    """
    gate, thought, loop, text = SentenceGate(screen), ThoughtFilter(), LoopGuard(), ""
    pieces = engine.stream(prompt, sampling)
    completion: Completion | None = None
    try:
        while completion is None:
            try:
                sentences = gate.feed(thought.push(next(pieces)))
            except StopIteration as end:
                completion = end.value
                sentences = gate.finish()
            for sentence in sentences:
                if loop.repeats(sentence):
                    return Written(text, completion)
                text += sentence
                yield sentence
            if gate.held is not None:
                return Written(text, held=gate.held.risk)
    except EngineError as error:
        return Written(text, error=error)
    finally:
        pieces.close()
    return Written(text, completion)


class LoopGuard:
    """Sees a reply that begins to repeat itself, as small models do: a sentence that was said before ends it."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def repeats(self, sentence: str) -> bool:
        """Whether these words stood in the reply already."""
        words = " ".join(_WORD.findall(sentence.lower()))
        is_known = bool(words) and words in self._said
        self._said.add(words)
        return is_known


class ThoughtFilter:
    """Lets a streamed answer through without the `<think>` block that it may begin with."""

    def __init__(self) -> None:
        self._text, self._shown = "", 0

    def push(self, piece: str) -> str:
        """What may be shown by now, less what was shown before."""
        self._text += piece
        begun = self._text.lstrip()
        if len(begun) < len("<think>") and "<think>".startswith(begun):
            return ""
        answer = split_reasoning(self._text)[1]
        new, self._shown = answer[self._shown :], len(answer)
        return new
