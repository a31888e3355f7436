"""Options as dataclasses: a field is an option, so that commands that share a group share its words and defaults."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from affectgpt.cli.guard import DEBUG
from affectgpt.errors import OptionError

if TYPE_CHECKING:
    from affectgpt.engines.engine import EngineOptions
    from affectgpt.readers import AgentOptions
    from affectgpt.records import Modality, Sampling

__all__ = ["AnswerFlags", "OutputFlags", "PathFlags", "SenseFlags", "remember_debug", "takes"]

_SENSES = "What is read"
_WORDS = "Where the words come from"
_ANSWER = "Who answers"
_OUTPUT = "What is written"


def remember_debug(ctx: typer.Context, value: bool) -> bool:
    """The callback of every `--debug`: the guard reads it when a command fails."""
    ctx.meta[DEBUG] = value
    return value


@dataclasses.dataclass(frozen=True, slots=True)
class SenseFlags:
    """The clip and how it is read."""

    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="A video, a sound, a still image, or a transcript alone (.srt, .vtt, .txt).",
            show_default=False,
        ),
    ] = None
    modalities: Annotated[
        str,
        typer.Option(
            "--modalities", help="Which of face, voice and speech to read, with commas.", rich_help_panel=_SENSES
        ),
    ] = "face,voice,speech"
    face: Annotated[
        int | None,
        typer.Option(
            "--face",
            metavar="N",
            help="The person to describe, from 0 as they appear, then from the left; else the most prominent.",
            rich_help_panel=_SENSES,
        ),
    ] = None
    face_rate: Annotated[
        float, typer.Option("--face-rate", metavar="HZ", help="Face frames a second.", rich_help_panel=_SENSES)
    ] = 12.5
    face_file: Annotated[
        Path | None,
        typer.Option(
            "--face-file", metavar="CSV", help="Action units from OpenFace or py-feat instead.", rich_help_panel=_SENSES
        ),
    ] = None
    face_task: Annotated[
        Path | None,
        typer.Option(
            "--face-task",
            metavar="TASK",
            help="Read blendshapes with this MediaPipe face_landmarker.task instead.",
            rich_help_panel=_SENSES,
        ),
    ] = None
    voice_reader: Annotated[
        Literal["librosa", "opensmile", "praat"],
        typer.Option("--voice-reader", help="What measures the voice.", rich_help_panel=_SENSES),
    ] = "librosa"
    video_backend: Annotated[
        Literal["pyav", "decord"],
        typer.Option("--video-backend", help="What decodes the pictures.", rich_help_panel=_SENSES),
    ] = "pyav"
    max_duration: Annotated[
        float,
        typer.Option("--max-duration", metavar="S", help="Refuse a longer clip.", rich_help_panel=_SENSES),
    ] = 3600.0
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            help="Observations kept a modality; otherwise what the shipped models were made for.",
            rich_help_panel=_SENSES,
        ),
    ] = None
    context: Annotated[
        Literal["workplace", "education"] | None,
        typer.Option(
            "--context",
            help="A place where face and voice must not be read for emotion (EU AI Act, Art. 5(1)(f)): words only.",
            rich_help_panel=_SENSES,
            show_default=False,
        ),
    ] = None
    permissive: Annotated[
        bool,
        typer.Option(
            "--permissive",
            help="Only appraisers trained on data under Apache-2.0, MIT, CC BY or CC BY-SA; weaker on face and voice.",
            rich_help_panel=_SENSES,
        ),
    ] = False
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage",
            metavar="P",
            help="How often the emotions that are not ruled out should hold the right one, between 0 and 1.",
            rich_help_panel=_SENSES,
        ),
    ] = 0.9
    transcript: Annotated[
        str | None,
        typer.Option("--transcript", metavar="TEXT", help="The words themselves.", rich_help_panel=_WORDS),
    ] = None
    transcript_file: Annotated[
        Path | None,
        typer.Option("--transcript-file", metavar="PATH", help="A .srt, .vtt or .txt file.", rich_help_panel=_WORDS),
    ] = None
    whisper: Annotated[
        str | None,
        typer.Option(
            "--whisper",
            metavar="MODEL",
            help="Recognise the words: a faster-whisper folder or name, or an openai-whisper .pt file.",
            rich_help_panel=_WORDS,
        ),
    ] = None
    sphinx: Annotated[
        bool,
        typer.Option("--sphinx", help="Recognise the words with pocketsphinx: a last resort.", rich_help_panel=_WORDS),
    ] = False

    def options(self, answer: AnswerFlags | None = None) -> AgentOptions:
        """The same as the agent's options. Raises OptionError."""
        from affectgpt.readers import AgentOptions, FaceOptions, SpeechOptions
        from affectgpt.records import Sampling

        return AgentOptions(
            modalities=_modalities(self.modalities),
            face=FaceOptions(self.face_rate, self.face, self.face_file, self.face_task, self.video_backend),
            speech=SpeechOptions(self.transcript, self.transcript_file, self.whisper, self.sphinx),
            voice_reader=self.voice_reader,
            max_duration_s=self.max_duration,
            top_k=self.top_k,
            setting=self.context,
            key_observations=answer.key_observations if answer else "restated",
            decide=answer.decide if answer else "appraisal",
            permissive=self.permissive,
            coverage=self.coverage,
            revisions=answer.revisions if answer else 0,
            sampling=answer.sampling() if answer else Sampling(),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerFlags:
    """The engine and how it decodes."""

    engine: Annotated[
        Literal["auto", "local", "http", "echo"],
        typer.Option(
            "--engine",
            help="A model here, an OpenAI-compatible server, or a canned answer; auto: a server where one is named.",
            rich_help_panel=_ANSWER,
        ),
    ] = "auto"
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A Hugging Face id, a folder, or the server's name for it; otherwise the embedded model.",
            rich_help_panel=_ANSWER,
        ),
    ] = None
    adapter: Annotated[
        str,
        typer.Option(
            "--adapter",
            metavar="FOLDER",
            help="A LoRA adapter; default: the shipped one, with the embedded model only; none: the bare model.",
            rich_help_panel=_ANSWER,
        ),
    ] = "default"
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="The server, or OPENAI_BASE_URL.", rich_help_panel=_ANSWER),
    ] = None
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", metavar="KEY", help="Its key, if it wants one.", rich_help_panel=_ANSWER),
    ] = None
    key_observations: Annotated[
        Literal["restated", "written"],
        typer.Option(
            "--key-observations",
            help="The answer's first part: restated from the evidence by this program where the engine can go on from "
            "there, or written by the model.",
            rich_help_panel=_ANSWER,
        ),
    ] = "restated"
    revisions: Annotated[
        int,
        typer.Option(
            "--revisions",
            metavar="N",
            help="How often an interpretation that the evidence contradicts is asked again; what still is contradicted "
            "is withdrawn and listed. 0: the first answer as it is.",
            rich_help_panel=_ANSWER,
        ),
    ] = 3
    decide: Annotated[
        Literal["appraisal", "llm"],
        typer.Option(
            "--decide",
            help="Whose basic label counts: the measured appraisers', or the model's own. Both are kept and shown.",
            rich_help_panel=_ANSWER,
        ),
    ] = "appraisal"
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", help="Longest answer.", rich_help_panel=_ANSWER)
    ] = 640
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0 is greedy.", rich_help_panel=_ANSWER)
    ] = 0.0
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="For a temperature above 0.", rich_help_panel=_ANSWER)
    ] = 0

    def engine_options(self) -> EngineOptions:
        """The same as the engine's options."""
        from affectgpt.engines.engine import EngineOptions

        return EngineOptions(self.engine, self.model, self.base_url, self.api_key, self.adapter)

    def sampling(self) -> Sampling:
        """How to decode. Raises OptionError for a value out of range."""
        from affectgpt.records import Sampling

        if self.max_tokens < 1:
            raise OptionError(f"--max-tokens {self.max_tokens}", "give at least 1")
        if not 0 <= self.temperature <= 2:
            raise OptionError(f"--temperature {self.temperature:g}", "give 0 to 2")
        return Sampling(max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed)


