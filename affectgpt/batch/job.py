"""A whole job, put together from what a caller has: a source, a ledger, an engine, and the machine it runs on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affectgpt.agent import PROMPT_ID
from affectgpt.batch.account import account
from affectgpt.batch.asking import Answerer
from affectgpt.batch.course import Plan, Stages
from affectgpt.batch.evidence import EvidenceStage
from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.findings import Findings
from affectgpt.batch.fingerprints import Asking
from affectgpt.batch.gathering import GatheringEngine
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.reading import PooledReader, Reader
from affectgpt.batch.records import BadItem, Item, Ledger, Row, Source
from affectgpt.batch.runner import Watch, quiet, run_job
from affectgpt.batch.selection import Shard, select
from affectgpt.batch.servers import Patience, Server, check_alike
from affectgpt.batch.tally import Tally
from affectgpt.engines.engine import Engine, EngineOptions
from affectgpt.errors import OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions
from affectgpt.workers import Limits, MediaCache, ProcessFolder

if TYPE_CHECKING:
    from affectgpt.appraise.panel import Appraiser

__all__ = [
    "Job",
    "Means",
    "Selection",
    "added_up",
    "answerer_of",
    "asking_of",
    "cache_of",
    "engine_options",
    "evidence_of",
    "measure_output",
    "n_requests_of",
    "n_workers_of",
    "plan_of",
    "run",
]

MOST_REQUESTS: Final = 256
"""To a server at once: what vLLM takes into one batch unless told (its `max_num_seqs`)."""

FIRST_REQUESTS: Final = 8
"""What is begun with, until it is seen that more pays."""


LOCAL_BATCH: Final = EngineOptions().batch_size


@dataclass(frozen=True, slots=True)
class Means:
    """What a job may use. None leaves a number to the machine and the engine.

    n_workers: processes that read media; by default one a core, one less where the model runs on the same cores.
    n_requests: to each engine at once, at most; by default 256 to a server, and two batches to a model of this process.
    folder: holds the cache of what was read, and fetched media while they are read.
    cache_bytes: of that cache; 0 keeps nothing.
    clip_s: a medium may take its reader, in seconds, before the reader is ended.
    """

    folder: Path
    n_workers: int | None = None
    n_requests: int | None = None
    cache_bytes: int = 10 << 30
    clip_s: float = 600.0
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        for name, value, least in (("workers", self.n_workers, 1), ("requests at once", self.n_requests, 1)):
            if value is not None and value < least:
                raise OptionError(f"{value} {name}", f"give {least} or more")
        if self.cache_bytes < 0:
            raise OptionError(f"a cache of {self.cache_bytes} bytes", "give 0 or more")
        if self.patience.attempts < 1 or not self.patience.outage_s >= 0:
            raise OptionError("no attempt at all, or a patience below 0", "give 1 attempt or more, and 0 s or more")


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done. `engine` None asks nobody; `appraiser` and `reader` replace the shipped ones.

    `rows` gives every row that the ledger holds, so that the report tells of rows of earlier runs too; `n_bytes` how
    large the output is. `others` are further servers of the engine's model: rows go to whichever is least busy.
    """

    source: Source
    ledger: Ledger
    engine: Engine | None
    means: Means
    options: AgentOptions = field(default_factory=AgentOptions)
    prompts: PromptLibrary = field(default_factory=PromptLibrary)
    retry_failed: bool = False
    appraiser: Appraiser | None = None
    reader: Callable[[], Reader] | None = None
    rows: Callable[[], Iterable[Row]] | None = None
    others: tuple[Engine, ...] = ()
    n_bytes: Callable[[], int] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a source that are this job's: of `shard`, of those the first `limit`, each with an id of its own."""

    inner: Source
    shard: Shard | None = None
    limit: int | None = None

    @property
    def name(self) -> str:
        """The source's."""
        return self.inner.name

    def iterate(self) -> Iterator[Item | BadItem]:
        """See `Source.iterate`."""
        return select(self.inner.iterate(), self.shard, self.limit)

    def count(self) -> int | None:
        """See `Source.count`; a shard is counted by its ids, where counting all rows is cheap too."""
        n = self.inner.count()
        if n is not None and self.shard is not None:
            n = sum(1 for _ in select(self.inner.iterate(), self.shard))
        return n if n is None or self.limit is None else min(n, self.limit)


