"""Who speaks in a turn: lines that name their speaker ("Anna: …") are several people's, anything else is one person's.

A name is data. One that sounds like a chat role ("system:", "assistant:") names nobody: it stays part of what was said,
so that a pasted transcript can never speak for the system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from affectgpt.dialogue.records import Line

__all__ = ["AGENT", "PERSON", "lines_of", "plain"]

PERSON = "you"
"""The speaker of a turn's own words."""
AGENT = "agent"

_NAMED = re.compile(r"^\s*(?:[-*>]\s*)?\[?(?P<name>[^\W\d_][\w .'-]{0,23}?)\]?\s*[:：]\s+(?P<text>\S.*)$")
_ROLES = frozenset(
    {"system", "assistant", "user", "developer", "tool", "function", "human", "ai", "bot", "model", "agent", "prompt"}
    | {"instruction", "instructions", "note", "admin", "root", "context", "rules", "reply", "answer"}
)
# Headings of ordinary messages, in the four languages of the screen: "PS: …", "Edit: …" name nobody either.
_HEADINGS = frozenset(
    {"ps", "p.s", "edit", "update", "tldr", "tl", "question", "frage", "pregunta", "re", "subject", "betreff", "asunto"}
    | {"objet", "http", "https", "example", "beispiel", "ejemplo", "exemple", "also", "warning", "achtung"}
)
_LEAST_NAMED = 2
"""Lines that must name a speaker before a turn is taken for talk between people."""
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
"""Soft hyphens, fillers, zero-width spaces, marks of direction. The joiners U+200C and U+200D are letters' business."""
MOST_LINES = 200
"""Lines of one turn that are taken apart; the rest belongs to its last line."""


def lines_of(words: str, person: str = PERSON) -> tuple[Line, ...]:
    """The turn's lines: one by the person, or one a named line where two speakers or more are named.

    A line without a name goes on from the one before it.
    """
    text = plain(words)
    found = [(m["name"].strip(), m["text"].strip()) for m in _matches(text) if _is_name(m["name"])]
    if len(found) < _LEAST_NAMED or len({name.casefold() for name, _ in found}) < _LEAST_NAMED:
        return (Line(person, text),)
    lines: list[Line] = []
    for row in text.split("\n", MOST_LINES):
        match = _NAMED.match(row)
        if match and _is_name(match["name"]):
            lines.append(Line(_as_known(match["name"].strip(), lines), match["text"].strip()))
        elif row.strip():
            last = lines.pop() if lines else Line(person, "")
            lines.append(Line(last.speaker, f"{last.text} {row.strip()}".strip()))
    return tuple(lines)


def plain(words: str) -> str:
    """The words without characters that cannot be seen, and without lone surrogates; line ends are line feeds."""
    text = words.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return _INVISIBLE.sub("", text).strip()


def _matches(text: str) -> Sequence[re.Match[str]]:
    return [m for row in text.split("\n", MOST_LINES) if len(row) < 2_000 and (m := _NAMED.match(row))]


def _is_name(name: str) -> bool:
    words = name.casefold().split()
    return len(words) <= 3 and not (_ROLES | _HEADINGS) & {w.strip(".") for w in words}


def _as_known(name: str, lines: Sequence[Line]) -> str:
    """The name as it was first written: "anna" goes on as "Anna"."""
    return next((line.speaker for line in lines if line.speaker.casefold() == name.casefold()), name)
