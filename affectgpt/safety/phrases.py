"""Phrases over words, as the rules write them, into small automata.

A phrase is a line of words and little else:

    want        the word; `suicid*` any word that begins so; `#` a number
    (a|b c)     one of these                 [really]    may stand here or not
    <dying>     a named group of the language, from the rules' file
    ~ ~5        up to 2, up to 5 words of the same sentence, none of them a denial
    / $ ?       a sentence may end here; ends (or begins) here; ends with a question mark

"don't" also finds "dont" and "do not", "j'ai" also "jai", "töten" also "toeten", "beau-père" also "beau père". A phrase
becomes the automaton of its positions (Glushkov 1961): one state a word, so that it can be run in time linear in the
text and never backtracks. Words that stand side by side in brackets share one position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product

from affectgpt.errors import OptionError
from affectgpt.safety.folding import ELISIONS, fold_word

__all__ = ["ANY", "END", "NUMBER", "QUESTION_MARK", "Phrase", "read_phrase"]

ANY, END, NUMBER, QUESTION_MARK = "~", "$", "#", "?"
"""Symbols of a position that are no words."""

_PART = re.compile(r"\s*(<\w+>|~\d*|[()\[\]|/$?#]|[^\s()\[\]|/$?#<>~]+)")
_PLAIN = re.compile(r"[^\s()\[\]|/$?#<>~]+")
_GAP = 2
_LONGEST_GAP = 12
_DEEPEST = 12
_SHORTEST_STEM = 3

# What an English contraction is short for; the form without its apostrophe is always among them.
_CONTRACTIONS = {
    "n't": ("{}nt", "{}n t", "{} not"), "'m": ("{}m", "{} m", "{} am"), "'re": ("{}re", "{} re", "{} are"),
    "'ve": ("{}ve", "{} ve", "{} have"), "'ll": ("{}ll", "{} ll", "{} will"),
    "'d": ("{}d", "{} d", "{} would", "{} had"), "'s": ("{}s", "{} s", "{} is", "{} has"),
}  # fmt: skip
_WHOLE = {"can't": ("cant", "can t", "cannot", "can not"), "won't": ("wont", "won t", "will not")}
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@dataclass
class Phrase:
    """The automaton of one phrase: what each position answers to, which follow which, where it begins and ends."""

    symbols: list[set[str]] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)
    firsts: frozenset[int] = frozenset()
    lasts: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a phrase under way: the positions it may begin and end with, and whether it may be absent."""

    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    is_nullable: bool = True


def read_phrase(text: str, groups: Mapping[str, str] | None = None) -> Phrase:
    """The automaton of a phrase; `groups` are the texts of the groups that it may name.

    Raises:
        OptionError: the phrase cannot be read, may be empty, or begins or ends with a gap.
    """
    reader = _Reader(text, groups or {})
    piece = reader.alternatives()
    phrase = Phrase(reader.symbols, reader.follow, piece.first, piece.last)
    if reader.parts or piece.is_nullable:
        raise OptionError(f"the phrase {text!r} cannot be read", "write words, (a|b), [a], <group>, ~3, /, $ and ?")
    if any(ANY in phrase.symbols[at] for at in piece.first | piece.last):
        raise OptionError(f"the phrase {text!r} begins or ends with a gap", "begin and end it with a word")
    return phrase


