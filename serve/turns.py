"""A turn from its words and files to its reply: the order of its steps, and nothing else.

screen -> sense -> screen what was said in it -> explain -> understand, choose a strategy -> reply, screened sentence by
sentence. A crisis ends the turn at the screen: the card with human help is shown and nothing is analysed. Whoever
leaves stops the work.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal, TypeVar

from affectgpt.agent import AffectAgent, Parts, Progress, Senses
from affectgpt.appraise.panel import Appraiser
from affectgpt.dialogue import Parts as DialogueParts
from affectgpt.dialogue import Prepared, Turn
from affectgpt.dialogue.writing import LoopGuard, ThoughtFilter
from affectgpt.errors import AffectError, InputError, OptionError
from affectgpt.jobs import Stopped
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions, FaceOptions, SpeechOptions
from affectgpt.records import Completion, Modality, Outcome, Prompt, Sampling
from affectgpt.safety import Finding, Screen, gravest, help_card, replacement
from serve.companions import Companions
from serve.composing import asked_of, conclusion, key_observations, setting_note
from serve.events import (
    Called,
    Carded,
    Ended,
    Event,
    Observed,
    Reasoned,
    Said,
    Sensed,
    Staged,
    TurnRequest,
    Understood,
)
from serve.fusing import Fusion
from serve.gating import ReplyGate
from serve.naming import named, nameless, naming
from serve.perceiver import Perceiver
from serve.settings import ServeSettings
from serve.watching import Watched, watching
from serve.writers import Writer

__all__ = ["Crew", "TooManyTurns", "TurnService", "clip_and_words"]

WITHHELD: Final = "The model's interpretation was held back by the safety screen."

_T = TypeVar("_T")
FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]
_FINISHES: Final[dict[str, FinishReason]] = {"length": "length", "content_filter": "content_filter"}


class TooManyTurns(AffectError):
    """The server has as many turns in work as it may."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work of a turn: `explainer` writes the three parts, `replier` the reply.

    `fusion` explains where soft tokens are asked for; without it they cannot be. `companions` understand and choose;
    without, the turns make their own.
    """

    explainer: Writer
    replier: Writer
    perceiver: Perceiver
    screen: Screen
    appraiser: Appraiser | None = None
    fusion: Fusion | None = None
    companions: Companions | None = None


@dataclass(slots=True)
class _Course:
    """What a turn has come to so far."""

    request: TurnRequest
    outcome: Outcome | None = None
    reasoning: str = ""
    reply: str = ""
    finish: FinishReason = "stop"
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    held: str = ""
    dialogue: Turn | None = None
    is_over: bool = False

    def count(self, completion: Completion | None) -> None:
        if completion is not None:
            self.n_prompt_tokens += completion.n_prompt_tokens
            self.n_completion_tokens += completion.n_completion_tokens


class TurnService:
    """Takes turns (see `serve.events.Turns`), `settings.n_turns` of them at once."""

    def __init__(self, crew: Crew, settings: ServeSettings, prompts: PromptLibrary | None = None) -> None:
        self.crew = crew
        self.n_running = 0
        self._settings = settings
        self._prompts = prompts or PromptLibrary()
        self._threads = ThreadPoolExecutor(settings.n_turns, thread_name_prefix="turn")
        self._companions = crew.companions or Companions(
            settings, DialogueParts(screen=crew.screen, prompts=self._prompts)
        )

    async def run(self, request: TurnRequest) -> AsyncGenerator[Event, None]:
        """The turn's events as they happen; closing the generator stops what works for it.

        Raises:
            InputError: the request or a file is at fault. EngineError: the model failed. TooManyTurns, PoolFull.
        """
        if self.n_running >= self._settings.n_turns:
            raise TooManyTurns(f"{self.n_running} turns are in work, and no more are taken", "try again in a moment")
        self._companions.of(request.persona)  # a persona that is none is said before anything is read
        self.n_running += 1
        course = _Course(replace(request, setting=self._settings.context or request.setting))
        try:
            for step in (self._screened, self._explained, self._replied):
                if not course.is_over:
                    async with aclosing(step(course)) as events:
                        async for event in events:
                            _note(course, event)
                            yield event
            yield Ended(
                outcome=course.outcome,
                reasoning=course.reasoning,
                reply=course.reply,
                finish_reason=course.finish,
                model=self.model,
                n_prompt_tokens=course.n_prompt_tokens,
                n_completion_tokens=course.n_completion_tokens,
                held=course.held,
                dialogue=course.dialogue,
            )
        finally:
            self.n_running -= 1

    @property
    def model(self) -> str:
        """The names of the models that a turn's texts come from."""
        if self.crew.explainer.model == self.crew.replier.model:
            return self.crew.replier.model
        return f"{self.crew.explainer.model} (explanation), {self.crew.replier.model} (reply)"

    def close(self) -> None:
        """Take no more turns, and drop those that wait for a thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._companions.close()

    async def _screened(self, course: _Course) -> AsyncGenerator[Event, None]:
        """The user's side: what they write now, and help that an earlier message called for and that stays."""
        said = [m.content for m in course.request.messages if m.role == "user"]
        now = await self._look(said[-1] if said else "")
        before = await self._look("\n".join(said[:-1]))
        if now is not None and now.stops:
            yield self._stopped(course, now)
            return
        for finding in (now, before):
            if finding is not None and finding.level != "note":
                yield Carded(help_card(course.request.locale, finding), course.request.locale, finding.risk)
                return

    async def _explained(self, course: _Course) -> AsyncGenerator[Event, None]:
        request = course.request
        clip, options = clip_and_words(request, self._settings)
        if not request.is_explained and clip is None:
            return
        fusion = self._fusion(request, options) if clip is not None else None
        soft = fusion.reader if fusion else None
        options = replace(options, encoders=soft.encoders if soft else ())
        parts = Parts(appraiser=self.crew.appraiser, soft=soft)
        agent = AffectAgent(None, options, prompts=self._prompts, parts=parts)

        async def sense(progress: Progress) -> Senses:
            if not request.attachments:
                return await self._in_thread(agent.sense, None, progress)
            file = next((a for a in request.attachments if a.path == clip), request.attachments[0])
            sense = self.crew.perceiver.sense
            return await sense(clip, options, progress, name=file.name, sha256=file.sha256)

        async with watching(sense) as sensing:
            async for stage in sensing:
                yield stage
            with naming(request):
                senses = sensing.result()
        senses = replace(senses, failures={m: named(why, request) for m, why in senses.failures.items()})
        if request.attachments and senses.transcript is not None:
            heard = await self._look("\n".join(u.text for u in senses.transcript.utterances))
            if heard is not None and heard.stops:
                yield self._stopped(course, heard)
                return
        if clip is not None:
            yield Sensed(senses)
        observations = await self._in_thread(agent.observe, senses)
        for observation in observations.items:
            yield Observed(observation)
        yield Reasoned(key_observations(observations))
        writer = fusion.writer if fusion else self.crew.explainer
        async with self._concluding(agent, senses, writer) as concluding:
            async for stage in concluding:
                yield stage
        course.outcome = nameless(concluding.result(), request)
        course.count(course.outcome.completion)
        if rest := conclusion(course.outcome):
            held = gravest(await self._in_thread(self.crew.screen.reply, rest))
            if held is not None and held.stops:
                # What the model wrote goes nowhere, not into the outcome's document either; the evidence stays.
                course.outcome = replace(course.outcome, answer=None, completion=None)
                rest = WITHHELD
            yield Reasoned(rest)

    @asynccontextmanager
    async def _concluding(self, agent: AffectAgent, senses: Senses, writer: Writer) -> AsyncIterator[Watched[Outcome]]:
        stop = threading.Event()
        agent.engine = writer.engine(stop)

        async def conclude(progress: Progress) -> Outcome:
            def stoppable(stage: str, fraction: float | None, detail: str = "") -> None:
                if stop.is_set():
                    raise Stopped
                progress(stage, fraction, detail)

            return await self._in_thread(agent.conclude, senses, stoppable)

        try:
            async with watching(conclude) as concluding:
                yield concluding
        finally:
            stop.set()

    def _fusion(self, request: TurnRequest, options: AgentOptions) -> Fusion | None:
        """Who makes soft tokens of a clip, where they are asked for, and face or voice may be read.

        Raises:
            OptionError: nobody does.
        """
        if request.is_fused and self.crew.fusion is None:
            raise OptionError("this server makes no soft tokens", "ask for the path text, or start it with --fusion")
        is_read = options.setting is None and bool(options.modalities - {Modality.SPEECH})
        return self.crew.fusion if request.is_fused and is_read else None

    async def _replied(self, course: _Course) -> AsyncGenerator[Event, None]:
        request = course.request
        if not request.is_replied:
            return
        yield Staged("reply")
        asked = await self._in_thread(asked_of, request, course.outcome)
        prepared = await self._companions.prepare(request.persona, asked)
        yield Understood(prepared)
        if course.outcome is not None and (note := setting_note(course.outcome)) and request.attachments:
            yield Said(note)
        if prepared.prompt is not None:
            async with aclosing(self._written(course, prepared, prepared.prompt)) as events:
                async for event in events:
                    yield event
            return
        course.dialogue = prepared.turn()
        stopping = gravest(prepared.findings)
        if stopping is not None and stopping.stops:
            yield self._stopped(course, stopping)
        else:
            yield Said(course.dialogue.reply.text)

    async def _written(self, course: _Course, prepared: Prepared, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """The reply as the model writes it, through the gate; then the whole of it stands in the course."""
        request = course.request
        gate, thought, loop = ReplyGate(self.crew.screen), ThoughtFilter(), LoopGuard()
        n_pieces, called, said, completion = 0, None, "", None
        async with aclosing(self.crew.replier.write(prompt, request.sampling, request.tools)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Called):
                    called = piece
                    continue
                if isinstance(piece, Completion):
                    n_pieces, completion = 0, piece
                    course.count(piece)
                    course.finish = _FINISHES.get(piece.finish_reason, "stop")
                    sentences = gate.finish()
                else:
                    n_pieces += 1
                    sentences = gate.feed(thought.push(piece))
                fresh = list(takewhile(lambda sentence: not loop.repeats(sentence), sentences))
                for sentence in fresh:
                    said += sentence
                    yield Said(sentence)
                if gate.held is not None or len(fresh) < len(sentences):
                    break
        course.n_completion_tokens += n_pieces  # of a reply that was cut: about a token a piece
        held = gate.held.risk if gate.held is not None else ""
        course.dialogue = prepared.turn(said, completion, held)
        if held:
            course.finish, course.held = "content_filter", held
            yield Said(replacement(request.locale))
        elif called is not None:
            course.finish, course.dialogue = "tool_calls", None
            yield called
        elif not said.strip():
            yield Said(course.dialogue.reply.text)

    def _stopped(self, course: _Course, finding: Finding) -> Carded:
        course.is_over, course.finish = True, "content_filter"
        return Carded(help_card(course.request.locale, finding), course.request.locale, finding.risk)

    async def _look(self, text: str) -> Finding | None:
        return gravest(await self._in_thread(self.crew.screen.user, text)) if text.strip() else None

    def _in_thread(self, work: Callable[..., _T], *arguments: object) -> Awaitable[_T]:
        # In the context of the request, by which whatever it asks for is told apart.
        working = partial(copy_context().run, work, *arguments)
        return asyncio.get_running_loop().run_in_executor(self._threads, working)


def clip_and_words(request: TurnRequest, settings: ServeSettings) -> tuple[Path | None, AgentOptions]:
    """The clip of a turn, if any, and how the agent is to read it; without files the user's own words are read.

    Raises:
        InputError: more than one clip or transcript, or an option out of range.
    """
    clips = [a for a in request.attachments if a.kind != "transcript"]
    transcripts = [a for a in request.attachments if a.kind == "transcript"]
    if len(clips) > 1 or len(transcripts) > 1:
        raise InputError(
            f"{len(clips)} clips and {len(transcripts)} transcripts in one turn", "send one of each at most"
        )
    said = [m.content for m in request.messages if m.role == "user"]
    alone = not clips and not transcripts
    options = AgentOptions(
        modalities=request.modalities,
        face=FaceOptions(subject=request.subject),
        speech=SpeechOptions(
            text=(said[-1] if said else "") if alone else None,
            path=transcripts[0].path if transcripts else None,
            whisper=settings.whisper if clips and not transcripts else None,
        ),
        max_duration_s=settings.max_duration_s,
        setting=request.setting,
        permissive=settings.permissive,
        sampling=Sampling(max_tokens=settings.answer_tokens),
    )
    return (clips[0].path if clips else None), options


def _note(course: _Course, event: Event) -> None:
    if isinstance(event, Reasoned):
        course.reasoning += event.text
    elif isinstance(event, Said):
        course.reply += event.text
