"""Reading a medium in a process of its own: the task that workers run, and the pool as an event loop uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from affectgpt.agent import AffectAgent
from affectgpt.errors import AffectError
from affectgpt.readers import AgentOptions, open_face_reader, open_voice_reader
from affectgpt.records import Frame, Waveform
from affectgpt.workers import Limits, WorkerPool, pack, report

__all__ = ["PooledReader", "Reader", "sense_packed", "warm_readers"]


class Reader(Protocol):
    """Reads media for a batch."""

    async def read(self, path: Path, options: AgentOptions, label: str) -> bytes:
        """The `Senses` of a file, packed. `label` names it in errors.

        Raises:
            InputError: the file or the options are at fault.
            WorkerDied, WorkerTimeout, WorkerOverMemory: the file broke its reader.
        """
        ...

    def close(self) -> None:
        """Give everything up."""
        ...


class PooledReader:
    """A `Reader` over `n_workers` processes, which start when something is read for the first time.

    `task` and `warm` replace what the workers run.
    """

    def __init__(
        self,
        n_workers: int,
        limits: Limits | None = None,
        *,
        task: Callable[[Path, AgentOptions], bytes] | None = None,
        warm: Callable[[], object] | None = None,
    ) -> None:
        self.n_workers = n_workers
        self._limits = limits
        self._task, self._warm = task or sense_packed, warm or warm_readers
        self._pool: WorkerPool | None = None
        # One more than there are workers: the next task lies ready when one is over.
        self._places = asyncio.Semaphore(n_workers + 1)

    async def read(self, path: Path, options: AgentOptions, label: str) -> bytes:
        """See `Reader.read`. Cancelling the caller ends the worker."""
        async with self._places:
            if self._pool is None:
                self._pool = WorkerPool(self.n_workers, self.n_workers + 1, self._limits, warm=self._warm)
            return await asyncio.wrap_future(self._pool.submit(self._task, path, options, label=label))

    def close(self) -> None:
        """End the workers, busy or not."""
        if self._pool is not None:
            self._pool.close(patience_s=0.0)


def sense_packed(path: Path, options: AgentOptions) -> bytes:
    """The workers' task: `AffectAgent.sense`, its progress reported as (stage, fraction, detail), its Senses packed."""

    def tell(stage: str, fraction: float | None, detail: str = "") -> None:
        report((stage, fraction, detail))

    return pack(AffectAgent(None, options).sense(path, tell))


def warm_readers() -> None:
    """For a pool's `warm`: load the default readers' libraries and models by reading a blank picture and a hiss."""
    import numpy as np

    hiss = np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32)
    readings: tuple[Callable[[], object], ...] = (
        lambda: open_face_reader(AgentOptions().face, 0.0).read(iter([Frame(np.zeros((64, 64, 3), np.uint8), 0.0)])),
        lambda: open_voice_reader(AgentOptions().voice_reader).read(iter([Waveform(hiss, 16_000, 0.0)])),
    )
    for reading in readings:
        with suppress(AffectError):  # a reader that cannot be had is told of when it is asked for
            reading()
