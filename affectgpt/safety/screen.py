"""The screen: layers that look at a text, and what they find together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from affectgpt.errors import AffectError
from affectgpt.safety.findings import Finding, Side
from affectgpt.safety.rules import load_rules

__all__ = ["Layer", "Screen", "open_screen"]

_log = logging.getLogger(__name__)


class Layer(Protocol):
    """One way to look at a text: rules, a trained head, a guard model."""

    def find(self, text: str, side: Side) -> Sequence[Finding]:
        """What it finds in a text of the person ("user") or of the machine ("reply")."""
        ...


class Screen:
    """Looks at both sides of a turn before anything is shown. Thread-safe; works when the language model is down.

    `layers` default to the shipped rules. A layer can only add findings, never take another's away. One that fails is
    logged and passed over, as long as another one stands.
    """

    def __init__(self, layers: Sequence[Layer] | None = None) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers) if layers is not None else (load_rules(),)

    def user(self, text: str) -> tuple[Finding, ...]:
        """The risks in what a person wrote, in order of place. Raises AffectError where every layer failed."""
        return self._find(text, "user")

    def reply(self, text: str) -> tuple[Finding, ...]:
        """What must not go out in what the machine wrote, in order of place. Raises as `user`."""
        return self._find(text, "reply")

    def _find(self, text: str, side: Side) -> tuple[Finding, ...]:
        found: set[Finding] = set()
        failed: list[AffectError] = []
        for layer in self.layers:
            try:
                found.update(layer.find(text, side))
            except AffectError as error:
                failed.append(error)
                _log.warning("a layer of the safety screen failed, the others stand: %s", error)
        if failed and len(failed) == len(self.layers):
            raise failed[0]
        return tuple(sorted(found, key=lambda f: (f.start, f.end, f.rule)))


def open_screen(head: bool = False, guard_url: str | None = None, guard_model: str | None = None) -> Screen:
    """A screen with the layers that are asked for; the rules are always among them.

    head: the trained head, too; loads torch. guard_url: an OpenAI-compatible server, with its /v1, that runs a
    Qwen3Guard-Gen model; guard_model: its name there, where the server has several.

    Raises:
        MissingDependency, ModelError: no head to load. OptionError, EngineUnreachable: no such guard.
    """
    layers: list[Layer] = [load_rules()]
    if head:
        from affectgpt.safety.head import load_head

        layers.append(load_head())
    if guard_url is not None:
        from affectgpt.safety.guard import open_guard

        layers.append(open_guard(guard_url, guard_model))
    return Screen(layers)