@dataclasses.dataclass(frozen=True, slots=True)
class PathFlags:
    """What the model is shown of a clip: words alone, or soft tokens too."""

    way: Annotated[
        Literal["text", "fused"],
        typer.Option(
            "--path",
            help="What the model is shown: text, what was observed in words; fused, face and voice as soft tokens too.",
            rich_help_panel=_ANSWER,
        ),
    ] = "text"
    fusion: Annotated[
        Path | None,
        typer.Option(
            "--fusion",
            metavar="FOLDER",
            help="The adapters that make the soft tokens, for --path fused.",
            rich_help_panel=_ANSWER,
        ),
    ] = None

    def folder(self) -> Path | None:
        """The fusion folder, None on the text path.

        Raises:
            OptionError: the fused path without a folder, or a folder without the fused path.
        """
        from affectgpt.fusion.soft_reader import find_fusion

        if self.way == "text":
            if self.fusion is not None:
                raise OptionError("--fusion is of no use to --path text", "say --path fused, or drop --fusion")
            return None
        return find_fusion(self.fusion)


@dataclasses.dataclass(frozen=True, slots=True)
class OutputFlags:
    """What a command writes, and where."""

    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout instead.", rich_help_panel=_OUTPUT)
    ] = False
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="HTML", help="Also write a self-contained page.", rich_help_panel=_OUTPUT),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=_OUTPUT)] = (
        False
    )
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error.", rich_help_panel=_OUTPUT, callback=remember_debug
        ),
    ] = False


def _modalities(names: str) -> frozenset[Modality]:
    from affectgpt.records import Modality

    chosen = {name.strip().lower() for name in names.split(",")} - {""}
    unknown = chosen - set(Modality)
    if unknown:
        raise OptionError(f"no modality {min(unknown)!r}", f"choose of {', '.join(Modality)}")
    return frozenset(map(Modality, chosen))


def takes(*groups: type[Any], without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose options are the fields of these dataclasses; it is called with one instance of each, in order.

    Fields named in `without` are no options of it and keep their defaults. One whose first parameter is `ctx` is given
    typer's context before them.
    """
    fields = {group: [f.name for f in dataclasses.fields(group) if f.name not in without] for group in groups}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def call(**values: Any) -> None:
            given = [values["ctx"]] if context else []
            command(*given, *(group(**{name: values[name] for name in names}) for group, names in fields.items()))

        context = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
            for name in inspect.signature(command).parameters
            if name == "ctx"
        ]
        parameters = [*context, *(p for group in groups for p in _parameters(group) if p.name not in without)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate


def _parameters(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if f.default is dataclasses.MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in dataclasses.fields(group)
    ]
