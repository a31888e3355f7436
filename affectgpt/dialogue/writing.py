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

__all__ = ["Written", "write"]

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
    gate, thoughts, said, text = SentenceGate(screen), _Thoughts(), set[str](), ""
    pieces = engine.stream(prompt, sampling)
    completion: Completion | None = None
    try:
        while completion is None:
            try:
                sentences = gate.feed(thoughts.without(next(pieces)))
            except StopIteration as end:
                completion = end.value
                sentences = gate.finish()
            for sentence in sentences:
                words = " ".join(_WORD.findall(sentence.lower()))
                if words and words in said:
                    return Written(text, completion)
                said.add(words)
                text += sentence
                yield sentence
            if gate.held is not None:
                return Written(text, held=gate.held.risk)
    except EngineError as error:
        return Written(text, error=error)
    finally:
        pieces.close()
    return Written(text, completion)


class _Thoughts:
    """Takes a leading `<think>` block out of a streamed answer."""

    def __init__(self) -> None:
        self._text, self._given = "", 0

    def without(self, piece: str) -> str:
        """What may be shown of the answer by now, less what was given before."""
        self._text += piece
        begun = self._text.lstrip()
        if len(begun) < len("<think>") and "<think>".startswith(begun):
            return ""
        answer = split_reasoning(self._text)[1]
        new, self._given = answer[self._given :], len(answer)
        return new
