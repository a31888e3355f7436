"""A clearer wording by any engine, held against the reading that flagged the sentence: it must bring the sides closer.

What the reading cannot tell, a wording is not praised for: each try keeps its figures and why it was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.difference import DifferenceAppraiser
from affectgpt.errors import InputError
from affectgpt.perspective.findings import SentenceReading
from affectgpt.perspective.reading import SideReader, gaps
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Prompt, Sampling
from affectgpt.textualize.speech import clean_quote

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["LEAST_SIMILARITY", "PROMPT_ID", "Attempt", "Embedder", "Reworder", "Rewording"]

PROMPT_ID = "clearer"
N_WORDS = 3
"""Words that the prompt names, the heaviest of those that widen the difference."""
LONGEST_GROWTH = 2.0
"""A wording of more than so many times the sentence's words has added something."""
SHORT_WORDS = 8
"""Words that any wording may have, however short the sentence."""
LEAST_SIMILARITY = 0.56
"""Cosine below which a wording says something else: of 20,000 pairs of unlike EmoBank sentences one in a thousand lies
nearer, one in a hundred above .39, half above .06."""
HEAT = 0.7
"""Temperature of the second try and those after it; the first is greedy."""


class Embedder(Protocol):
    """Whatever gives sentence embeddings of unit length; `WordsAppraiser` does."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (B, D)."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One wording: its widest difference in spreads, and the cosine of its meaning to the sentence's.

    gap and similarity are NaN where its form alone was refused.
    refused: why it does not stand, in words; empty where it does. model and prompt say who wrote it.
    """

    text: str
    gap: float
    similarity: float
    refused: str
    model: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Rewording:
    """What came of asking: the sentence's own widest difference, every try in order, and the one that stands, or None.

    is_clear: whether the one that stands would not be flagged again.
    """

    sentence: SentenceReading
    gap: float
    tries: tuple[Attempt, ...]
    chosen: Attempt | None
    is_clear: bool


class Reworder:
    """Asks an engine for another wording of flagged sentences, `n_tries` times at most each."""

    def __init__(
        self,
        engine: Engine,
        reader: SideReader | None = None,
        embedder: Embedder | None = None,
        prompts: PromptLibrary | None = None,
        n_tries: int = 3,
    ) -> None:
        if n_tries < 1:
            raise InputError(f"{n_tries} tries", "give at least 1")
        self._engine, self._n_tries = engine, n_tries
        self._reader = reader or DifferenceAppraiser()
        self._embedder = embedder or _words()
        self._template = (prompts or PromptLibrary()).get(PROMPT_ID)

    def reword(self, sentence: SentenceReading, sampling: Sampling | None = None) -> Rewording:
        """Try until a wording stands: other words, one line, of like length and meaning, the sides closer.

        Raises:
            InputError: a sentence whose sides do not part. EngineError: the engine failed.
        """
        if not sentence.flagged:
            raise InputError("a sentence whose sides do not part", "reword those that are flagged")
        own = self._gap(sentence.text)
        prompt, sampling = self._prompt(sentence), sampling or Sampling(max_tokens=120)
        tries: list[Attempt] = []
        for k in range(self._n_tries):
            heated = sampling if k == 0 else replace(sampling, temperature=HEAT, seed=sampling.seed + k)
            tries.append(self._attempt(sentence, prompt, heated, own))
            if not tries[-1].refused:
                break
        chosen = tries[-1] if not tries[-1].refused else None
        is_clear = chosen is not None and chosen.gap < self._reader.bounds.cut
        return Rewording(sentence, own, tuple(tries), chosen, is_clear)

    def _prompt(self, sentence: SentenceReading) -> Prompt:
        heavy = [clean_quote(w.word) for w in sentence.words[:N_WORDS] if w.share > 0]
        return self._template.render(
            sentence=clean_quote(sentence.text), reader=sentence.told, words=", ".join(heavy) or "all of them"
        )

    def _attempt(self, sentence: SentenceReading, prompt: Prompt, sampling: Sampling, own: float) -> Attempt:
        written = self._engine.generate([prompt], sampling)[0]
        text = _first_line(written.text)
        gap, similarity = float("nan"), float("nan")
        refused = _form(sentence.text, text)
        if not refused:
            gap = self._gap(text)
            a, b = self._embedder.embed([sentence.text, text])
            similarity = float(a @ b)
            if similarity < LEAST_SIMILARITY:
                refused = "it says something else"
            elif gap >= own:
                refused = "the sides are no closer"
        who = f"{written.engine}:{written.model}"
        return Attempt(text, gap, similarity, refused, who, f"{written.prompt_id} {written.prompt_version}")

    def _gap(self, text: str) -> float:
        return float(gaps(self._reader.difference([text]), self._reader.bounds)[0])


def _words() -> Embedder:
    from affectgpt.appraise.words import WordsAppraiser

    return WordsAppraiser()


def _first_line(text: str) -> str:
    """The first line that says something, without the quotation marks around it."""
    line = next((x.strip() for x in text.splitlines() if x.strip()), "")
    return line.strip("\"'“”„«»").strip()


def _form(sentence: str, text: str) -> str:
    """What is wrong with a wording by its form; empty where nothing is."""
    if not text:
        return "nothing was written"
    if text.casefold().split() == sentence.casefold().split():
        return "the same words"
    if len(text.split()) > max(SHORT_WORDS, LONGEST_GROWTH * len(sentence.split())):
        return "much longer than the sentence"
    return ""
