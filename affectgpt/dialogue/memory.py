"""What is remembered of lines that no longer fit: sentences picked out of them, never rewritten.

Two kinds are kept, in the order said: facts (who, what, when: "my sister Ana lives in Porto") and feelings ("I am
scared of the exam"). Picking needs no model; what is remembered was said, word for word, so that it cannot be wrong.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from affectgpt.dialogue.records import Line, Memory
from affectgpt.emotions import load_lexicon
from affectgpt.safety import split_sentences

__all__ = ["CHARACTERS_A_TOKEN", "count_tokens", "is_feeling_word", "recent", "remember"]

CHARACTERS_A_TOKEN = 3
"""Fewer than any usual tokenizer needs for a token of European text, so that a budget errs on the short side."""
LONGEST_SENTENCE = 220
"""Characters of a sentence that are kept; a longer one is cut between words, with three dots."""
MOST_LINES = 120
"""Lines that are read for it, the last ones: what was said two hundred turns ago and never again is let go."""
HALF_LIFE = 60
"""Lines over which a sentence comes to count half: a rule of this project."""
_LEAST_MARKS = 2
"""Marks of a fact that a sentence must have to be one."""
LIKE = 0.6
"""Share of common words from which a sentence says what a kept one says."""
_WORD = re.compile(r"[^\W_][\w'’-]*")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    fact: float
    feeling: float
    words: frozenset[str]


def remember(lines: Sequence[Line], budget_tokens: int) -> Memory:
    """The most telling sentences of the lines that are not the agent's, within the budget: at most half of it facts.

    A sentence's weight falls by half over HALF_LIFE lines: what was said lately counts more, what was said twice once.
    """
    said = [line for line in lines if not line.is_agent and line.text.strip()][-MOST_LINES:]
    found = [(place, s) for place, line in enumerate(said) for s in _sentences(line.text)]
    facts = _picked([(p, s, s.fact) for p, s in found], budget_tokens // 2, ())
    left = budget_tokens - sum(count_tokens(s.text) for _, s in facts)
    feelings = _picked([(p, s, s.feeling) for p, s in found], left, [s for _, s in facts])
    first, second = (tuple(s.text for _, s in sorted(part, key=lambda kept: kept[0])) for part in (facts, feelings))
    return Memory(first, second, len(said), sum(map(count_tokens, (*first, *second))))


def recent(lines: Sequence[Line], budget_tokens: int) -> int:
    """How many of the last lines fit in a budget; the last one always does."""
    left, n = budget_tokens, 0
    for line in reversed(lines):
        left -= count_tokens(line.text) + 2
        if left < 0 and n:
            break
        n += 1
    return n


def count_tokens(text: str) -> int:
    """Tokens of a text, estimated; at least as many as any usual tokenizer makes of European text."""
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


def _sentences(text: str) -> tuple[_Sentence, ...]:
    found = []
    for piece in split_sentences(text[:4_000]):
        sentence = _cut(" ".join(piece.split()))
        words = [w.lower() for w in _WORD.findall(sentence)]
        if len(words) >= 3 and not sentence.endswith("?"):
            found.append(_Sentence(sentence, _fact(sentence, words), _feeling(words), frozenset(words)))
    return tuple(found)


def _fact(sentence: str, words: Sequence[str]) -> float:
    """How much of a fact: own things and people, names, numbers, times."""
    cues = _cues()
    said = frozenset(words)
    marks = (
        not cues["own"].isdisjoint(words[:12]),
        not cues["people"].isdisjoint(said),
        not cues["events"].isdisjoint(said),
        not cues["times"].isdisjoint(said) or any(c.isdigit() for c in sentence),
        # A capital inside a sentence is a name in three of the four languages, and any noun in German.
        bool(re.search(r"(?<=[a-zà-ÿ,] )[A-ZÀ-Þ][a-zà-ÿ]{2,}", sentence)),
    )
    return float(sum(marks)) if sum(marks) >= _LEAST_MARKS else 0.0


@lru_cache(maxsize=8192)
def is_feeling_word(word: str) -> bool:
    """Whether a lower-case word names a feeling: by the lexicon, or by the list of other languages."""
    found = load_lexicon().resolve(word) if word.isascii() else None
    return (found is not None and found.basic != "neutral") or word in _cues()["feelings"]


def _feeling(words: Sequence[str]) -> float:
    """How much of a feeling: a word for one, said of oneself."""
    n = sum(is_feeling_word(w) for w in words if len(w) > 2)
    return n + 0.5 * any(w in _cues()["own"] for w in words) if n else 0.0


def _picked(
    found: Sequence[tuple[int, _Sentence, float]], budget: int, taken: Sequence[_Sentence]
) -> list[tuple[int, _Sentence]]:
    """The weightiest of (place, sentence, weight) that fit and say something new."""
    last = max((place for place, _, _ in found), default=0)
    weighed = [(weight * 0.5 ** ((last - place) / HALF_LIFE), place, s) for place, s, weight in found if weight > 0]
    kept: list[tuple[int, _Sentence]] = []
    for _, place, s in sorted(weighed, key=lambda row: (-row[0], -row[1])):
        size = count_tokens(s.text)
        if size <= budget and not any(_alike(s, other) for other in (*taken, *(k for _, k in kept))):
            kept.append((place, s))
            budget -= size
    return kept


def _alike(a: _Sentence, b: _Sentence) -> bool:
    return len(a.words & b.words) >= LIKE * min(len(a.words), len(b.words))


def _cut(sentence: str) -> str:
    if len(sentence) <= LONGEST_SENTENCE:
        return sentence
    return sentence[:LONGEST_SENTENCE].rsplit(" ", 1)[0] + " …"


@cache
def _cues() -> dict[str, frozenset[str]]:
    table: dict[str, Any] = tomllib.loads(files("affectgpt").joinpath("data/reply_memory.toml").read_text("utf-8"))
    return {name: frozenset(" ".join(row.values()).split()) for name, row in table.items()}
