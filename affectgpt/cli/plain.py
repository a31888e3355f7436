"""Text from outside (subtitles, file names, a model's answer) made safe for a terminal."""

from __future__ import annotations

import re

__all__ = ["plain"]

_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]+")

_ACTED_ON = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal acts on or cannot print: C0 and C1 controls, the bidirectional controls (Unicode Standard Annex 9,
table 4), and the lone surrogates that stand for undecodable bytes of a file name."""


def plain(text: str) -> str:
    """One line in which every control, direction or undecodable character is shown as its escape, not acted on.

    Line breaks and tabs become spaces.
    """
    return _ACTED_ON.sub(lambda match: f"\\u{ord(match[0]):04x}", _BREAKS.sub(" ", text))