def run(job: Job, watch: Watch = quiet) -> dict[str, Any]:
    """Do a job; what there is to tell of it, as `account` gives it. Closes the ledger, whatever happens.

    Raises:
        OutputError, EngineUnreachable, EngineError, InputError: as `run_job`; the same job goes on where it stopped.
    """
    told: dict[str, Any] | None = None
    try:
        told = asyncio.run(_run(job, watch))
        return told
    finally:
        job.ledger.close(complete=told is not None)
        if told is not None:
            measure_output(job, told)


def measure_output(job: Job, told: dict[str, Any]) -> None:
    """Add to what is told of a job how large its finished output is, where that can be known."""
    if job.n_bytes is not None:
        told["measured"]["output_bytes"] = job.n_bytes()
        told["measured"]["output_rows"] = job.ledger.n_ok + job.ledger.n_failed


async def _run(job: Job, watch: Watch) -> dict[str, Any]:
    tally = Tally(await asyncio.to_thread(job.source.count))
    tally.n_workers = n_workers_of(job)
    answerer = None
    if job.engine is not None:
        answerer = answerer_of((job.engine, *job.others), job.prompts, n_requests_of(job), job.means.patience)
    with ProcessFolder(job.means.folder / "fetched") as room:
        evidence = evidence_of(job)
        try:
            stages = Stages(FileFetcher(room.path), evidence, answerer)
            await run_job(job.source, job.ledger, stages, plan_of(job), tally, watch)
        finally:
            evidence.close()
            if answerer is not None:
                answerer.close()
    every = tally.findings
    if (tally.n_kept or tally.in_vain.n_rows) and job.rows is not None:
        every = await asyncio.to_thread(added_up, job.rows())
    return account(job.source.name, tally, every, answerer)


def plan_of(job: Job) -> Plan:
    """What is done with each row of it."""
    n_workers, n_requests = n_workers_of(job), n_requests_of(job) * (1 + len(job.others))
    return Plan(
        job.options,
        asking_of(job),
        job.retry_failed,
        n_ahead=2 * n_requests + 4 * n_workers,
        n_fetched=2 * n_workers + 2,
        patience=job.means.patience,
    )


def evidence_of(job: Job) -> EvidenceStage:
    """Who reads and weighs its media; no process starts before something is read."""
    reader = job.reader() if job.reader else PooledReader(n_workers_of(job), Limits(seconds=job.means.clip_s))
    return EvidenceStage(reader, cache_of(job.means), job.appraiser)


def cache_of(means: Means) -> MediaCache | None:
    """What was read is kept there; None where nothing is."""
    return MediaCache(means.folder / "readings", means.cache_bytes) if means.cache_bytes else None


def answerer_of(engines: Sequence[Engine], prompts: PromptLibrary, n_requests: int, patience: Patience) -> Answerer:
    """Who asks these servers of one model, up to `n_requests` at once each.

    Raises:
        OptionError: they serve different models.
    """
    check_alike(engines)
    servers = []
    for engine in engines:
        used, first = _beside(engine, n_requests)
        limit = AdaptiveLimit(n_requests, first=first, least=first if used is not engine else 1)
        servers.append(Server(used, prompts, limit))
    return Answerer(servers, patience)


def n_workers_of(job: Job) -> int:
    """Processes that read media for it."""
    shares_cores = job.engine is not None and job.engine.name == "local"
    return job.means.n_workers or max(1, cores() - shares_cores)


def n_requests_of(job: Job) -> int:
    """Requests that each of its engines gets at once, at most."""
    if job.means.n_requests is not None or job.engine is None:
        return job.means.n_requests or 1
    return MOST_REQUESTS if job.engine.name == "http" else 2 * LOCAL_BATCH


def _beside(engine: Engine, n_requests: int) -> tuple[Engine, int]:
    """The engine as the answerer uses it, and how many requests it gets at first."""
    if engine.name != "local":
        return engine, min(FIRST_REQUESTS, n_requests)
    # While one batch is written the next one gathers: two batches at once, neither more nor less.
    return GatheringEngine(engine, max(1, n_requests // 2)), n_requests


def added_up(rows: Iterable[Row]) -> Findings:
    """What the rows hold."""
    every = Findings()
    for row in rows:
        every.add(row)
    return every


def asking_of(job: Job) -> Asking:
    """Who answers in this job, for its rows' fingerprints."""
    if job.engine is None:
        return Asking()
    return Asking(job.engine.name, job.engine.model, job.prompts.get(PROMPT_ID))


def engine_options(options: EngineOptions) -> EngineOptions:
    """The options that a job's engine is opened with: it tries again itself, and counts it."""
    return replace(options, n_retries=0)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
