"""What a job has done so far, counted as rows end: progress is told from it, and the report's figures on this run."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from affectgpt.batch.findings import Findings, Moments
from affectgpt.batch.records import Done, Row

__all__ = ["STAGES", "Effort", "Snapshot", "Stage", "StageState", "Tally"]

Stage = Literal["fetch", "read", "answer", "write"]
STAGES: Final[tuple[Stage, ...]] = ("fetch", "read", "answer", "write")
"""What a row goes through: its medium is had and hashed; read and weighed, or recalled; answered; kept."""

WINDOW_S: Final = 60.0
"""Rates are those of the last minute: long enough for slow rows, short enough to see a server slow down."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What reading and weighing one row took.

    how: see `affectgpt.batch.evidence.How`. seconds: of the process that did it. media_s: how long the medium plays.
    media_bytes: its size. cache_bytes: what was newly kept of it.
    """

    how: str
    seconds: float = 0.0
    media_s: float = 0.0
    media_bytes: int = 0
    cache_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage now: rows in it, rows through it in this run, rows a second, and seconds to the end of it.

    `rate` and `eta_s` are None while they cannot be told.
    """

    n_inside: int
    n_done: int
    rate: float | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A job at one moment. `n_total` is None where only reading the whole source would tell.

    `n_kept` rows were there already, `n_ok` and `n_failed` ended in this run. `eta_s` is that of the slowest stage.
    `limit` requests may be under way at once; `is_away` while the model's server does not answer.
    """

    elapsed_s: float
    n_total: int | None
    n_kept: int
    n_ok: int
    n_failed: int
    how: Mapping[str, int]
    stages: Mapping[Stage, StageState]
    n_prompt_tokens: int
    n_completion_tokens: int
    limit: int = 0
    is_away: bool = False

    @property
    def n_done(self) -> int:
        """Rows that are over, of this run and of earlier ones."""
        return self.n_kept + self.n_ok + self.n_failed

    @property
    def rate(self) -> float | None:
        """Rows a second that end in this run."""
        return self.stages["write"].rate

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is done."""
        told = [state.eta_s for state in self.stages.values() if state.eta_s is not None]
        return max(told) if told and self.stages["write"].eta_s is not None else None


class Tally:
    """Counts of one run, kept by one thread. `clock` never runs backwards; the time of day is asked nowhere.

    `how` counts how readings came about; `read_s`, `media_s`, `media_bytes`, `cache_bytes` are of the media that were
    read anew. `findings` holds what the rows of this run hold, `in_vain` those of them that failed where an earlier
    run's answer stands and stays. `is_all_taken` once the source has been read to its end.
    """

    def __init__(self, n_total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.n_total = n_total
        self.n_kept = self.n_ok = self.n_failed = 0
        self.findings, self.in_vain = Findings(), Findings()
        self.how: Counter[str] = Counter()
        self.read_s, self.media_s = Moments(), Moments()
        self.media_bytes, self.cache_bytes = Moments(), Moments()
        self.n_workers = 0
        self.is_all_taken = False
        self._clock = clock
        self._begun_s = clock()
        self._stages = {stage: _Meter(self._begun_s) for stage in STAGES}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._begun_s

    def add(self, effort: Effort) -> None:
        """A row was read."""
        self.how[effort.how] += 1
        if effort.how == "read":
            self.read_s.add(effort.seconds)
            self.media_s.add(effort.media_s)
            self.media_bytes.add(effort.media_bytes)
            self.cache_bytes.add(effort.cache_bytes)

    def count(self, row: Row, done: Done | None = None) -> None:
        """A row was kept; `done` is what the ledger held of it before."""
        self.n_ok += row.status == "ok"
        self.n_failed += row.status == "failed"
        if row.status == "failed" and done is not None and done.status == "ok":
            self.in_vain.add(row)
        self.findings.add(row)

    def enter(self, stage: Stage) -> None:
        """A row comes into a stage."""
        self._stages[stage].enter(self._clock())

    def leave(self, stage: Stage, *, is_through: bool) -> None:
        """A row leaves a stage; `is_through` False where it goes no further."""
        meter, now_s = self._stages[stage], self._clock()
        meter.leave(now_s)
        if is_through:
            meter.count(now_s)

    def pass_by(self, stage: Stage) -> None:
        """A row went through a stage elsewhere."""
        self._stages[stage].count(self._clock())

    def busy_s(self, stage: Stage) -> float:
        """Seconds with at least one row in a stage here."""
        return self._stages[stage].busy_s

    def snapshot(self, limit: int = 0, is_away: bool = False) -> Snapshot:
        """What has been done by now."""
        n_over = self.n_kept + self.n_ok + self.n_failed
        now_s = self._clock()
        states: dict[Stage, StageState] = {}
        n_behind = 0
        for stage in reversed(STAGES):
            # What has not left this stage: rows not over, less those that wait in a later one.
            meter = self._stages[stage]
            n_left = None if self.n_total is None else max(0, self.n_total - n_over - n_behind)
            rate = meter.rate(now_s)
            eta_s = None if n_left is None else 0.0 if n_left == 0 else n_left / rate if rate else None
            states[stage] = StageState(meter.n_inside, meter.n_done, rate, eta_s)
            n_behind += meter.n_inside
        return Snapshot(
            elapsed_s=now_s - self._begun_s,
            n_total=self.n_total,
            n_kept=self.n_kept,
            n_ok=self.n_ok,
            n_failed=self.n_failed,
            how=dict(self.how),
            stages={stage: states[stage] for stage in STAGES},
            n_prompt_tokens=self.findings.n_prompt_tokens,
            n_completion_tokens=self.findings.n_completion_tokens,
            limit=limit,
            is_away=is_away,
        )


class _Meter:
    """Rows in and through one stage, and when: a mark a second at most, for the last minute."""

    def __init__(self, begun_s: float) -> None:
        self.n_inside = self.n_done = 0
        self.busy_s = 0.0
        self._since_s = begun_s
        self._marks = deque([(begun_s, 0)])

    def enter(self, now_s: float) -> None:
        if self.n_inside == 0:
            self._since_s = now_s
        self.n_inside += 1

    def leave(self, now_s: float) -> None:
        self.n_inside -= 1
        if self.n_inside == 0:
            self.busy_s += max(0.0, now_s - self._since_s)

    def count(self, now_s: float) -> None:
        self.n_done += 1
        if now_s - self._marks[-1][0] >= WINDOW_S / 60:
            self._marks.append((now_s, self.n_done))

    def rate(self, now_s: float) -> float | None:
        """Rows a second over the last minute, or since the run began; None before the first row."""
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - WINDOW_S:
            self._marks.popleft()
        since_s, n_before = self._marks[0]
        return (self.n_done - n_before) / max(now_s - since_s, 1e-9) if self.n_done else None
