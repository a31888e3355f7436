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
_MOST_STEPS = 20_000
_MOST_KINDS = 20_000
_BETWEEN_LOOKS = 1_000
"""Words between two looks at how much is remembered."""

_State = frozenset[int]


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase found: its number, and its first and last word."""

    phrase: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Words that all phrases treat alike: the positions they answer to, those of them that begin a phrase, gaps."""

    answering: _State
    starting: _State
    passes_gaps: bool


@dataclass
class _Memory:
    """What was met before. Its parts are replaced whole, never emptied: threads share them.

    Kinds of words outlive both: there are no more of them than the phrases tell apart, and steps go by them.
    """

    kinds: dict[tuple[str, ...], _Kind] = field(default_factory=dict)
    same: dict[tuple[_State, bool], _Kind] = field(default_factory=dict)
    steps: dict[tuple[_State, _Kind], tuple[_State, tuple[int, ...]]] = field(default_factory=dict)

    def emptied(self) -> None:
        """Forget the words, or the steps, where a text brought too many."""
        if len(self.kinds) > _MOST_KINDS:
            self.kinds = {}
        if len(self.steps) > _MOST_STEPS:
            self.steps = {}


class Automaton:
    """Finds phrases. `denials` are words that no gap passes over ("not", "never"); `words` is every word it knows."""

    def __init__(self, phrases: Sequence[Phrase], denials: Iterable[str] = ()) -> None:
        self._denials = frozenset(fold_word(word) for word in denials)
        self._answering: dict[str, set[int]] = {}
        self._owner: list[int] = []
        self._follow: list[frozenset[int]] = []
        self._firsts: set[int] = set()
        self._lasts: set[int] = set()
        self._span: list[range] = []
        for number, phrase in enumerate(phrases):
            self._add(number, phrase)
        self._gaps = frozenset(self._answering.pop(ANY, ()))
        self._before: list[list[int]] = [[] for _ in self._follow]
        for at, after in enumerate(self._follow):
            for n in after:
                self._before[n].append(at)
        self._stems = frozenset(word for word in self._answering if word.endswith("*"))
        self.words = frozenset(self._answering) - self._stems - {END, NUMBER, QUESTION_MARK}
        self._memory = _Memory()

    def find(self, words: Sequence[Word]) -> list[Match]:
        """Every phrase in these words, in the order in which they end; each end of a phrase once."""
        kinds: list[_Kind] = []
        found: list[Match] = []
        state: _State = frozenset()
        memory = self._memory
        for begin in range(0, len(words), _BETWEEN_LOOKS):
            memory.emptied()
            known, steps = memory.kinds, memory.steps
            for word in words[begin : begin + _BETWEEN_LOOKS]:
                kind = known.get(word.forms)
                if kind is None:
                    kind = known[word.forms] = self._kind(word, memory)
                kinds.append(kind)
                step = steps.get((state, kind))
                if step is None:
                    step = steps[state, kind] = self._step(state, kind)
                state, ended = step
                for phrase in ended:
                    found.append(Match(phrase, self._first_word(phrase, kinds), len(kinds) - 1))
        return found

    def _kind(self, word: Word, memory: _Memory) -> _Kind:
        """The kind of a word that was not met before."""
        answering, passes = self._answering_to(word.forms), not self._denials.intersection(word.forms)
        made = _Kind(answering, answering & self._firsts, passes and not word.is_boundary)
        return memory.same.setdefault((answering, made.passes_gaps), made)

    def _add(self, number: int, phrase: Phrase) -> None:
        low = len(self._owner)
        for at, symbols in enumerate(phrase.symbols):
            for symbol in symbols:
                self._answering.setdefault(symbol, set()).add(low + at)
        self._owner += [number] * len(phrase.symbols)
        self._follow += [frozenset(low + n for n in after) for after in phrase.follow]
        self._firsts.update(low + n for n in phrase.firsts)
        self._lasts.update(low + n for n in phrase.lasts)
        self._span.append(range(low, len(self._owner)))

    def _step(self, state: _State, kind: _Kind) -> tuple[_State, tuple[int, ...]]:
        following = frozenset[int]().union(*(self._follow[at] for at in state))
        reached = (following & kind.answering) | kind.starting
        if kind.passes_gaps:
            reached |= following & self._gaps
        return reached, tuple(sorted({self._owner[at] for at in reached & self._lasts}))

    def _first_word(self, phrase: int, kinds: Sequence[_Kind]) -> int:
        """Where the phrase that ends with the last word began: its own positions backwards, to the nearest start."""
        last = len(kinds) - 1
        state = {at for at in self._span[phrase] if at in self._lasts and at in kinds[last].answering}
        while not any(at in self._firsts for at in state):
            last -= 1
            kind = kinds[last]
            before = {b for at in state for b in self._before[at]}
            state = {b for b in before if b in kind.answering or (kind.passes_gaps and b in self._gaps)}
        return last

    def _answering_to(self, forms: tuple[str, ...]) -> _State:
        """The positions that a word answers to, gaps left out."""
        symbols: set[str] = set()
        if forms[0] in (BOUNDARY, QUESTION):
            symbols = {END, QUESTION_MARK} if forms[0] == QUESTION else {END}
            return frozenset[int]().union(*(self._answering.get(mark, ()) for mark in symbols))
        for form in forms:
            if "*" in form:
                symbols |= self._starred(form)
            elif form in self.words:
                symbols.add(form)
            symbols.update(s for n in range(_SHORTEST_STEM, len(form) + 1) if (s := form[:n] + "*") in self._stems)
        if forms[0][0].isdigit():
            symbols.add(NUMBER)
        return frozenset[int]().union(*(self._answering.get(symbol, ()) for symbol in symbols))

    def _starred(self, form: str) -> set[str]:
        """The words that a form may stand for whose letters are starred out ("su*cide")."""
        if len(form) > _LONGEST_STARRED or sum(c.isalpha() for c in form) < 2:
            return set()
        stars = re.compile("".join(r"\w" if c == "*" else re.escape(c) for c in form))
        return {word for word in self.words if stars.fullmatch(word)}