class _Reader:
    """Reads one phrase by recursive descent and builds its positions."""

    def __init__(self, text: str, groups: Mapping[str, str]) -> None:
        self.text, self.groups = text, groups
        self.symbols: list[set[str]] = []
        self.follow: list[set[int]] = []
        self.parts = self._parts(text)
        self._depth = 0

    def alternatives(self) -> _Piece:
        """One or several sequences, separated by bars; those of one word share a position."""
        words: set[str] = set()
        pieces = [self._alternative(words)]
        while self.parts and self.parts[-1] == "|":
            self.parts.pop()
            pieces.append(self._alternative(words))
        return self._any_of(words, [piece for piece in pieces if piece is not None])

    def _alternative(self, words: set[str]) -> _Piece | None:
        """The next sequence, or None where it is a plain word, which is added to `words`."""
        is_alone = bool(self.parts) and (len(self.parts) == 1 or self.parts[-2] in ("|", ")", "]"))
        if is_alone and (plain := _plain_forms(self.parts[-1])):
            words |= plain
            self.parts.pop()
            return None
        return self._sequence()

    def _sequence(self) -> _Piece:
        piece = _Piece()
        while self.parts and self.parts[-1] not in ("|", ")", "]"):
            piece = self._then(piece, self._part(self.parts.pop()))
        return piece

    def _part(self, part: str) -> _Piece:
        if part in ("(", "["):
            inner = self.alternatives()
            if not self.parts or self.parts.pop() != (")" if part == "(" else "]"):
                raise OptionError(f"a bracket is left open in the phrase {self.text!r}", "close it")
            return inner if part == "(" else _Piece(inner.first, inner.last)
        if part.startswith("<"):
            return self._group(part[1:-1])
        if part.startswith(ANY):
            return self._gap(int(part[1:] or _GAP))
        if part == "/":
            end = self._position({END})
            return _Piece(end.first, end.last)
        return self._position({part}) if part in (END, NUMBER, QUESTION_MARK) else self._word(part)

    def _group(self, name: str) -> _Piece:
        if name not in self.groups or self._depth >= _DEEPEST:
            raise OptionError(f"the phrase {self.text!r} names the group <{name}>", "define it, and not by itself")
        words, text = _split_group(self.groups[name])
        if not text:
            return self._any_of(set(words), [])
        outer, self.parts, self._depth = self.parts, self._parts(text), self._depth + 1
        piece = self.alternatives()
        if self.parts:
            raise OptionError(f"the group <{name}> cannot be read", "write it as a phrase")
        self.parts, self._depth = outer, self._depth - 1
        return self._any_of(set(words), [piece])

    def _gap(self, most: int) -> _Piece:
        if not 0 < most <= _LONGEST_GAP:
            raise OptionError(f"a gap of {most} words in the phrase {self.text!r}", f"give 1 to {_LONGEST_GAP}")
        piece = _Piece()
        for _ in range(most):
            word = self._position({ANY})
            piece = self._then(piece, _Piece(word.first, word.last))
        return piece

    def _word(self, word: str) -> _Piece:
        if plain := _plain_forms(word):
            return self._position(set(plain))
        pieces = []
        for spelling in _spellings(word):
            piece = _Piece()
            for form in spelling.split():
                piece = self._then(piece, self._position({form}))
            pieces.append(piece)
        return self._any_of(set(), pieces)

    def _position(self, symbols: set[str]) -> _Piece:
        if short := [s for s in symbols if s.endswith("*") and len(s) <= _SHORTEST_STEM]:
            raise OptionError(f"the stem {short[0]!r} in the phrase {self.text!r}", "write three letters or more")
        self.symbols.append(symbols)
        self.follow.append(set())
        at = frozenset((len(self.symbols) - 1,))
        return _Piece(at, at, False)

    def _any_of(self, words: set[str], pieces: list[_Piece]) -> _Piece:
        if words:
            pieces = [*pieces, self._position(words)]
        first = frozenset[int]().union(*(p.first for p in pieces))
        last = frozenset[int]().union(*(p.last for p in pieces))
        return _Piece(first, last, any(p.is_nullable for p in pieces))

    def _then(self, left: _Piece, right: _Piece) -> _Piece:
        for at in left.last:
            self.follow[at] |= right.first
        return _Piece(
            left.first | right.first if left.is_nullable else left.first,
            left.last | right.last if right.is_nullable else right.last,
            left.is_nullable and right.is_nullable,
        )

    def _parts(self, text: str) -> list[str]:
        """The parts of a text, the next one last."""
        if (rest := _PART.sub("", text).strip()) or not text.strip():
            raise OptionError(f"the phrase {text!r} cannot be read", f"{rest!r} has no meaning in it")
        return _PART.findall(text)[::-1]


@lru_cache(maxsize=4096)
def _split_group(text: str) -> tuple[frozenset[str], str]:
    """The plain words of a group without brackets, and the text of the rest."""
    if "(" in text or "[" in text:
        return frozenset(), text
    plain = {part: _plain_forms(part.strip()) for part in text.split("|")}
    return frozenset[str]().union(*plain.values()), "|".join(part for part, forms in plain.items() if not forms)


@lru_cache(maxsize=16384)
def _plain_forms(part: str) -> frozenset[str]:
    """The spellings of a part that is a word and written as one word; none of other parts."""
    if not _PLAIN.fullmatch(part):
        return frozenset()
    spellings = _spellings(part)
    return frozenset() if any(" " in spelling for spelling in spellings) else frozenset(spellings)


@lru_cache(maxsize=16384)
def _spellings(word: str) -> list[str]:
    """How a word may be written in a text, folded; several words where it is short for several."""
    if word in _WHOLE:
        return list(_WHOLE[word])
    if "-" in word.strip("-"):  # folded texts have no hyphens: "beau-père" is two words, or was written as one
        parts = [_spellings(part) for part in word.split("-") if part]
        return list(dict.fromkeys(j.join(way) for way in product(*parts) for j in (" ", "")))
    for ending, written in _CONTRACTIONS.items():
        if word.endswith(ending) and word != ending:
            return [w.format(fold_word(word.removesuffix(ending))) for w in written]
    head, _, rest = word.partition("'")
    if rest and head in ELISIONS:
        return [spelling for tail in _spellings(rest) for spelling in (f"{head} {tail}", f"{head}{tail}")]
    spelled = word.translate(_UMLAUTS)
    return [fold_word(word)] if spelled == word else [fold_word(word), fold_word(spelled)]
