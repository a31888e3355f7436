"""Who takes part in a talk at a terminal, as tests want them: a display that remembers, clips that all smile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dialogue_fakes
from page_fakes import APPRAISAL

from affectgpt.cli.chat.clips import SensedClip
from affectgpt.cli.chat.session import Crew, Session
from affectgpt.cli.chat.talk import Spoken, Talk
from affectgpt.errors import InputError
from affectgpt.records import Completion, Modality, Observation, Observations, Outcome, Prompt, Sampling

REPLY = "That sounds hard. What happened then?"
SAD = "I am so sad because my dog died."
CRISIS = "I want to kill myself tonight."


@dataclass
class Shown:
    """A display that keeps what it was given, in order."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def wait(self) -> None:
        self.events.append(("wait", ""))

    def say(self, sentence: str) -> None:
        self.events.append(("say", sentence))

    def card(self, markdown: str) -> None:
        self.events.append(("card", markdown))

    def end(self, spoken: Spoken, last_card: str) -> None:
        self.events.append(("end", last_card))

    def explain(self, spoken: Spoken) -> None:
        self.events.append(("explain", spoken.turn.words))

    def tell(self, line: str) -> None:
        self.events.append(("tell", line))

    def of(self, kind: str) -> list[str]:
        """What came of one kind."""
        return [text for name, text in self.events if name == kind]


@dataclass
class Clips:
    """Every clip shows a smile over sad words; `heard` is what is said in it."""

    heard: str = ""
    taken: list[Path] = field(default_factory=list)

    def check(self, path: Path) -> None:
        if path.suffix != ".mp4":
            raise InputError(f"{path} is no clip", "give a .mp4")

    def read(self, path: Path) -> SensedClip:
        self.taken.append(path)
        smile = Observation("F1", Modality.FACE, "AU12", "the lip corners are pulled up", 0.0, 1.0)
        return SensedClip(path.name, Outcome(None, Observations((smile,)), None, None, APPRAISAL), self.heard)


class InterruptedEngine(dialogue_fakes.AskedEngine):
    """Writes one sentence and the beginning of another; then the person presses Ctrl-C."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        yield "That sounds hard. "
        yield "What"
        raise KeyboardInterrupt


def session(engine: object = None, clips: Clips | None = None, **options: object) -> Session:
    engine = engine or dialogue_fakes.AskedEngine(REPLY)
    crew = Crew(dialogue_fakes.companion(**options), engine, clips or Clips(), Shown())  # type: ignore[arg-type]
    return Session(crew, Talk("en-GB"))


def shown(held: Session) -> Shown:
    assert isinstance(held.crew.display, Shown)
    return held.crew.display


def reading(*lines: str | BaseException) -> Callable[[], str | None]:
    """Lines as a person types them; an exception is raised in the place of one."""
    left: Iterator[str | BaseException] = iter(lines)

    def read() -> str | None:
        line = next(left, None)
        if isinstance(line, BaseException):
            raise line
        return line

    return read
