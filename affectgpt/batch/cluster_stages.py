"""A job's stages as a cluster's machines run them: tables of rows in, tables of rows out, many rows at a time.

Each is made once in its process and then called for table after table. Reading happens in a worker of its own process,
as it does locally: a medium that breaks its reader costs that worker, and neither this process nor the rows beside it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, TypeVar

from affectgpt.batch import parcels
from affectgpt.batch.course import Course, Plan, Stages, Weighed
from affectgpt.batch.evidence import EvidenceStage
from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.job import Means, answerer_of, cache_of
from affectgpt.batch.reading import PooledReader, Reader
from affectgpt.batch.tally import Tally
from affectgpt.errors import EngineError
from affectgpt.prompting import PromptLibrary
from affectgpt.workers import Limits, ProcessFolder

if TYPE_CHECKING:
    import pyarrow

    from affectgpt.appraise.panel import Appraiser
    from affectgpt.engines.engine import Engine

__all__ = ["TASK_ROWS", "AskStage", "ReadStage", "Setup", "table_of"]

TASK_ROWS: Final = 4
"""Rows of a table: few, because what is lost with a machine is done again by the table, and several, because handing
a table over costs some milliseconds."""

_T = TypeVar("_T")


@dataclass(slots=True)  # not frozen: Ray Data would know a stage by the hash of what cannot be hashed anywhere else
class Setup:
    """What a stage needs to know of its job; all of it can be sent to another machine. It is never changed.

    n_requests: to each server at once, at most, from one process. open_engines: the servers; None asks nobody.
    """

    plan: Plan
    means: Means
    prompts: PromptLibrary
    n_requests: int = 1
    open_engines: Callable[[], Sequence[Engine]] | None = None
    appraiser: Appraiser | None = None
    reader: Callable[[], Reader] | None = None


class ReadStage:
    """Reads and weighs; one worker process, one clip at a time in it, while the next ones are fetched."""

    def __init__(self, setup: Setup) -> None:
        self._asks = setup.open_engines is not None
        self._room = ProcessFolder(setup.means.folder / "fetched")
        reader = setup.reader() if setup.reader else PooledReader(1, Limits(seconds=setup.means.clip_s))
        evidence = EvidenceStage(reader, cache_of(setup.means), setup.appraiser)
        self._course = Course(Stages(FileFetcher(self._room.path), evidence), setup.plan, Tally(None))
        self._loop = _Loop()

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Orders in; read items out, or the rows of those that failed or need not be done."""
        return table_of(self._loop.run(_each(self._one, table)))

    async def _one(self, columns: parcels.Columns) -> parcels.Columns:
        item, done = parcels.load_order(columns)
        got = await self._course.read(item, done)
        if not isinstance(got, Weighed):
            return parcels.result(item, got)
        if self._asks:
            return parcels.weighed(got)
        return parcels.result(item, await self._course.answer(got), got.effort)


class AskStage:
    """Asks the servers about what was read. Called from many threads, each of which waits for its own table."""

    def __init__(self, setup: Setup) -> None:
        assert setup.open_engines is not None, "there is nobody to ask"
        self._answerer = answerer_of(tuple(setup.open_engines()), setup.prompts, setup.n_requests, setup.means.patience)
        nothing_to_read = EvidenceStage(PooledReader(1), None)
        stages = Stages(FileFetcher(setup.means.folder), nothing_to_read, self._answerer)
        self._course = Course(stages, setup.plan, Tally(None))
        self._name, self._loop = token_hex(4), _Loop()

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Read items in, finished rows out; what is finished passes through. The last row tells of the servers."""
        return table_of([*self._loop.run(_each(self._one, table)), self._told()])

    async def _one(self, columns: parcels.Columns) -> parcels.Columns:
        if columns["state"] != "weighed":
            return columns
        read = parcels.load_weighed(columns)
        try:
            return parcels.result(read.item, await self._course.answer(read), read.effort)
        except EngineError as error:
            return parcels.end(read.item, error)

    def _told(self) -> parcels.Columns:
        told = {"retried": self._answerer.n_retried, "busy": self._answerer.n_busy, "limit": self._answerer.n_at_once}
        head = json.dumps(told).encode()
        return {**dict.fromkeys(parcels.COLUMNS), "id": self._name, "state": "told", "head": head}


async def _each(one: Callable[[parcels.Columns], Coroutine[Any, Any, _T]], table: pyarrow.Table) -> list[_T]:
    return await asyncio.gather(*(one(columns) for columns in table.to_pylist()))


class _Loop:
    """An event loop in a thread of its own, for callers in others."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="stage", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What it gives; waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def table_of(rows: Sequence[parcels.Columns]) -> pyarrow.Table:
    """The rows as a table, its columns typed as `parcels.COLUMNS` has them."""
    import pyarrow as pa

    kinds = {"text": pa.string(), "number": pa.int64(), "bytes": pa.large_binary()}
    return pa.Table.from_pylist(list(rows), pa.schema([(name, kinds[kind]) for name, kind in parcels.COLUMNS.items()]))
