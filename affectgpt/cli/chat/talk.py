"""The conversation so far, and what a further turn of it starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from affectgpt.dialogue import Asked, Line, Turn
from affectgpt.dialogue.speakers import AGENT, lines_of

if TYPE_CHECKING:
    from affectgpt.cli.chat.clips import SensedClip

__all__ = ["Spoken", "Talk"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn that was held; `clip` is the name of the file that came with it, empty where none did."""

    turn: Turn
    clip: str = ""


@dataclass(slots=True)
class Talk:
    """A conversation. `locale` is BCP 47. `cards` are the help cards given in it, oldest first."""

    locale: str = "en"
    spoken: list[Spoken] = field(default_factory=list)

    @property
    def last_card(self) -> str:
        """The card that has to stay in sight: the last one given."""
        return next((s.turn.card for s in reversed(self.spoken) if s.turn.card), "")

    def asked(self, words: str, sensed: SensedClip | None = None) -> Asked:
        """What a further turn starts from: these words, what the clip shows, and all that was said before."""
        turns = [s.turn for s in self.spoken]
        owns = [turn.own.after for turn in turns if turn.own is not None]
        return Asked(
            words=words,
            history=tuple(line for turn in turns for line in _lines(turn)),
            appraisal=sensed.outcome.appraisal if sensed else None,
            observed=sensed.observed if sensed else (),
            strategies=tuple(turn.strategy.chosen for turn in turns if turn.strategy is not None),
            own=owns[-1] if owns else None,
            locale=self.locale,
        )

    def add(self, turn: Turn, clip: str = "") -> Spoken:
        """Keep a turn that was held."""
        self.spoken.append(Spoken(turn, clip))
        return self.spoken[-1]


def _lines(turn: Turn) -> list[Line]:
    said = list(lines_of(turn.words)) if turn.words else []
    return [*said, Line(AGENT, turn.reply.text, is_agent=True)] if turn.reply.text else said
