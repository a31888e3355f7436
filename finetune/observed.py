"""Observations read back out of a rendered prompt, so that an answer can be checked against what it was shown.

A row carries the prompt's text and no records. The lines are the textualizers' own, so that cue, level and numbers can
be read back; what a line of other wording does not give is looked for as in any sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from affectgpt.cues import load_cues
from affectgpt.mentions import find_mentions
from affectgpt.records import Message, Modality, Observation, Observations

__all__ = ["read_observations"]

_LINE = re.compile(r"^\[([FVSM]\d{1,3})\] (.+)$", re.MULTILINE)
_FACE = re.compile(r"\((AU\d{1,2})\) ([a-z -]+), (\d+(?:\.\d+)?) of 5")
_QUOTE = re.compile(r'said "(.*)"')
_TIMES = re.compile(r", (\d+\.\d)–(\d+\.\d) s")
_MODALITIES = {"F": Modality.FACE, "V": Modality.VOICE, "S": Modality.SPEECH, "M": Modality.FACE}


def read_observations(messages: Sequence[Message]) -> Observations:
    """The observations that the last turn of the user shows; empty where it shows none."""
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    shown, _, _ = asked.partition("\nAppraisal\n")
    return Observations(tuple(_read(id_, text) for id_, text in _LINE.findall(shown)))


def _read(id_: str, text: str) -> Observation:
    modality = _MODALITIES[id_[0]]
    times = _TIMES.search(text)
    start_s, end_s = (float(times[1]), float(times[2])) if times else (None, None)
    if id_[0] == "M":
        return Observation(id_, modality, "missing_told", text)
    if id_[0] == "S":
        quote = _QUOTE.search(text)
        return Observation(id_, modality, "quote", text, start_s, end_s, quote=quote[1] if quote else text)
    cue, level = _face(text) if id_[0] == "F" else _voice(text)
    return Observation(id_, modality, cue, text, start_s, end_s, level=level)


def _face(text: str) -> tuple[str, str | None]:
    if not (told := _FACE.search(text)):
        return _any(text)
    level = load_cues().face_level(float(told[3]))
    return told[1], level.letter if level else "A"


def _voice(text: str) -> tuple[str, str | None]:
    for cue in load_cues().voice.values():
        for level in ("much lower", "lower", "near", "higher", "much higher"):
            if text.startswith(f"{cue.name} {cue.adjective(level)},"):
                return cue.key, level
    return _any(text)


def _any(text: str) -> tuple[str, str | None]:
    found = find_mentions(text)
    return (found[0].cue, next(iter(sorted(found[0].levels)), None)) if found else ("unknown", None)
