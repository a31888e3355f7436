"""Threads for blocking calls of an event loop, that never keep the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Threads"]

_T = TypeVar("_T")
_Task = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """Up to `n_most` threads, started when they are needed.

    A `ThreadPoolExecutor`'s threads are waited for when Python ends: an interrupted job would hang for as long as a
    server takes to answer, with nobody left to hear it. These are daemons, and are not.
    """

    def __init__(self, n_most: int, name: str) -> None:
        self._n_most, self._name = n_most, name
        self._n_started = self._n_busy = 0
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()

    async def run(self, call: Callable[..., _T], *args: Any) -> _T:
        """`call(*args)` in one of the threads. One who is cancelled meanwhile goes on; the call ends by itself."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._n_busy += 1
        if self._n_busy > self._n_started and self._n_started < self._n_most:
            self._n_started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._n_started}", daemon=True).start()
        self._tasks.put((lambda: call(*args), loop, future))
        try:
            return await future
        finally:
            self._n_busy -= 1

    def close(self) -> None:
        """Let the threads end when they have done what was asked; nobody waits for them."""
        for _ in range(self._n_started):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            call, loop, future = task
            if future.cancelled():
                continue
            outcome, error = None, None
            try:
                outcome = call()
            except BaseException as raised:  # noqa: BLE001 - raised again where the result is awaited
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, future, outcome, error)
            del task, call, future, outcome, error  # nothing of a row is held while the next one is waited for


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(outcome)
    else:
        future.set_exception(error)
