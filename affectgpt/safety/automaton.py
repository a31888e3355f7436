"""All phrases at once over the words of a text: time linear in the text, whatever it says.

The set of positions that the phrases stand at is carried from word to word; steps that were taken before are looked up
(the lazy automaton of Thompson 1968). Words that no phrase knows are all of one kind, so that ordinary text meets few
steps. The memory is bounded, and thrown away where a text was written to fill it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from affectgpt.safety.folding import BOUNDARY, QUESTION, Word, fold_word
from affectgpt.safety.phrases import ANY, END, NUMBER, QUESTION_MARK, Phrase

__all__ = ["Automaton", "Match"]

_SHORTEST_STEM = 3
_LONGEST_STARRED = 24
_MOST_REMEMBERED = 5_000

_Kind = frozenset[str]
_State = frozenset[int]


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase found: its number, and its first and last word."""

    phrase: int
    first: int
    last: int


@dataclass
class _Memory:
    """What was met before. Replaced whole, never emptied: threads share it."""

    kinds: dict[tuple[str, ...], _Kind] = field(default_factory=dict)
    steps: dict[tuple[_State, _Kind], tuple[_State, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.steps) > _MOST_REMEMBERED or len(self.kinds) > _MOST_REMEMBERED


class Automaton:
    """Finds phrases. `denials` are words that no gap passes over ("not", "never")."""

    def __init__(self, phrases: Sequence[Phrase], denials: Iterable[str] = ()) -> None:
        self._denials = frozenset(fold_word(word) for word in denials)
        self._symbols: list[str] = []
        self._owner: list[int] = []
        self._follow: list[list[int]] = []
        self._before: list[list[int]] = []
        self._lasts: set[int] = set()
        self._lasts_of: list[list[int]] = []
        self._firsts: set[int] = set()
        self._starts: dict[str, list[int]] = {}
        for number, phrase in enumerate(phrases):
            self._add(number, phrase)
        words = set(self._symbols) - {ANY, END, NUMBER, QUESTION_MARK}
        self._stems = frozenset(word for word in words if word.endswith("*"))
        self._words = frozenset(words - self._stems)
        self._memory = _Memory()

    def find(self, words: Sequence[Word]) -> list[Match]:
        """Every phrase in these words, in the order in which they end; each end of a phrase once."""
        memory = self._memory
        kinds: list[_Kind] = []
        found: list[Match] = []
        state: _State = frozenset()
        for at, word in enumerate(words):
            if memory.is_full:
                memory = self._memory = _Memory()
            kind = memory.kinds.get(word.forms)
            if kind is None:
                kind = memory.kinds[word.forms] = self._kind(word.forms)
            kinds.append(kind)
            step = memory.steps.get((state, kind))
            if step is None:
                step = memory.steps[state, kind] = self._step(state, kind)
            state, ended = step
            for phrase in ended:
                found.append(Match(phrase, self._first_word(phrase, kinds), at))
        return found

    def _add(self, number: int, phrase: Phrase) -> None:
        low = len(self._symbols)
        self._symbols += phrase.symbols
        self._owner += [number] * len(phrase.symbols)
        self._follow += [[low + n for n in sorted(after)] for after in phrase.follow]
        self._before += [[] for _ in phrase.symbols]
        for at in range(low, len(self._symbols)):
            for n in self._follow[at]:
                self._before[n].append(at)
        self._firsts.update(low + n for n in phrase.firsts)
        self._lasts_of.append([low + n for n in phrase.lasts])
        self._lasts.update(self._lasts_of[number])
        for n in phrase.firsts:
            self._starts.setdefault(phrase.symbols[n], []).append(low + n)

    def _step(self, state: _State, kind: _Kind) -> tuple[_State, tuple[int, ...]]:
        reached = {n for at in state for n in self._follow[at] if self._symbols[n] in kind}
        for symbol in kind:
            reached.update(self._starts.get(symbol, ()))
        return frozenset(reached), tuple(sorted({self._owner[at] for at in reached & self._lasts}))

    def _first_word(self, phrase: int, kinds: Sequence[_Kind]) -> int:
        """Where the phrase that ends with the last word began: its own positions backwards, to the nearest start."""
        last = len(kinds) - 1
        state = {at for at in self._lasts_of[phrase] if self._symbols[at] in kinds[last]}
        while not any(at in self._firsts for at in state):
            last -= 1
            state = {b for at in state for b in self._before[at] if self._symbols[b] in kinds[last]}
        return last

    def _kind(self, forms: tuple[str, ...]) -> _Kind:
        """Every symbol that a word answers to."""
        if forms[0] in (BOUNDARY, QUESTION):
            return frozenset((END, QUESTION_MARK) if forms[0] == QUESTION else (END,))
        symbols: set[str] = set() if self._denials.intersection(forms) else {ANY}
        for form in forms:
            if "*" in form:
                symbols |= self._starred(form)
            elif form in self._words:
                symbols.add(form)
            symbols.update(s for n in range(_SHORTEST_STEM, len(form) + 1) if (s := form[:n] + "*") in self._stems)
        if forms[0][0].isdigit():
            symbols.add(NUMBER)
        return frozenset(symbols)

    def _starred(self, form: str) -> set[str]:
        """The words that a form may stand for whose letters are starred out ("su*cide")."""
        if len(form) > _LONGEST_STARRED or sum(c.isalpha() for c in form) < 2:
            return set()
        stars = re.compile("".join(r"\w" if c == "*" else re.escape(c) for c in form))
        return {word for word in self._words if stars.fullmatch(word)}
