"""A job from its source to its ledger, many rows at a time.

What is held at once is bounded, however long the source is: a row is taken from it when another one is kept. A row that
fails is kept as a failed row; only what every row would fail of ends the job, and then what was kept stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final, Protocol

from affectgpt.batch.course import Course, Plan, Stages, bad_row, id_of
from affectgpt.batch.records import BadItem, Done, Item, Ledger, Source
from affectgpt.batch.tally import Snapshot, Tally
from affectgpt.batch.threads import Threads
from affectgpt.batch.writing import Writer

__all__ = ["TELL_EVERY_S", "Watch", "quiet", "run_job", "taken"]

CHUNK: Final = 32
"""Rows taken from the source in one go: reading a line costs less than waking the thread that does it."""

TELL_EVERY_S: Final = 0.5


class Watch(Protocol):
    """Told how a job goes, twice a second and at the end, in the event loop's thread."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Must not take long."""
        ...


def quiet(snapshot: Snapshot) -> None:
    """A `Watch` that says nothing."""


async def run_job(
    source: Source, ledger: Ledger, stages: Stages, plan: Plan, tally: Tally, watch: Watch = quiet
) -> None:
    """Do every row of the source that is not done. `tally` counts the run; ledger and stages stay open.

    Raises:
        OutputError: rows cannot be kept. EngineUnreachable: the server stayed away. InputError: the source broke.
        EngineError: the engine refuses every row. What was kept before stays, and can be gone on with.
    """
    runner = _Runner(source, ledger, stages, plan, tally)
    telling = asyncio.create_task(runner.tell(watch))
    try:
        await runner.run()
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        telling.cancel()
        watch(runner.snapshot())
        runner.close()


class _Runner:
    """One run of a job."""

    def __init__(self, source: Source, ledger: Ledger, stages: Stages, plan: Plan, tally: Tally) -> None:
        self._source, self._stages, self._plan, self._tally = source, stages, plan, tally
        self._course = Course(stages, plan, tally)
        self._writer = Writer(ledger)
        self._reading = Threads(1, "source")
        self._places = asyncio.Semaphore(plan.n_ahead)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            async for chunk in taken(self._source, self._reading, self._writer):
                for item, done in chunk:
                    if isinstance(item, BadItem) and done is not None and not self._plan.retry_failed:
                        self._tally.n_kept += 1
                        continue
                    await self._places.acquire()
                    group.create_task(self._go(item, done))
            self._tally.is_all_taken = True

    def snapshot(self) -> Snapshot:
        answerer = self._stages.answerer
        return self._tally.snapshot(answerer.n_at_once, answerer.is_away) if answerer else self._tally.snapshot()

    async def tell(self, watch: Watch) -> None:
        while True:
            watch(self.snapshot())
            await asyncio.sleep(TELL_EVERY_S)

    def close(self) -> None:
        for part in (self._course, self._writer, self._reading):
            part.close()

    async def _go(self, item: Item | BadItem, done: Done | None) -> None:
        """One row from end to end, whatever becomes of it."""
        try:
            row = bad_row(item) if isinstance(item, BadItem) else await self._course.row(item, done)
            if row is None:
                self._tally.n_kept += 1
                return
            self._tally.enter("write")
            await self._writer.write(row)
            self._tally.leave("write", is_through=True)
            self._tally.count(row, done)
        finally:
            self._places.release()


async def taken(
    source: Source, reading: Threads, writer: Writer
) -> AsyncIterator[list[tuple[Item | BadItem, Done | None]]]:
    """The source's rows, some at a time, with what the ledger knows of them. `reading` is one thread."""
    rows = source.iterate()
    while chunk := await reading.run(_chunk, rows):
        yield [*zip(chunk, await writer.known([id_of(row) for row in chunk]), strict=True)]


def _chunk(rows: Iterator[Item | BadItem]) -> list[Item | BadItem]:
    return list(islice(rows, CHUNK))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the job: the first that is no group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
