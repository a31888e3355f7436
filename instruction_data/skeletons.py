"""How many different shapes a set of interpretations has, once everything that comes from the evidence is taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from affectgpt.cues import load_cues
from affectgpt.emotions import load_lexicon
from affectgpt.errors import MissingDependency
from instruction_data.sentences import CHANNEL, grammar

__all__ = ["count_skeletons", "strip"]

SAME = 0.7
"""Jaccard similarity of word triples from which two stripped texts count as one skeleton."""
N_PERMUTATIONS = 128

_QUOTE = re.compile(r'"[^"]*"')
_CITED = re.compile(r"\s*\[[^\]]*\]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LIST = re.compile(r"CUE(?:(?:, | and )CUE)+")
_CHANNELS = re.compile(r"CHANNEL(?:(?:, | and )CHANNEL)+")


def strip(text: str) -> str:
    """The text with quotes, citations, numbers, cues, emotions and channels replaced by their kind."""
    text = _NUMBER.sub("N", _CITED.sub("", _QUOTE.sub("QUOTE", text)))
    text = _cue_words().sub("CUE", text)
    text = _emotion_words().sub("EMOTION", text)
    text = _channel_words().sub("CHANNEL", text)
    return _CHANNELS.sub("CHANNEL", _LIST.sub("CUE", text))


def count_skeletons(texts: Iterable[str]) -> int:
    """Number of texts whose stripped form is like no earlier one's, by MinHash over word triples.

    Raises:
        MissingDependency: datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise MissingDependency("counting shapes needs datasketch", "pip install 'affectgpt[data]'") from None
    index, n = MinHashLSH(threshold=SAME, num_perm=N_PERMUTATIONS), 0
    for stripped in dict.fromkeys(map(strip, texts)):
        words = stripped.split()
        shingles = {" ".join(words[i : i + 3]).encode() for i in range(max(1, len(words) - 2))}
        sketch = MinHash(N_PERMUTATIONS)
        sketch.update_batch(list(shingles))
        if not index.query(sketch):
            index.insert(str(n), sketch)
            n += 1
    return n


def _either(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(set(words), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b", re.IGNORECASE)


@cache
def _cue_words() -> re.Pattern[str]:
    cues = load_cues()
    levels = "|".join(level.words[0] for level in cues.face_levels)
    face = "|".join(re.escape(c.noun) for c in cues.face.values())
    adjectives = {c.adjective(level) for c in cues.voice.values() for level in ("much higher", "higher", "near")}
    adjectives |= {c.adjective(level) for c in cues.voice.values() for level in ("much lower", "lower")}
    how = "|".join(sorted(map(re.escape, adjectives), key=len, reverse=True))
    voice = "|".join(sorted((re.escape(c.noun) for c in cues.voice.values()), key=len, reverse=True))
    return re.compile(rf"(?:(?:{face})(?: \((?:{levels})\))?|a (?:{how}) (?:{voice}))", re.IGNORECASE)


@cache
def _emotion_words() -> re.Pattern[str]:
    labels = load_lexicon().labels("basic8")
    words = (w.text for label in labels for w in load_lexicon().words(label))
    return _either([*words, *(noun for label in labels for noun in grammar()["nouns"][label])])


@cache
def _channel_words() -> re.Pattern[str]:
    return _either(CHANNEL.values())
