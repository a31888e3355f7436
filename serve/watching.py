"""Work whose stages are told while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from affectgpt.agent import Progress
from serve.events import Staged

__all__ = ["Watched", "watching"]

_T = TypeVar("_T")


class Watched(Generic[_T]):
    """A task and the stages that it tells of; iterating ends with the task."""

    def __init__(self) -> None:
        self.stages: asyncio.Queue[Staged | None] = asyncio.Queue()
        self.task: asyncio.Task[_T] | None = None

    def __aiter__(self) -> Watched[_T]:
        return self

    async def __anext__(self) -> Staged:
        stage = await self.stages.get()
        if stage is None:
            raise StopAsyncIteration
        return stage

    def result(self) -> _T:
        """What the task gave, or raises what it raised."""
        assert self.task is not None
        return self.task.result()


@asynccontextmanager
async def watching(work: Callable[[Progress], Awaitable[_T]]) -> AsyncIterator[Watched[_T]]:
    """`work` as a task that ends with the block; its progress, from any thread, as stages."""
    watched: Watched[_T] = Watched()
    loop = asyncio.get_running_loop()

    def progress(stage: str, fraction: float | None, detail: str = "") -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(watched.stages.put_nowait, Staged(stage, fraction))

    async def working() -> _T:
        return await work(progress)

    watched.task = asyncio.create_task(working())
    watched.task.add_done_callback(lambda _: loop.call_soon(watched.stages.put_nowait, None))
    try:
        yield watched
    finally:
        watched.task.cancel()
        await asyncio.gather(watched.task, return_exceptions=True)
