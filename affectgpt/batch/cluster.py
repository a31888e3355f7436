"""A job on a Ray cluster: its stages run where there is room, its rows come back here and are kept as they always are.

The rows that are to be done go through Ray Data in windows of some ten thousand: read by actors of one core each, as
many as the cluster has room for, and answered by actors that do nothing but ask the servers. Source and ledger stay in
this process, so that a job that was begun here goes on there, and the other way round. A row that is lost with its
machine is done again; one that is lost twice fails and is told of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from affectgpt.batch import parcels
from affectgpt.batch.account import account
from affectgpt.batch.cluster_stages import TASK_ROWS, Setup, table_of
from affectgpt.batch.course import Course, Stages, bad_row
from affectgpt.batch.evidence import EvidenceStage
from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.job import Job, added_up, measure_output, n_requests_of, plan_of
from affectgpt.batch.ray_data import connected, through
from affectgpt.batch.reading import PooledReader
from affectgpt.batch.records import BadItem, Done, Failure, Item, Row
from affectgpt.batch.runner import TELL_EVERY_S, Watch, quiet, taken
from affectgpt.batch.tally import STAGES, Tally
from affectgpt.batch.threads import Threads
from affectgpt.batch.writing import Writer
from affectgpt.errors import AffectError

if TYPE_CHECKING:
    import pyarrow

    from affectgpt.engines.engine import Engine

__all__ = ["Cluster", "Conveyor", "run_on_ray", "run_over"]

WINDOW_ROWS: Final = 20_000
"""Rows that go through the cluster in one go. Their items are held here, about a kilobyte each. Between two windows the
actors start anew, and the last rows of one are waited for: large windows make that rare."""

WINDOW_BYTES: Final = 256 << 20
"""Of media that came inside their rows: a window of such ends sooner."""

N_LOOKING: Final = 16
"""Rows at a time that are looked at here, whether they are done already: that waits for file systems and stores."""

_Order = tuple[Item, Done | None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a job runs. `open_engines` opens the servers, on every machine that asks; it must be picklable.

    address: HOST:PORT of the head, or "auto". None takes RAY_ADDRESS, the cluster that runs on this machine, or one
    that is made for this job alone.
    """

    open_engines: Callable[[], Sequence[Engine]]
    address: str | None = None


class Conveyor(Protocol):
    """What carries tables through a job's stages on other machines."""

    def __call__(
        self, tables: Sequence[pyarrow.Table], setup: Setup, n_askers: int
    ) -> Generator[pyarrow.Table, None, None]:
        """The tables' results as they come, in any order. A table that is lost with its machine is left out.

        Closed, it stops what is under way.
        """
        ...


def run_on_ray(job: Job, cluster: Cluster, watch: Watch = quiet) -> dict[str, Any]:
    """Do a job as `affectgpt.batch.job.run` does, the same rows byte for byte but for their timings, on a cluster.

    `means.n_workers` are the actors that read, at most; by default as many as there are cores. Raises as `run`, and:
        MissingDependency: no Ray. OptionError: nothing answers at the address.
        WorkerDied: the cluster came to an end. The same job goes on where it stopped, here or there.
    """
    try:
        with connected(cluster.address):
            return run_over(job, cluster.open_engines, through, watch)
    finally:
        job.ledger.close(complete=False)  # nothing happens where it was closed already


def run_over(
    job: Job,
    open_engines: Callable[[], Sequence[Engine]],
    conveyor: Conveyor,
    watch: Watch = quiet,
    window_rows: int = WINDOW_ROWS,
) -> dict[str, Any]:
    """Do a job by its stages at the conveyor's other end. Closes the ledger, whatever happens; raises as `run_on_ray`.

    `open_engines` opens the servers there, and must be picklable. `window_rows` at least go in one go.
    """
    told: dict[str, Any] | None = None
    try:
        told = asyncio.run(_Driver(job, open_engines, conveyor, window_rows).run(watch))
        return told
    finally:
        job.ledger.close(complete=told is not None)
        if told is not None:
            measure_output(job, told)


