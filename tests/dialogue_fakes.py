"""Fakes of a conversation: one who hears by keywords, transitions by hand, engines that fail or count."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from affectgpt.corpora import MELD
from affectgpt.dialogue import Companion, CompanionOptions, Parts
from affectgpt.dialogue.hearing import CauseWords, Heard
from affectgpt.dialogue.transitions import Transitions
from affectgpt.emotions import load_lexicon
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import EngineUnreachable
from affectgpt.records import Completion, Prompt, Sampling

KEYWORDS = {
    "sad": ("sadness", "sad"),
    "lost": ("sadness", "devastated"),
    "angry": ("anger", "angry"),
    "scared": ("fear", "afraid"),
    "married": ("joy", "joyful"),
    "crying": ("sadness", "sad"),
    "😭": ("sadness", "sad"),
}
"""Word -> its meld7 and its empathetic32 label; any other line is neutral, and content."""


class KeywordHearing:
    """Reads a line by the first keyword in it; everything after "because" caused the feeling."""

    label_set = "empathetic32"

    def __init__(self) -> None:
        self.n_heard = 0

    def line(self, text: str) -> Heard:
        """A feeling at .5, the rest shared out."""
        self.n_heard += 1
        labels = load_lexicon().labels("empathetic32")
        felt = self._found(text)[1]
        rest = 0.5 / (len(labels) - 1)
        feelings = {label: 0.5 if label == felt else rest for label in labels}
        return Heard(feelings, np.zeros(384, np.float32), np.zeros(1208, np.float32), np.zeros(28))

    def causes(self, text: str) -> CauseWords:
        """Places of all words, those after "because" at .9."""
        places, start, is_after = [], 0, False
        for word in text.split():
            start = text.index(word, start)
            places.append((start, start + len(word), 0.9 if is_after else 0.1))
            is_after = is_after or word.lower() == "because"
            start += len(word)
        return tuple(places)

    def emissions(self, lines: Sequence[str], n_read: int) -> NDArray[np.float64]:
        """A label at .7, the rest shared out."""
        rows = np.full((n_read, len(MELD)), 0.3 / (len(MELD) - 1))
        for k, text in enumerate(lines[len(lines) - n_read :]):
            rows[k, MELD.index(self._found(text)[0])] = 0.7
        return rows

    def _found(self, text: str) -> tuple[str, str]:
        low = text.lower()
        return next((labels for word, labels in KEYWORDS.items() if word in low), ("neutral", "content"))


class DownEngine:
    """A server that nobody answers at; with `after`, one that breaks off."""

    name = model = "down"

    def __init__(self, after: str = "") -> None:
        self._after = after

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Raises."""
        raise EngineUnreachable("nothing answers", "start the server")

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """Raises, after what it has said."""
        if self._after:
            yield self._after
        raise EngineUnreachable("nothing answers", "start the server")


class AskedEngine(EchoEngine):
    """An echo with scripted texts that keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts or ("That sounds hard. What happened?",))
        self.asked: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """The next texts."""
        self.asked += prompts
        return super().generate(prompts, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """The next text."""
        self.asked.append(prompt)
        return super().stream(prompt, sampling)


def transitions(stay: float = 0.6) -> Transitions:
    """A label is likelier after itself, for oneself more than for others."""
    k = len(MELD)
    own = np.log(np.where(np.eye(k, dtype=bool), stay, (1 - stay) / (k - 1)) * k)
    return Transitions(MELD, own, own / 2)


def companion(**options: object) -> Companion:
    """A companion whose hearing and transitions are these fakes."""
    parts = Parts(hearing=KeywordHearing(), transitions=transitions())
    return Companion(CompanionOptions(**options), parts)  # type: ignore[arg-type]
