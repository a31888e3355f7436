"""A reply on its way through the gate, fed only where a sentence may have ended: that costs a tenth, token by token."""

from __future__ import annotations

from typing import Final

from affectgpt.safety import Finding, Screen, SentenceGate

__all__ = ["ReplyGate"]

_ENDS: Final = frozenset(".!?…。！？\n")
_LONGEST_HELD: Final = 200
"""Characters held back here at most; the gate itself cuts sentences that are too long."""


class ReplyGate:
    """`SentenceGate` for text that comes in small pieces; what comes out, joined, is the same."""

    def __init__(self, screen: Screen) -> None:
        self._gate = SentenceGate(screen)
        self._held = ""
        self._may_end = False

    @property
    def held(self) -> Finding | None:
        """What stopped the reply."""
        return self._gate.held

    def feed(self, piece: str) -> list[str]:
        """The sentences that may go out now."""
        self._held += piece
        # What follows a mark decides whether it ended a sentence: the piece after it is fed too.
        was_end, self._may_end = self._may_end, not _ENDS.isdisjoint(piece)
        if not (was_end or self._may_end or len(self._held) > _LONGEST_HELD):
            return []
        text, self._held = self._held, ""
        return self._gate.feed(text)

    def finish(self) -> list[str]:
        """The rest, where it may go out."""
        text, self._held = self._held, ""
        return [*self._gate.feed(text), *self._gate.finish()]