@dataclass(slots=True)
class _Asked:
    """What the askers told of themselves last, by their names; `account` reads it as it would an answerer."""

    n_servers: int
    told: dict[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def n_retried(self) -> int:
        return self._sum("retried")

    @property
    def n_busy(self) -> int:
        return self._sum("busy")

    @property
    def n_at_once(self) -> int:
        return self._sum("limit")

    def _sum(self, name: str) -> int:
        return sum(told[name] for told in self.told.values())


class _Driver:
    """One run of a job."""

    def __init__(
        self, job: Job, open_engines: Callable[[], Sequence[Engine]], conveyor: Conveyor, window_rows: int
    ) -> None:
        self._job, self._conveyor, self._window_rows = job, conveyor, window_rows
        self._n_askers = 1 + len(job.others)
        self._asked = _Asked(self._n_askers) if job.engine is not None else None
        self._setup = Setup(
            plan_of(job),
            job.means,
            job.prompts,
            -(-n_requests_of(job) // self._n_askers),
            open_engines if job.engine is not None else None,
            job.appraiser,
            job.reader,
        )
        self._tally = Tally(None)
        self._tally.n_workers = job.means.n_workers or 0
        self._writer = Writer(job.ledger)
        self._source, self._carrying = Threads(1, "source"), Threads(1, "conveyor")
        self._looking = Threads(N_LOOKING, "look")
        nothing_to_read = EvidenceStage(PooledReader(1), None)
        self._course = Course(Stages(FileFetcher(job.means.folder), nothing_to_read), self._setup.plan, self._tally)

    async def run(self, watch: Watch) -> dict[str, Any]:
        job, tally = self._job, self._tally
        tally.n_total = await asyncio.to_thread(job.source.count)
        telling = asyncio.create_task(self._tell(watch))
        try:
            async for window in self._windows():
                await self._do(window)
        finally:
            telling.cancel()
            watch(self._snapshot())
            for part in (self._course, self._writer, self._source, self._carrying, self._looking):
                part.close()
        every = tally.findings
        if (tally.n_kept or tally.in_vain.n_rows) and job.rows is not None:
            every = await asyncio.to_thread(added_up, job.rows())
        return account(job.source.name, tally, every, self._asked)

    # ---- what is to be done

    async def _windows(self) -> AsyncIterator[dict[str, _Order]]:
        """The rows that are to be done, a window at a time, by their ids."""
        window: dict[str, _Order] = {}
        n_bytes = 0
        async for chunk in taken(self._job.source, self._source, self._writer):
            for item, done in await self._left(chunk):
                window[item.id] = item, done
                n_bytes += len(item.content or b"")
            if len(window) >= self._window_rows or n_bytes >= WINDOW_BYTES:
                yield window
                window, n_bytes = {}, 0
        self._tally.is_all_taken = True
        if window:
            yield window

    async def _left(self, chunk: Sequence[tuple[Item | BadItem, Done | None]]) -> list[_Order]:
        """What of these rows is to be done on the cluster; the others are kept, or are over."""
        are_done = await asyncio.gather(*(self._looking.run(self._is_done, item, done) for item, done in chunk))
        left: list[_Order] = []
        for (item, done), is_done in zip(chunk, are_done, strict=True):
            if is_done:
                self._tally.n_kept += 1
            elif isinstance(item, BadItem):
                await self._keep(bad_row(item), done)
            else:
                left.append((item, done))
        return left

    def _is_done(self, item: Item | BadItem, done: Done | None) -> bool:
        """Whether the ledger is known to hold what doing this row would give. Blocks."""
        if done is None:
            return False
        if isinstance(item, BadItem):
            return not self._setup.plan.retry_failed
        try:
            return self._course.is_done(item, done, sees_media=False)
        except AffectError:
            return False  # whoever reads it tells why

    # ---- doing it

    async def _do(self, window: dict[str, _Order]) -> None:
        """Do every row of a window. What is lost with a machine is done once more, each row for itself."""
        for n_rows in (TASK_ROWS, 1):
            if window:
                await self._pass(window, n_rows)
        for item, done in window.values():
            what = "the machine or the process that did it ended, twice; see Ray's logs"
            error = Failure("read", "WorkerDied", what, attempts=2)
            await self._keep(Row(item.id, item.number, "failed", media=item.media, error=error, extra=item.extra), done)

    async def _pass(self, window: dict[str, _Order], n_rows: int) -> None:
        """One way through the cluster; what comes back is taken out of the window."""
        orders = [parcels.order(item, done) for item, done in window.values()]
        tables = [table_of(orders[at : at + n_rows]) for at in range(0, len(orders), n_rows)]
        del orders
        results = await self._carrying.run(self._conveyor, tables, self._setup, self._n_askers)
        del tables
        try:
            while (table := await self._carrying.run(next, results, None)) is not None:
                await asyncio.gather(*(self._arrive(columns, window) for columns in table.to_pylist()))
        except Exception:
            await self._carrying.run(results.close)
            raise

    async def _arrive(self, columns: parcels.Columns, window: dict[str, _Order]) -> None:
        if columns["state"] == "told":
            if self._asked is not None:
                self._asked.told[columns["id"]] = json.loads(columns["head"])
            return
        if columns["state"] == "ended":
            raise parcels.load_end(columns)
        result = parcels.load_result(columns)
        if (order := window.pop(result.id, None)) is None:
            return  # a table that was thought lost came twice
        if result.effort is not None:
            self._tally.add(result.effort)
        if result.row is None:
            self._tally.n_kept += 1
            return
        for stage in STAGES[:-1]:
            self._tally.pass_by(stage)
        await self._keep(result.row, order[1])

    async def _keep(self, row: Row, done: Done | None) -> None:
        self._tally.enter("write")
        await self._writer.write(row)
        self._tally.leave("write", is_through=True)
        self._tally.count(row, done)

    # ---- telling

    def _snapshot(self) -> Any:
        return self._tally.snapshot(self._asked.n_at_once if self._asked else 0)

    async def _tell(self, watch: Watch) -> None:
        while True:
            watch(self._snapshot())
            await asyncio.sleep(TELL_EVERY_S)
