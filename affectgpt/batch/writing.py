"""Rows on their way to the ledger: one thread talks to it, and takes all that is ready at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from affectgpt.batch.records import Done, Ledger, Row
from affectgpt.batch.threads import Threads

__all__ = ["Writer"]

MOST_TOGETHER: Final = 64
"""Rows that one sync brings to the disk at most."""


class Writer:
    """A ledger for an event loop. While one group of rows is being synced the next one gathers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = Threads(1, "ledger")
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def known(self, ids: Sequence[str]) -> list[Done | None]:
        """What the ledger knows of these rows."""
        return await self._thread.run(lambda: [self._ledger.done(id) for id in ids])

    async def write(self, row: Row) -> None:
        """Keep a row; it outlives the process when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((row, kept))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        await kept

    def close(self) -> None:
        """End the thread; the ledger is its owner's."""
        self._thread.close()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                try:
                    await self._thread.run(self._ledger.append, [row for row, _ in group])
                except Exception as error:  # noqa: BLE001 - raised again in each row's own task
                    for _, kept in group:
                        if not kept.done():
                            kept.set_exception(error)
                else:
                    for _, kept in group:
                        if not kept.done():
                            kept.set_result(None)
        finally:
            self._draining = None
