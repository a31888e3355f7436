"""From a conversation and what a person chose to a turn that can be taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from affectgpt.records import Message, Modality
from serve.chains import ChainState, state_of_chains
from serve.events import TurnRequest
from serve.store import Conversation, Revision, Turn

__all__ = ["Choices", "remembered", "request_of"]


@dataclass(frozen=True, slots=True)
class Choices:
    """How the next turn is to be read: which channels, of whom, whose help lines are shown, by which path.

    `persona` is who answers, empty for the server's own.
    """

    modalities: frozenset[Modality] = frozenset(Modality)
    subject: int | None = None
    locale: str = "en"
    is_fused: bool = False
    persona: str = ""


def request_of(conversation: Conversation, revision: Revision, choices: Choices) -> TurnRequest:
    """The turn of this revision's message, less its files: the talk before it, and what its replies were made by."""
    before = _turns_before(conversation, revision)
    state = _state_of(before)
    return TurnRequest(
        messages=_messages_of(before, revision),
        modalities=choices.modalities,
        subject=choices.subject,
        locale=choices.locale,
        strategies=state.strategies,
        own=state.own,
    )


def remembered(choices: Choices) -> Mapping[str, Any]:
    """The choices as a conversation keeps them, in JSON's own types."""
    chosen = {"subject": choices.subject, "is_fused": choices.is_fused, "persona": choices.persona}
    return {"modalities": sorted(choices.modalities), **chosen}


def _turns_before(conversation: Conversation, revision: Revision) -> tuple[Turn, ...]:
    """The turns that this revision follows, oldest first."""
    return tuple(takewhile(lambda turn: turn.revision.id != revision.id, conversation.turns))


def _messages_of(before: Sequence[Turn], revision: Revision) -> tuple[Message, ...]:
    """The talk up to this revision's message, which is the last."""
    said: list[Message] = []
    for turn in before:
        said.append(Message("user", turn.revision.asked.text))
        if turn.revision.answered is not None and turn.revision.answered.reply:
            said.append(Message("assistant", turn.revision.answered.reply))
    return (*said, Message("user", revision.asked.text))


def _state_of(before: Sequence[Turn]) -> ChainState:
    """What the replies so far were made by, as far as it was kept."""
    chains = [turn.revision.answered.chain for turn in before if turn.revision.answered is not None]
    return state_of_chains([chain for chain in chains if chain])
