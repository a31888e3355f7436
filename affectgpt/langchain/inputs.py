"""What may be explained and what is told of it: inputs in every form that a chain hands on, and a run's steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affectgpt.agent import AffectAgent, Progress, quiet
from affectgpt.errors import OptionError
from affectgpt.records import Modality, Observation, Outcome, Transcript

__all__ = ["ExplainArgs", "Input", "Request", "Stage", "Step", "Tell", "explain", "invalid", "joined", "read"]


class ExplainArgs(BaseModel):
    """What to explain: a file, words, or a file with its words."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = Field(None, description="A video, sound, picture, .srt, .vtt or .txt file, by its name.")
    transcript: str | None = Field(None, description="What is said, as text.")
    modalities: list[Literal["face", "voice", "speech"]] | None = Field(
        None, min_length=1, description="What to look at; all of them where left out."
    )
    subject: int | None = Field(
        None, ge=0, description="Which person, counted from 0 in order of appearance; the most visible where left out."
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a stage of `affectgpt.agent.STAGES` is: `fraction` in [0, 1], None while unknown, 1.0 at its end."""

    name: str
    fraction: float | None
    detail: str = ""


Step = Stage | Observation | Outcome
Tell = Callable[[Step], object]
Input = str | Path | Mapping[str, Any] | ExplainArgs | Transcript


@dataclass(frozen=True, slots=True)
class Request:
    """One job, whoever asked: `words` as text or with their times."""

    path: Path | None = None
    words: str | Transcript | None = None
    modalities: frozenset[Modality] | None = None
    subject: int | None = None


def explain(
    agent: AffectAgent,
    request: Request,
    progress: Progress = quiet,
    tell: Tell = lambda _: None,
) -> Outcome:
    """What `agent` makes of a request, with the request's own options in the place of the agent's."""
    mine = copy.copy(agent)
    words = request.words
    if isinstance(words, Transcript):
        words = "\n".join(u.text for u in words.utterances)
    options = agent.options
    mine.options = replace(
        options,
        modalities=options.modalities if request.modalities is None else options.modalities & request.modalities,
        face=options.face if request.subject is None else replace(options.face, subject=request.subject),
        speech=options.speech if words is None else replace(options.speech, text=words, path=None),
    )
    senses = mine.sense(request.path, progress)
    if isinstance(request.words, Transcript) and senses.transcript is not None:
        senses = replace(senses, transcript=request.words)
    for observation in mine.observe(senses).items:
        tell(observation)
    return mine.conclude(senses, progress)


def read(given: Any) -> Request:
    """A request from whatever a chain hands on. Raises OptionError."""
    if isinstance(given, Transcript):
        return Request(words=given)
    if isinstance(given, str | Path):
        return Request(path=Path(given))
    if isinstance(given, Mapping):
        try:
            given = ExplainArgs.model_validate(dict(given))
        except ValidationError as error:
            raise OptionError(invalid(error), "see ExplainArgs") from error
    if not isinstance(given, ExplainArgs):
        raise OptionError(f"nothing to explain in a {type(given).__name__}", "give a path, a mapping or a Transcript")
    if not given.path and not given.transcript:
        raise OptionError("neither a clip nor words", "give `path`, `transcript`, or both")
    return Request(
        Path(given.path) if given.path else None,
        given.transcript or None,
        None if given.modalities is None else frozenset(map(Modality, given.modalities)),
        given.subject,
    )


def joined(pieces: Iterable[Any]) -> Any:
    """The pieces of a streamed input as one, by the rule of LangChain's own Runnables: added up, or else the last."""
    whole: Any = None
    for piece in pieces:
        try:
            whole = piece if whole is None else whole + piece
        except TypeError:
            whole = piece
    return whole


def invalid(error: Any) -> str:
    """What is wrong with a tool call's arguments, one a line, without the arguments themselves."""
    rows = error.errors(include_url=False, include_input=False)
    return "\n".join(f"{'.'.join(map(str, row['loc'])) or 'arguments'}: {row['msg']}" for row in rows)
