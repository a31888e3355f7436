"""Events on their way to a client: a first look before the answer begins, and an end when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from starlette.requests import Request

from affectgpt.errors import AffectError
from serve.events import Event, Staged, Understood

__all__ = ["ClientLeft", "Relay", "unless_left"]

PATIENCE_S: Final = 2.0
"""How long a stream waits for its first event of substance: what is wrong with a request mostly shows by then, and can
still be told by a status code."""

_T = TypeVar("_T")


class ClientLeft(AffectError):
    """Nobody waits for the answer any more."""


class Relay:
    """The events of a turn, which runs in a task of its own; `close` ends it."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self._queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(events))

    async def _run(self, events: AsyncGenerator[Event, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._queue.put_nowait(event)
            self._queue.put_nowait(None)
        except asyncio.CancelledError:
            self._queue.put_nowait(ClientLeft("the turn was given up"))
            raise
        except BaseException as error:  # noqa: BLE001 - raised again where the events are read
            self._queue.put_nowait(error)

    async def head(self, patience_s: float = PATIENCE_S) -> list[Event]:
        """Events up to the first that a client is told, or within `patience_s`. Raises what the turn raises."""
        early: list[Event] = []
        try:
            async with asyncio.timeout(patience_s):
                while not early or isinstance(early[-1], Staged | Understood):
                    event = await self._next()
                    if event is None:
                        self._queue.put_nowait(None)
                        break
                    early.append(event)
        except TimeoutError:
            pass
        except BaseException:
            self.close()
            raise
        return early

    async def all(self, early: list[Event]) -> AsyncIterator[Event]:
        """Every event: those that `head` gave, and those that follow. Raises what the turn raises."""
        for event in early:
            yield event
        while (event := await self._next()) is not None:
            yield event

    async def _next(self) -> Event | None:
        event = await self._queue.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def close(self) -> None:
        """Give the turn up, if it still runs. Never waits: a cancelled response may not."""
        self._task.cancel()


async def unless_left(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` gives; cancelled when the client leaves first. The request's body must have been read.

    Raises:
        ClientLeft: it left.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft("the client left")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
