"""A batch's two ends and its stages, behind their Protocols, for the tests that want no decoder and no disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakes
from batch_rows import QuickAppraiser

from affectgpt.agent import Senses
from affectgpt.batch.asking import Answerer
from affectgpt.batch.course import Plan, Stages
from affectgpt.batch.evidence import EvidenceStage
from affectgpt.batch.fetching import Fetcher, FileFetcher
from affectgpt.batch.fingerprints import Asking
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.records import BadItem, Done, Item, Row
from affectgpt.batch.runner import Watch, quiet, run_job
from affectgpt.batch.servers import Patience, Server
from affectgpt.batch.tally import Tally
from affectgpt.engines.engine import Engine
from affectgpt.errors import OutputError
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions
from affectgpt.records import Clip, Modality
from affectgpt.workers import MediaCache, pack

SOON = Patience(attempts=4, outage_s=1.0, unit_s=0.002)


@dataclass
class ListSource:
    """The rows of a list, counting how many were taken."""

    rows: Sequence[Item | BadItem]
    name: str = "a list"
    knows_count: bool = True
    n_taken: int = 0

    def iterate(self) -> Iterator[Item | BadItem]:
        for row in self.rows:
            self.n_taken += 1
            yield row

    def count(self) -> int | None:
        return len(self.rows) if self.knows_count else None


class MemoryLedger:
    """Rows in a mapping. `room` rows fit; the next append finds the disk full."""

    def __init__(self, room: int | None = None) -> None:
        self.kept: dict[str, Row] = {}
        self.n_appends = 0
        self.n_written = 0
        self.room = room

    @property
    def n_ok(self) -> int:
        return sum(row.status == "ok" for row in self.kept.values())

    @property
    def n_failed(self) -> int:
        return len(self.kept) - self.n_ok

    def done(self, id: str) -> Done | None:
        row = self.kept.get(id)
        return None if row is None else Done(row.status, row.fingerprints, row.media_stamp)

    def append(self, rows: Sequence[Row]) -> None:
        if self.room is not None and self.n_written + len(rows) > self.room:
            raise OutputError("out.jsonl: cannot be written (no space left)", "free some space")
        self.n_appends += 1
        self.n_written += len(rows)
        for row in rows:
            json.dumps(row.outcome)
            if row.status == "ok" or row.id not in self.kept or self.kept[row.id].status == "failed":
                self.kept[row.id] = row

    def close(self, *, complete: bool = True) -> None: ...


@dataclass
class FakeReader:
    """Reads a file by what it says: `fail`, or anything else; `n_read` and `most_inside` are counted."""

    pause_s: float = 0.0
    errors: Mapping[str, Exception] = field(default_factory=dict)
    read_paths: list[Path] = field(default_factory=list)
    n_inside: int = 0
    most_inside: int = 0

    async def read(self, path: Path, options: AgentOptions, label: str) -> bytes:
        self.read_paths.append(path)
        self.n_inside += 1
        self.most_inside = max(self.most_inside, self.n_inside)
        try:
            await asyncio.sleep(self.pause_s)
            said = path.read_text()
            if said in self.errors:
                raise self.errors[said]
            clip = Clip(path, 4.0, 25.0, True, True, 640, 480)
            face = fakes.face_track(AU12=4.0) if Modality.FACE in options.modalities else None
            words = fakes.transcript(said) if Modality.SPEECH in options.modalities else None
            return pack(Senses(clip, face, None, words, timings_s={"face": 0.5, "total": 0.5}))
        finally:
            self.n_inside -= 1

    def close(self) -> None: ...


@dataclass
class Bench:
    """Everything a job needs, made of fakes; `run` runs it once and may be called again."""

    folder: Path
    source: ListSource
    engine: Engine | None
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    reader: FakeReader = field(default_factory=FakeReader)
    options: AgentOptions = field(default_factory=lambda: AgentOptions(revisions=0))
    most: int = 8
    n_ahead: int = 16
    retry_failed: bool = False
    patience: Patience = SOON
    prompts: PromptLibrary = field(default_factory=PromptLibrary)
    fetcher: Fetcher | None = None
    caches: bool = True
    clock: Callable[[], float] | None = None

    def run(self, watch: Watch = quiet) -> Tally:
        return asyncio.run(self.play(watch))

    async def play(self, watch: Watch = quiet) -> Tally:
        room = self.folder / "room"
        room.mkdir(exist_ok=True)
        cache = MediaCache(self.folder / "cache", 100_000_000) if self.caches else None
        evidence = EvidenceStage(self.reader, cache, QuickAppraiser())
        answerer = None
        if self.engine is not None:
            answerer = Answerer([Server(self.engine, self.prompts, AdaptiveLimit(self.most))], self.patience)
        stages = Stages(self.fetcher or FileFetcher(room), evidence, answerer)
        asking = Asking(appraiser="known")
        if self.engine is not None:
            asking = Asking(self.engine.name, self.engine.model, self.prompts.get("explain"), "known")
        plan = Plan(self.options, asking, self.retry_failed, self.n_ahead, 4, self.patience)
        clock: dict[str, Any] = {} if self.clock is None else {"clock": self.clock}
        tally = Tally(self.source.count(), **clock)
        try:
            await run_job(self.source, self.ledger, stages, plan, tally, watch)
        finally:
            evidence.close()
            if answerer is not None:
                answerer.close()
        return tally


def clips(folder: Path, n: int, said: Callable[[int], str] = lambda k: f"clip {k} says hello") -> list[Item]:
    """Files that say what `FakeReader` reads from them."""
    made = []
    (folder / "clips").mkdir(exist_ok=True)
    for k in range(n):
        path = folder / "clips" / f"clip{k:05}.mp4"
        path.write_text(said(k))
        made.append(Item(path.name, k + 1, str(path)))
    return made
