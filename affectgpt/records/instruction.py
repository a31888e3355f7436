"""An instruction row: what a language model is asked and what it should answer, and where both come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from affectgpt.records.answer import Message

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus that something was taken from, and the licence that it is under."""

    set: str
    licence: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a row comes from.

    sources: every corpus that something in the row was taken from.
    observations: ids of the observations shown, in order.
    prompt_id, prompt_version: the prompt file that rendered the messages before the answer.
    writer, writer_version: who wrote the answer: `composer`, `corpus`, or a teacher's engine and model.
    filters: names of the filters that the row passed.
    media_sha256: hashes of the recordings behind the observations.
    speaker, dialogue: what the splits were made by, several with `; ` between; empty where there is none.
    wording: the vocabulary that the observations are told in; empty for the usual one.
    """

    sources: tuple[Source, ...] = ()
    observations: tuple[str, ...] = ()
    prompt_id: str = ""
    prompt_version: str = ""
    writer: str = ""
    writer_version: str = ""
    filters: tuple[str, ...] = ()
    media_sha256: tuple[str, ...] = ()
    speaker: str = ""
    dialogue: str = ""
    wording: str = ""


@dataclass(frozen=True, slots=True)
class InstructionExample:
    """One row to learn from: OpenAI messages, media lists beside them, and the row's origin.

    messages: an optional system message, then user and assistant by turns; the last is the assistant's.
    opening: text that the last message begins with and that takes no loss, because at inference it is given too.
    images, videos, audios: paths, one for each `<image>`, `<video>`, `<audio>` place in the messages.
    """

    id: str
    task: str
    split: Split
    messages: tuple[Message, ...]
    opening: str = ""
    images: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    audios: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def answer(self) -> str:
        """The text to learn, its opening included."""
        return self.messages[-1].content

    @property
    def asked(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[:-1]
