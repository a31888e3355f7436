"""Who writes a turn's texts: a model in this process, or one of a server's.

A turn needs the same model twice: as the agent's engine, in a thread, and as a stream of pieces, in the event loop.
Both end at once when the turn is given up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from affectgpt.engines.chat_form import chat_request, is_about_format
from affectgpt.engines.engine import Engine, check_soft, stamp, takes_soft
from affectgpt.engines.http import base_names
from affectgpt.jobs import Stopped
from affectgpt.records import Completion, Prompt, Sampling
from serve.calling import Calls, asked_with
from serve.events import Called, Tools
from serve.upstream import Upstream, UpstreamError, read_chunk

__all__ = ["LocalWriter", "UpstreamWriter", "Writer"]


class Writer(Protocol):
    """One model. `name` is of its kind, `model` the name in its stamps."""

    name: str
    model: str
    calls_tools: bool
    """Whether it can have a client's tools called."""

    def write(
        self, prompt: Prompt, sampling: Sampling, tools: Tools | None = None
    ) -> AsyncGenerator[str | Called | Completion, None]:
        """Pieces of one answer, then what it has called, if anything, its Completion last; closing stops the model.

        Raises:
            EngineError: the model failed.
        """
        ...

    def engine(self, stop: threading.Event) -> Engine:
        """The model as an engine for another thread; once `stop` is set, it raises Stopped."""
        ...


class LocalWriter:
    """An engine of this process. `threads` run its streams. It answers without calling any tool."""

    calls_tools = False

    def __init__(self, engine: Engine, threads: Executor | None = None) -> None:
        self.name, self.model = engine.name, engine.model
        self.takes_soft = takes_soft(engine)
        self.base_names: tuple[str, ...] = getattr(engine, "base_names", ())
        self.base_config: Path | None = getattr(engine, "base_config", None)
        self._engine = engine
        self._threads = threads

    async def write(
        self, prompt: Prompt, sampling: Sampling, tools: Tools | None = None
    ) -> AsyncGenerator[str | Called | Completion, None]:
        """See `Writer.write`."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        pieces: asyncio.Queue[str | Completion | BaseException] = asyncio.Queue()

        def put(piece: str | Completion | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def work() -> None:
            try:
                put(_drain(self._engine.stream(prompt, sampling), stop, put))
            except BaseException as error:  # noqa: BLE001 - raised again in the event loop
                if not loop.is_closed():
                    put(error)

        working = loop.run_in_executor(self._threads, work)
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, Completion):
                    return
        finally:
            stop.set()
            await asyncio.shield(working)

    def engine(self, stop: threading.Event) -> Engine:
        """See `Writer.engine`."""
        return _StoppableEngine(self._engine, stop)


class _StoppableEngine:
    """An engine that gives up in the middle of an answer."""

    def __init__(self, engine: Engine, stop: threading.Event) -> None:
        self.name, self.model = engine.name, engine.model
        self.takes_soft = takes_soft(engine)
        self._engine, self._stop = engine, stop

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`."""
        return [_drain(self._engine.stream(prompt, sampling), self._stop) for prompt in prompts]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """See `Engine.stream`."""
        return self._engine.stream(prompt, sampling)


def _drain(answer: Generator[str, None, Completion], stop: threading.Event, put: object = None) -> Completion:
    """The Completion at the end; every piece goes to `put`. Raises Stopped once `stop` is set."""
    try:
        while True:
            if stop.is_set():
                raise Stopped
            piece = next(answer)
            if callable(put):
                put(piece)
    except StopIteration as end:
        completion: Completion = end.value
        return completion
    finally:
        answer.close()


class UpstreamWriter:
    """A model of an OpenAI-compatible server.

    `listed` is what the server lists. `continues` says that it is a vLLM, which goes on from a given beginning of the
    answer (`continue_final_message`) and takes soft tokens; then the answer has the form that the model was taught, in
    headings. Otherwise it is asked for the JSON schema.
    """

    name = "http"
    calls_tools = True

    def __init__(
        self,
        upstream: Upstream,
        model: str,
        *,
        continues: bool = False,
        listed: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.model = model
        self.continues = continues
        self.upstream = upstream
        self.listed = listed
        self._takes_schema = True

    @property
    def takes_soft(self) -> bool:
        """Whether the server is a vLLM."""
        return self.continues

    @property
    def base_names(self) -> tuple[str, ...]:
        """Names of the base that the model is of, as far as `listed` tells."""
        rows = {str(row["id"]): row for row in self.listed}
        row = rows.get(self.model, {})
        return base_names(rows.get(str(row.get("parent")), row))

    async def write(
        self, prompt: Prompt, sampling: Sampling, tools: Tools | None = None
    ) -> AsyncGenerator[str | Called | Completion, None]:
        """See `Writer.write`."""
        text, thought, reason, n_tokens, calls = "", "", "stop", (0, 0), Calls()
        body = {
            **asked_with(self.body(prompt, sampling), tools),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self.upstream.stream(body) as chunks:
            async for chunk in chunks:
                piece = read_chunk(chunk)
                n_tokens, reason = piece.n_tokens or n_tokens, piece.finish_reason or reason
                thought += piece.reasoning
                calls.push(piece.calls)
                if piece.content:
                    text += piece.content
                    yield piece.content
        if tools is not None and (called := calls.whole()) is not None:
            yield called
        yield stamp(self, prompt, text, n_tokens, reason, thought)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One whole answer, its opening put back in front.

        It is streamed, so that the longest wait is for one token and not for all of them. A server that refuses
        structured output is never asked with it again.
        """
        has_schema = "response_format" in self.body(prompt, sampling)
        try:
            whole = await self._written(prompt, sampling)
        except UpstreamError as error:
            if not has_schema or error.status not in (400, 422) or not is_about_format(str(error)):
                raise
            self._takes_schema = False
            whole = await self._written(prompt, sampling)
        is_begun = prompt.opening and self.continues
        return replace(whole, text=prompt.opening + whole.text) if is_begun else whole

    async def _written(self, prompt: Prompt, sampling: Sampling) -> Completion:
        async for piece in self.write(prompt, sampling):
            if isinstance(piece, Completion):
                return piece
        raise AssertionError("a completion ends every answer")

    def body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        """The request's JSON."""
        return chat_request(self.model, prompt, sampling, continues=self.continues, takes_schema=self._takes_schema)

    def engine(self, stop: threading.Event) -> Engine:
        """See `Writer.engine`."""
        return _UpstreamEngine(self, stop, asyncio.get_running_loop())


class _UpstreamEngine:
    """The same from another thread: an answer is a task of the event loop, and giving it up closes its connection."""

    name = "http"

    def __init__(self, writer: UpstreamWriter, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        self.model, self.takes_soft = writer.model, writer.continues
        self._writer, self._stop, self._loop = writer, stop, loop

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`."""
        check_soft(self, prompts)
        if self._stop.is_set():
            raise Stopped
        return asyncio.run_coroutine_threadsafe(self._answer(prompts, sampling), self._loop).result()

    async def _answer(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        asking = asyncio.gather(*(self._writer.complete(prompt, sampling) for prompt in prompts))
        while not asking.done():
            await asyncio.wait([asking], timeout=0.1)
            if self._stop.is_set() and not asking.done():
                asking.cancel()
                raise Stopped
        return list(asking.result())

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """See `Engine.stream`."""
        (completion,) = self.generate([prompt], sampling)
        yield completion.text
        return completion
