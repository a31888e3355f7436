"""A turn and what happens in it, in order: the one form that the API, the explain stream and the chat page share.

A turn's events come in this order: any number of `Staged`, a `Sensed` where media were read, then `Observed` and
`Reasoned` pieces, an `Understood` before the `Said` pieces of a reply, a `Carded` where a person should be shown human
help, a `Called` where the client offered tools and one is to be called, and one `Ended`. What fails raises an
AffectError instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from affectgpt.readers import Setting
from affectgpt.records import Message, Modality, Observation, Outcome, Sampling

if TYPE_CHECKING:
    from affectgpt.agent import Senses
    from affectgpt.dialogue import Affect, Prepared, Strategy, Turn

__all__ = [
    "Attachment",
    "Called",
    "Carded",
    "Ended",
    "Event",
    "MediaKind",
    "Observed",
    "Reasoned",
    "Said",
    "Sensed",
    "Staged",
    "Tools",
    "TurnRequest",
    "Turns",
    "Understood",
]

MediaKind = Literal["image", "audio", "video", "transcript"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a client sent. `path` lies in the server's own upload folder; `name` is shown back, never opened.

    `duration_s` is how long it plays, as its header says; None where nobody looked. Words and pictures have 0.
    """

    path: Path
    kind: MediaKind
    name: str
    sha256: str
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """Functions of the client's that the writer of the reply may have it call, in OpenAI's form.

    `fields` are the request's own (`tools`, `tool_choice`, `parallel_tool_calls`). `exchange` is what followed the
    user's last message: the calls that were made, and what each gave.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    exchange: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One turn: the conversation, oldest first, the last message the user's, and what came with that message.

    `subject` is the person to describe (0 the first to appear), None leaves the choice. `setting` names a place where
    face and voice are refused. `locale` (BCP 47) chooses whose help lines are shown. `is_explained` False leaves the
    three parts out: words alone, no media; `is_replied` False leaves the reply out. `is_fused` shows the model face and
    voice as soft tokens too, on a server that has adapters for it. `tools` are for the reply alone.

    `persona` names who replies, empty for the server's own. `strategies` are those of earlier replies, oldest first,
    and `own` is the agent's emotion after the last of them, as far as they were kept.
    """

    messages: tuple[Message, ...]
    attachments: tuple[Attachment, ...] = ()
    modalities: frozenset[Modality] = frozenset(Modality)
    subject: int | None = None
    setting: Setting | None = None
    sampling: Sampling = field(default_factory=Sampling)
    locale: str = "en"
    is_explained: bool = True
    is_replied: bool = True
    tools: Tools | None = None
    is_fused: bool = False
    persona: str = ""
    strategies: tuple[Strategy, ...] = ()
    own: Affect | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A stage (the agent's names, and `queue`, `reply`) began or went on; `share` done in [0, 1], None unknown."""

    name: str
    share: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sensed:
    """The tracks of the clip, once, before anything is told of them: a page draws its timelines while the rest is made.

    It never leaves the server as it is. A turn that skips it is whole; nothing is drawn then.
    """

    senses: Senses


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation, in the prompt's order."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class Reasoned:
    """A piece of the three parts, after its claims were checked. Joined, the pieces are `Ended.reasoning`."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Understood:
    """How the reply that comes will be written: what was understood, which strategy, the agent's own emotion."""

    prepared: Prepared


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the reply, whole sentences, after screening. Joined, the pieces are `Ended.reply`."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """Calls that the client is asked to make, in OpenAI's form (`id`, `type`, `function`): after all that was said."""

    calls: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Carded:
    """Human help to show and keep on the page: Markdown, and the locale it is for.

    `risk` is what called for it, as `affectgpt.safety` names it: to be counted, never shown.
    """

    markdown: str
    locale: str
    risk: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over. `outcome` None where nothing was explained; tokens count every request of the turn.

    `finish_reason` is "content_filter" where screening ended the reply; `held` is the risk for which it did. It is
    "tool_calls" after a `Called`: the client makes the calls and comes back with what they gave. `dialogue` is the
    reply with its chain, None where none was written.
    """

    outcome: Outcome | None
    reasoning: str
    reply: str
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]
    model: str
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    held: str = ""
    dialogue: Turn | None = None


Event = Staged | Sensed | Observed | Reasoned | Understood | Said | Called | Carded | Ended


class Turns(Protocol):
    """Whatever can take a turn; closing the iterator (a client that left) stops the work behind it."""

    def run(self, request: TurnRequest) -> AsyncIterator[Event]:
        """The turn's events as they happen.

        Raises:
            InputError: the request or a file is at fault. EngineError: the model failed.
        """
        ...
