"""What the store keeps and gives back: conversations, their turns with every revision, and feedback on them.

A conversation is a line of turns. Editing or regenerating a turn gives it a further revision and makes that the
current one; what had followed the older revision is kept behind it and comes back when it is chosen again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from affectgpt.errors import InputError
from affectgpt.record_json import to_json
from affectgpt.records import Message
from serve.chains import kept_chain
from serve.events import Attachment, Ended

__all__ = [
    "LONGEST_FIELD",
    "LONGEST_TEXT",
    "MOST_REVISIONS",
    "Answered",
    "Asked",
    "Conversation",
    "ExportForm",
    "Feedback",
    "Found",
    "KeptAttachment",
    "NotKept",
    "Page",
    "Revision",
    "Settings",
    "State",
    "Summary",
    "Thumbs",
    "Turn",
]

State = Literal["pending", "done", "failed", "interrupted"]
"""`interrupted`: it was begun, and the process that was writing it is gone."""
Thumbs = Literal["up", "down"]
ExportForm = Literal["md", "json", "csv"]

LONGEST_TEXT = 200_000
"""Characters of a message, a reply or a reasoning."""
LONGEST_FIELD = 2_000
"""Characters of a title, a remark or a name."""
MOST_REVISIONS = 2_000
"""Revisions in one conversation, all turns together: what is read at once stays bounded."""


class NotKept(InputError):
    """No such conversation, turn or revision, or another owner's: the two are never told apart."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a conversation was set to. `consented` is when its owner agreed to be read; None: not asked, or no.

    `more` holds whatever else the page wants to find again (modalities, subject), as JSON's own types.
    """

    locale: str = "en"
    consented: datetime | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptAttachment:
    """What is remembered of a file: never its content, never where it lay."""

    name: str
    kind: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's message."""

    text: str
    attachments: tuple[KeptAttachment, ...] = ()

    @staticmethod
    def of(text: str, attachments: Sequence[Attachment] = ()) -> Asked:
        """A message with what came along, less the paths."""
        return Asked(text, tuple(KeptAttachment(a.name, a.kind, a.sha256) for a in attachments))


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a message. `outcome` is `record_json.to_json`'s document, `card` the human help shown, Markdown.

    `chain` is how the reply came about (`serve.companions.kept_chain`), None where no strategy was chosen.
    `finish_reason` is the engine's, or `stopped` where the user stopped it: then what stood is kept.
    """

    reasoning: str
    reply: str
    model: str
    finish_reason: str = "stop"
    outcome: Mapping[str, Any] | None = None
    card: str = ""
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    chain: Mapping[str, Any] | None = None

    @staticmethod
    def of(ended: Ended, card: str = "") -> Answered:
        """From a turn's last event and the card that it showed, if any."""
        return Answered(
            reasoning=ended.reasoning,
            reply=ended.reply,
            model=ended.model,
            finish_reason=ended.finish_reason,
            outcome=to_json(ended.outcome) if ended.outcome is not None else None,
            card=card,
            n_prompt_tokens=ended.n_prompt_tokens,
            n_completion_tokens=ended.n_completion_tokens,
            chain=kept_chain(ended.dialogue) if ended.dialogue is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an owner says of an answer. One a revision: giving it again replaces it.

    `label` is the basic emotion that would have been right, `words` others in the owner's own words, `text` a remark.
    `may_reuse` is consent to learn from it: without, it never leaves the store but in its owner's own export.
    """

    thumbs: Thumbs | None = None
    label: str | None = None
    words: tuple[str, ...] = ()
    text: str = ""
    may_reuse: bool = False
    given: datetime | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of a turn: the message and its answer. `failure` says what went wrong, in words.

    `observations` are those of `outcome`. `ai_generated` is always true: the reasoning and the reply are a model's.
    """

    id: str
    turn_id: str
    number: int
    state: State
    asked: Asked
    created: datetime
    ended: datetime | None = None
    answered: Answered | None = None
    failure: str = ""
    feedback: Feedback | None = None
    ai_generated: bool = True

    @property
    def observations(self) -> tuple[Mapping[str, Any], ...]:
        """What was observed, in the prompt's order, as JSON objects."""
        outcome = self.answered.outcome if self.answered else None
        return tuple(outcome.get("observations") or ()) if outcome else ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in a conversation, counted from 1: its current revision, and the ids of all, oldest first."""

    id: str
    number: int
    revision: Revision
    revisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation as a list shows it. `n_turns` counts the current line."""

    id: str
    title: str
    created: datetime
    updated: datetime
    settings: Settings = field(default_factory=Settings)
    n_turns: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with the turns of its current line, oldest first."""

    summary: Summary
    turns: tuple[Turn, ...] = ()

    def messages(self) -> tuple[Message, ...]:
        """The current line as chat messages: answered turns whole, others without the reply that they never got."""
        said: list[Message] = []
        for turn in self.turns:
            said.append(Message("user", turn.revision.asked.text))
            if turn.revision.answered is not None:
                said.append(Message("assistant", turn.revision.answered.reply))
        return tuple(said)


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation that a search found, the turn it was found in (None: in the title), and the text around it."""

    summary: Summary
    turn_id: str | None
    snippet: str


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items, and the mark to ask for those after them; None at the end."""

    items: tuple[Item, ...]
    after: str | None = None
