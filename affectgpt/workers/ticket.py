"""A task handed to the pool: what it may use, and how its result, error or progress comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from affectgpt.errors import OptionError, WorkerDied, WorkerOverMemory, WorkerTimeout

__all__ = ["Limits", "Ticket"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use; None sets no limit.

    `memory_bytes` is its worker's resident, and its private, memory, interpreter and libraries included (300 to 500
    MB with the readers loaded). `seconds` is wall time from the task's beginning; waiting does not count.
    """

    memory_bytes: int | None = 3 << 30
    seconds: float | None = 300.0

    def __post_init__(self) -> None:
        """Raise OptionError for a value out of range."""
        if self.memory_bytes is not None and self.memory_bytes < 64 << 20:
            raise OptionError(f"{self.memory_bytes} bytes for a worker", "an interpreter alone needs 64 MiB")
        if self.seconds is not None and not self.seconds > 0:
            raise OptionError(f"{self.seconds:g} s for a task", "give more than 0")


class Ticket(Future[_T]):
    """A task handed in: `result(timeout)`, `exception`, `add_done_callback` and `cancel` as of any Future.

    `cancel` succeeds while the task runs too: its process is killed. `asyncio.wrap_future(ticket)` can be awaited, and
    cancelling the awaiting task cancels the ticket.
    """

    def __init__(self, order: bytes, label: str, limits: Limits, abandon: Callable[[Ticket[Any]], None]) -> None:
        super().__init__()
        self.order = order
        self.label = label
        self.limits = limits
        self.on_progress: Callable[[Any], None] | None = None
        self._abandon = abandon

    def cancel(self) -> bool:
        """Give the task up, waiting or running; False where it is over already."""
        is_cancelled = super().cancel()
        if is_cancelled:
            self._abandon(self)
        return is_cancelled

    def tell(self, message: object) -> None:
        """Hand the task's message to whoever listens."""
        if self.on_progress is not None and not self.done():
            try:
                self.on_progress(message)
            except Exception:
                # A listener's fault must not cost the pool its thread.
                log.exception("%s: its progress could not be told", self.label)

    def settle(self, result: _T) -> None:
        """Give the ticket its result, unless it was cancelled meanwhile."""
        with suppress(InvalidStateError):
            self.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Give the ticket its error, unless it was cancelled meanwhile."""
        with suppress(InvalidStateError):
            self.set_exception(error)

    def over_memory(self) -> WorkerOverMemory:
        """The error of a task that wanted more memory than its limit."""
        limit_mib = (self.limits.memory_bytes or 0) >> 20
        return WorkerOverMemory(f"{self.label}: wanted more than {limit_mib} MiB of memory", "give it less to do")

    def over_time(self) -> WorkerTimeout:
        """The error of a task that ran beyond its limit."""
        return WorkerTimeout(f"{self.label}: took longer than {self.limits.seconds:g} s", "give it less to do")

    def died(self, ending: str) -> WorkerDied:
        """The error of a task whose worker ended so: an exit code, a signal."""
        return WorkerDied(f"{self.label}: its worker ended ({ending})", "its input may be damaged: try another form")
