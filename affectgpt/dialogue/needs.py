"""What a turn asks for, and what the person says of their own feeling: by phrases, and by the reading without any."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from affectgpt.dialogue.memory import is_feeling_word
from affectgpt.dialogue.records import Affect, Need
from affectgpt.emotions import load_lexicon

__all__ = ["leans_on_agent", "need_of", "refuses_advice", "self_report"]

STRONG: Final = 0.6
"""Probability of any feeling from which distress asks for comfort before anything else: a rule of this project."""
MOVED: Final = 0.4
"""Below it a turn is ordinary talk, where it tells of nothing unpleasant either."""
PLEASANT: Final = 0.15
"""Valence in [-1, 1] beyond which a turn is pleasant, or below its negative unpleasant: a rule of this project."""
LONGEST_READ: Final = 4_000
"""Characters of a turn that are searched."""
_REPORTED = 3
"""Words after "I am" that are looked up."""
_NO_REPORT = frozenset({"like", "as", "that", "as if", "comme", "como", "wie", "als"})
"""Words after "I feel" that begin a comparison or a thought."""
_CLAUSE_END = re.compile(r"[.,;:!?\n]|\b(?:and|but|because|und|aber|weil|y|pero|porque|et|mais|parce)\b")


def need_of(words: str, intensity: float, affect: Affect) -> Need:
    """What a turn asks for, from its phrases, then from how strong (in [0, 1]) and how pleasant it is."""
    text = words[:LONGEST_READ]
    distressed = affect.valence < -PLEASANT and intensity >= STRONG
    if refuses_advice(text):
        return Need.COMFORT if distressed else Need.BE_HEARD
    if _phrases()["advice"].search(text):
        return Need.ADVICE
    if text.rstrip().endswith("?") and _phrases()["information"].search(text):
        return Need.INFORMATION
    if distressed:
        return Need.COMFORT
    if affect.valence > PLEASANT and intensity >= MOVED:
        return Need.SHARE_JOY
    return Need.BE_HEARD if intensity >= MOVED or affect.valence < -PLEASANT else Need.COMPANY


def refuses_advice(words: str) -> bool:
    """Whether the person says that they want none."""
    return bool(_phrases()["refused"].search(words[:LONGEST_READ]))


def leans_on_agent(words: str) -> bool:
    """Whether the person puts the agent in the place of people."""
    return bool(_phrases()["leaning"].search(words[:LONGEST_READ]))


def self_report(words: str) -> str:
    """The person's own words for how they are ("really anxious", "not sad"); empty where they say nothing of it.

    What names no feeling is no report ("I am a nurse"). German, Spanish and French ones are known by the phrases of
    data/reply_needs.toml and the words of data/reply_memory.toml.
    """
    for match in _phrases()["self_report"].finditer(words[:LONGEST_READ]):
        after = words[match.end() : match.end() + 60]
        following = _CLAUSE_END.split(after)[0].split()[:_REPORTED]
        if following and following[0].lower() not in _NO_REPORT and (said := _named(following)):
            return said
    return ""


def _named(following: Sequence[str]) -> str:
    """The beginning of these words that names a feeling, with what was said before the feeling's own word."""
    starts = [" ".join(following[:n]) for n in range(1, len(following) + 1)]
    nodes = [found.node if (found := load_lexicon().resolve(s)) else None for s in starts]
    last = next((node for node in reversed(nodes) if node), None)
    if last is not None:
        return starts[nodes.index(last)]
    return next((s for s in starts if is_feeling_word(s.lower().split()[-1])), "")


@cache
def _phrases() -> Mapping[str, re.Pattern[str]]:
    table = tomllib.loads(files("affectgpt").joinpath("data/reply_needs.toml").read_text("utf-8"))
    return {
        name: _pattern([p for row in rows.values() for p in row]) for name, rows in table.items() if name != "source"
    }


def _pattern(phrases: list[str]) -> re.Pattern[str]:
    """Any of the phrases, their words in a row; an apostrophe may be either kind, or left out."""
    spelt = [
        r"[\s'’-]+".join(re.escape(w).replace("'", "['’]?") for w in re.split(r"[\s]+", p))
        for p in sorted(phrases, key=len, reverse=True)
    ]
    return re.compile(r"(?<!\w)(?:" + "|".join(spelt) + r")(?!\w)", re.IGNORECASE)
