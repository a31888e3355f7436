"""Soft tokens: vectors of a language model's input space that stand in a prompt in place of words."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectgpt.records.answer import Message, Prompt

SOFT_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""What a soft part may be called."""

_MARKER = re.compile(rf"<\|soft:({SOFT_NAME.pattern})\|>")


def soft_marker(name: str) -> str:
    """What stands in a message where the soft part of this name belongs, alone on its line.

    It has the form of a chat template's control token: whatever disarms those in untrusted text disarms forged markers.
    """
    return f"<|soft:{name}|>"


@dataclass(frozen=True, slots=True, eq=False)
class SoftPart:
    """K soft tokens under one name: `tokens` (K, D) float32, finite, K and D at least 1.

    Raises:
        ValueError: anything else.
    """

    name: str
    tokens: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not SOFT_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of soft tokens")
        if self.tokens.dtype != np.float32 or self.tokens.ndim != 2 or not self.tokens.size:
            found = f"shape {self.tokens.shape} and type {self.tokens.dtype}"
            raise ValueError(f"soft tokens {self.name!r} have {found}, not (K, D) float32")
        if not np.isfinite(self.tokens).all():
            raise ValueError(f"soft tokens {self.name!r} are not finite")


@dataclass(frozen=True, slots=True)
class EmbeddedPrompt(Prompt):
    """A rendered prompt with soft tokens: `parts`, in the order in which their markers stand in the messages.

    A marker is a whole line of a message (see `soft_marker`): servers put a line's end between the parts of a message,
    and so every engine reads the same tokens. An opening is the answer's own text and holds no places.

    Raises:
        ValueError: markers and parts differ in number, name or order, a marker shares its line, or widths differ.
    """

    parts: tuple[SoftPart, ...] = ()

    def __post_init__(self) -> None:
        marked = [name for m in self.messages for name in _MARKER.findall(m.content)]
        alone = [name for m in self.messages for line in m.content.split("\n") if (name := _name_on(line))]
        names = [part.name for part in self.parts]
        if marked != names or len(set(names)) != len(names):
            raise ValueError(f"the messages have places for soft tokens {marked} and are given {names}")
        if alone != names:
            raise ValueError("a place for soft tokens shares its line with words")
        widths = sorted({part.tokens.shape[1] for part in self.parts})
        if len(widths) > 1:
            raise ValueError(f"soft tokens of different widths: {widths}")

    @property
    def width(self) -> int | None:
        """D of all parts; None without parts."""
        return int(self.parts[0].tokens.shape[1]) if self.parts else None

    @property
    def n_soft(self) -> int:
        """Soft tokens in all."""
        return sum(len(part.tokens) for part in self.parts)

    def pieces(self, message: Message) -> tuple[str | SoftPart, ...]:
        """A message's text and soft parts in order: text by whole lines, and a line's end between each two pieces."""
        known = {part.name: part for part in self.parts}
        pieces: list[str | SoftPart] = []
        lines: list[str] = []
        for line in message.content.split("\n"):
            if (name := _name_on(line)) is None:
                lines.append(line)
                continue
            pieces += ["\n".join(lines)] if lines else []
            pieces.append(known[name])
            lines = []
        return (*pieces, *(["\n".join(lines)] if lines else []))


def _name_on(line: str) -> str | None:
    """The name of the soft part whose marker this line is."""
    found = _MARKER.fullmatch(line)
    return found[1] if found else None
