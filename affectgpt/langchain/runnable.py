"""The agent as a Runnable, for chains: invoked, in batches, streamed, awaited."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor

from affectgpt.agent import AffectAgent
from affectgpt.errors import OptionError
from affectgpt.jobs import Stopped
from affectgpt.langchain.inputs import ExplainArgs, Input, Request, Stage, Step, Tell, explain, joined, read
from affectgpt.records import Outcome

__all__ = ["ExplainRunnable"]


class ExplainRunnable(Runnable[Any, Step]):
    """The agent as a Runnable. Input: a path, a mapping of `ExplainArgs`, or a `Transcript`. Output: the `Outcome`.

    `stream` gives each `Stage` as it goes on, each `Observation` as soon as it is told, and the Outcome last; a chain
    that streams hands the Outcome on, as one that is invoked does. `max_concurrency` clips at most are read at once,
    whoever asks; a config may ask for fewer. A stream that is closed gives its run up at the next word of progress.

    What fails raises AffectError: InputError where the path or an option is at fault.
    """

    def __init__(self, agent: AffectAgent, *, max_concurrency: int = 2, name: str | None = None) -> None:
        if max_concurrency < 1:
            raise OptionError(f"a max_concurrency of {max_concurrency}", "give 1 or more")
        self.agent = agent
        self.name = name
        self._places = threading.BoundedSemaphore(max_concurrency)

    @property
    def InputType(self) -> Any:  # noqa: N802  the name is LangChain's
        """For the schema that LangChain shows."""
        return str | ExplainArgs

    @property
    def OutputType(self) -> Any:  # noqa: N802  the name is LangChain's
        """For the schema that LangChain shows."""
        return Outcome

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Outcome:
        """The outcome for one input. Raises AffectError."""
        done = self._call_with_config(lambda given: self._explain(read(given), lambda _: None), input, config, **kwargs)
        return cast(Outcome, done)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Outcome:
        """`invoke` in a thread."""
        return await run_in_executor(config, self.invoke, input, config, **kwargs)

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any | None) -> Iterator[Step]:
        """Every step of one input, the outcome last. Raises AffectError."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Step]:
        """`stream`, its work in a thread."""

        async def one() -> AsyncIterator[Input]:
            yield input

        async for step in self.atransform(one(), config, **kwargs):
            yield step

    def transform(
        self, input: Iterator[Input], config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[Step]:
        """`stream` of an input that comes in pieces."""
        yield from self._transform_stream_with_config(input, self._steps, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[Input], config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Step]:
        """`astream` of an input that comes in pieces."""
        async for step in self._atransform_stream_with_config(input, self._asteps, config, **kwargs):
            yield step

    def _steps(self, pieces: Iterator[Any]) -> Iterator[Step]:
        run = _Run(self._explain, read(joined(pieces)))
        try:
            yield from run
        finally:
            run.stop()

    async def _asteps(self, pieces: AsyncIterator[Any]) -> AsyncIterator[Step]:
        run = _Run(self._explain, read(joined([piece async for piece in pieces])))
        try:
            while (step := await run_in_executor(None, next, run, None)) is not None:
                yield step
        finally:
            run.stop()

    def _explain(self, request: Request, tell: Tell) -> Outcome:
        def progress(stage: str, fraction: float | None, detail: str = "") -> None:
            tell(Stage(stage, fraction, detail))

        with self._places:
            return explain(self.agent, request, progress, tell)


class _Run(Iterator[Step]):
    """One run in a thread of its own, as an iterator of its steps; safe to stop from any thread, at any time."""

    def __init__(self, explain: Callable[[Request, Tell], Outcome], request: Request) -> None:
        self._told: SimpleQueue[Step | BaseException | None] = SimpleQueue()
        self._is_stopped = threading.Event()
        work = copy_context().run
        threading.Thread(target=work, args=(self._work, explain, request), name="explain").start()

    def __next__(self) -> Step:
        step = self._told.get()
        if step is None:
            self._told.put(None)
            raise StopIteration
        if isinstance(step, BaseException):
            self._told.put(None)
            raise step
        return step

    def stop(self) -> None:
        """Give the run up, if it still goes on; whoever waits for a step is let go."""
        self._is_stopped.set()
        self._told.put(None)

    def _work(self, explain: Callable[[Request, Tell], Outcome], request: Request) -> None:
        try:
            self._told.put(explain(request, self._tell))
            self._told.put(None)
        except BaseException as error:  # noqa: BLE001  raised again where the steps are read
            self._told.put(error)

    def _tell(self, step: Step) -> None:
        if self._is_stopped.is_set():
            raise Stopped
        self._told.put(step)
