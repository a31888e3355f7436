"""The screen: layers that look at a text, and what they find together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from affectgpt.safety.findings import Finding, Side
from affectgpt.safety.rules import load_rules

__all__ = ["Layer", "Screen"]


class Layer(Protocol):
    """One way to look at a text: rules, a trained head, a guard model."""

    def find(self, text: str, side: Side) -> Sequence[Finding]:
        """What it finds in a text of the person ("user") or of the machine ("reply")."""
        ...


class Screen:
    """Looks at both sides of a turn before anything is shown. Thread-safe; works when the language model is down.

    `layers` default to the shipped rules. A layer can only add findings, never take another's away.
    """

    def __init__(self, layers: Sequence[Layer] | None = None) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers) if layers is not None else (load_rules(),)

    def user(self, text: str) -> tuple[Finding, ...]:
        """The risks in what a person wrote, in order of place."""
        return self._find(text, "user")

    def reply(self, text: str) -> tuple[Finding, ...]:
        """What must not go out in what the machine wrote, in order of place."""
        return self._find(text, "reply")

    def _find(self, text: str, side: Side) -> tuple[Finding, ...]:
        found = {finding for layer in self.layers for finding in layer.find(text, side)}
        return tuple(sorted(found, key=lambda f: (f.start, f.end, f.rule)))
