"""A bounded pool of worker processes: each task in a process that may die without harm to the others."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from affectgpt.errors import AffectError, OptionError, PoolFull, WorkerDied
from affectgpt.workers.process import WorkerProcess
from affectgpt.workers.ticket import Limits, Ticket
from affectgpt.workers.worker import BEGUN, DONE, FAILED, READY, TOLD

__all__ = ["WorkerPool"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

WATCH_INTERVAL_S: Final = 0.1
"""How often running tasks, and workers that come up, are held against their limits."""

_N_STARTS = 3
"""How often one task is given to a fresh worker because an idle one turned out dead."""


@dataclass(slots=True, eq=False)
class _Seat:
    """One place in the pool: a worker, the ticket it works on, and why it was ended, if it was."""

    process: WorkerProcess | None = None
    ticket: Ticket[Any] | None = None
    started_s: float | None = None
    begun_s: float | None = None
    verdict: AffectError | None = None
    is_ready: bool = False
    thread: threading.Thread = field(default_factory=threading.Thread)


class WorkerPool:
    """`n_workers` processes kept warm, and room for `queue_length` tasks that wait.

    Tasks, their arguments and results are pickled; tasks are functions at a module's top level (not of `__main__`).
    `warm` is such a function without arguments, called in each new worker before it takes a task: imports that cost
    seconds belong there. A worker that takes longer than `start_s` to come up is ended (the readers' first imports can
    take half a minute on a busy machine). Close the pool, or use it in a `with`.
    """

    def __init__(
        self,
        n_workers: int,
        queue_length: int,
        limits: Limits | None = None,
        *,
        warm: Callable[[], object] | None = None,
        start_s: float = 120.0,
    ) -> None:
        if n_workers < 1 or queue_length < 0:
            raise OptionError(f"{n_workers} workers and a queue of {queue_length}", "give 1 or more, and 0 or more")
        self.limits = limits or Limits()
        self.n_workers, self.queue_length = n_workers, queue_length
        self._warm, self._start_s = warm, start_s
        # Side by side, each with a thread for every core, workers would spend their time waiting for one another.
        n_threads = str(max(1, (os.cpu_count() or 1) // n_workers))
        self._environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", n_threads)}
        self._waiting: deque[Ticket[Any]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._seats = [_Seat() for _ in range(n_workers)]
        for n, seat in enumerate(self._seats):
            seat.thread = threading.Thread(target=self._serve, args=(seat,), name=f"worker-{n}", daemon=True)
            seat.thread.start()
        self._watcher = threading.Thread(target=self._watch, name="worker-watch", daemon=True)
        self._watcher.start()

    def submit(
        self,
        task: Callable[..., _T],
        *args: Any,
        on_progress: Callable[[Any], None] | None = None,
        label: str = "",
        limits: Limits | None = None,
    ) -> Ticket[_T]:
        """Hand in `task(*args)`. `on_progress` is called, from a thread of the pool, with what the task `report`s.

        `label` names the task in errors; `limits` replace the pool's for it. The ticket raises what the task raised,
        WorkerTimeout, WorkerOverMemory or WorkerDied, or CancelledError.

        Raises:
            PoolFull: every worker is busy and the queue is full.
            OptionError: the pool is closed.
        """
        order = pickle.dumps((task, args, (limits or self.limits).memory_bytes))
        name = label or getattr(task, "__qualname__", "task")
        ticket: Ticket[_T] = Ticket(order, name, limits or self.limits, self._abandon)
        ticket.on_progress = on_progress
        with self._changed:
            if self._is_closed:
                raise OptionError("a task for a closed pool", "hand it to one that is open")
            if self.n_running + len(self._waiting) >= self.n_workers + self.queue_length:
                raise PoolFull(
                    f"{self.n_workers} workers are busy and {len(self._waiting)} tasks wait", "try again in a while"
                )
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    @property
    def n_waiting(self) -> int:
        """Tasks in the queue."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Tasks that have a worker."""
        return sum(seat.ticket is not None for seat in self._seats)

    @property
    def n_ready(self) -> int:
        """Workers that are up and warm."""
        return sum(seat.is_ready for seat in self._seats)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are up."""
        return tuple(seat.process.pid for seat in self._seats if seat.process is not None)

    def close(self, patience_s: float = 5.0) -> None:
        """Cancel what waits, give what runs `patience_s` to end, then kill it; returns when every process is gone."""
        with self._changed:
            self._is_closed = True
            waiting, self._waiting = list(self._waiting), deque()
            for seat in self._seats:
                if seat.ticket is None and seat.process is not None and not seat.is_ready:
                    seat.process.kill()  # still warming up
            self._changed.notify_all()
        for ticket in waiting:
            ticket.cancel()
        deadline_s = time.monotonic() + patience_s
        for seat in self._seats:
            seat.thread.join(max(0.0, deadline_s - time.monotonic()))
        for seat in self._seats:
            with self._changed:
                running = seat.ticket
            if running is not None:
                running.cancel()
            seat.thread.join()
        self._watcher.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(patience_s=5.0 if error is None else 0.0)

    def _abandon(self, ticket: Ticket[Any]) -> None:
        """Take a cancelled ticket from the queue, or end the worker that has it."""
        with self._changed:
            with suppress(ValueError):
                self._waiting.remove(ticket)
            for seat in self._seats:
                if seat.ticket is ticket:
                    self._end(seat, WorkerDied(f"{ticket.label} was cancelled"))

    def _end(self, seat: _Seat, verdict: AffectError) -> None:
        """Kill the seat's worker for this reason; the lock is held."""
        if seat.verdict is None and seat.process is not None:
            seat.verdict = verdict
            seat.process.kill()

    def _serve(self, seat: _Seat) -> None:
        """A seat's thread: a worker at hand, a ticket when there is one, until the pool is closed."""
        while not self._is_closed:
            self._start(seat)
            ticket = self._next(seat)
            if ticket is None:
                break
            outcome = self._attempt(seat, ticket)
            with self._changed:
                verdict, seat.verdict = seat.verdict, None
                if verdict is None and outcome is not None and isinstance(outcome[1], MemoryError):
                    verdict = ticket.over_memory()
                process = seat.process
                is_over = verdict is not None or outcome is None or self._is_swollen(seat)
                if is_over:
                    seat.process, seat.is_ready = None, False
                seat.ticket = seat.begun_s = None
                self._changed.notify_all()
            ending = process.close() if process is not None and is_over else "it could not be started"
            if verdict is not None or outcome is None:
                outcome = (FAILED, verdict or ticket.died(ending))
            kind, value = outcome
            (ticket.settle if kind == DONE else ticket.fail)(value)
        if seat.process is not None:
            seat.process.close(patience_s=1.0)
            seat.process, seat.is_ready = None, False

    def _start(self, seat: _Seat) -> None:
        """A worker that is up, where that can be had; one that cannot start is told of by the next ticket."""
        if seat.process is not None:
            return
        try:
            seat.process = WorkerProcess(self._warm, self._environment)
            with self._changed:
                seat.started_s = time.monotonic()
                self._changed.notify_all()
            if not self._is_closed:
                kind, _ = seat.process.receive()
                seat.is_ready = kind == READY
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            ending = seat.process.close() if seat.process is not None else str(error)
            seat.process = None
            if not self._is_closed:
                log.warning("a worker did not start: %s", ending)
        finally:
            seat.started_s = None

    def _next(self, seat: _Seat) -> Ticket[Any] | None:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return None
            seat.ticket = self._waiting.popleft()
            self._changed.notify_all()
            return seat.ticket

    def _attempt(self, seat: _Seat, ticket: Ticket[Any]) -> tuple[str, Any] | None:
        """How the task ended, None where its worker died. One that died idle, before it began, is replaced."""
        for _ in range(_N_STARTS):
            if ticket.cancelled():
                return FAILED, CancelledError()
            try:
                if seat.process is not None:
                    seat.process.send(ticket.order)
                    return self._follow(seat, ticket)
            except pickle.UnpicklingError as error:
                seat.verdict = WorkerDied(f"{ticket.label}: its answer cannot be taken ({error})", "answer with less")
                return None
            except (EOFError, OSError):
                if seat.begun_s is not None or seat.verdict is not None:
                    return None
                if seat.process is not None:
                    seat.process.close()
            seat.process, seat.is_ready = None, False
            self._start(seat)
        return None

    def _follow(self, seat: _Seat, ticket: Ticket[Any]) -> tuple[str, Any]:
        assert seat.process is not None
        while True:
            kind, value = seat.process.receive()
            if kind == BEGUN:
                seat.begun_s = time.monotonic()
            elif kind == TOLD:
                ticket.tell(value)
            else:
                return kind, value

    def _is_swollen(self, seat: _Seat) -> bool:
        """Whether an idle worker keeps over half of what a task may use: a library leaks, so it is replaced."""
        limit = self.limits.memory_bytes
        return limit is not None and seat.process is not None and seat.process.memory_bytes() > limit / 2

    def _watch(self) -> None:
        """Hold running tasks, and workers that come up, against their limits."""
        while True:
            with self._changed:
                is_idle = not any(seat.ticket or seat.started_s for seat in self._seats)
                if is_idle and not self._is_closed:
                    self._changed.wait()
                if self._is_closed and not any(seat.thread.is_alive() for seat in self._seats):
                    return
                for seat in self._seats:
                    if seat.process and seat.started_s and time.monotonic() - seat.started_s > self._start_s:
                        seat.process.kill()
                    if seat.ticket is not None and (verdict := _judge(seat, seat.ticket)) is not None:
                        self._end(seat, verdict)
            time.sleep(WATCH_INTERVAL_S)


def _judge(seat: _Seat, ticket: Ticket[Any]) -> AffectError | None:
    limits = ticket.limits
    if seat.begun_s is not None and limits.seconds is not None and time.monotonic() - seat.begun_s > limits.seconds:
        return ticket.over_time()
    if limits.memory_bytes is not None and seat.process and seat.process.memory_bytes() > limits.memory_bytes:
        return ticket.over_memory()
    return None
