"""Who reads a clip for a turn: processes of their own (serve/perception.py), or this one, for tests and for words."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol

from affectgpt.agent import AffectAgent, Parts, Progress, Senses
from affectgpt.jobs import Stopped
from affectgpt.readers import AgentOptions

__all__ = ["Perceiver", "ThreadPerceiver"]


class Perceiver(Protocol):
    """Reads clips. Cancelling the awaiting task gives the reading up."""

    async def sense(
        self,
        path: Path | None,
        options: AgentOptions,
        on_progress: Progress,
        *,
        name: str = "",
        sha256: str | None = None,
    ) -> Senses:
        """What `AffectAgent.sense` gives; None reads the words in the options alone. `on_progress` from any thread.

        `name` stands for the file in what is told of it, `sha256` is the file's.

        Raises:
            InputError: the file or the options are at fault. PoolFull: too many wait already.
        """
        ...


class ThreadPerceiver:
    """Reads in a thread of this process: nothing guards it against a media bomb. `parts` are readers of one's own."""

    def __init__(self, parts: Parts | None = None, threads: Executor | None = None) -> None:
        self._parts = parts
        self._threads = threads

    async def sense(
        self,
        path: Path | None,
        options: AgentOptions,
        on_progress: Progress,
        *,
        name: str = "",
        sha256: str | None = None,
    ) -> Senses:
        """See `Perceiver.sense`. A reading that was given up ends at its next word of progress."""
        stop = threading.Event()

        def progress(stage: str, fraction: float | None, detail: str = "") -> None:
            if stop.is_set():
                raise Stopped
            on_progress(stage, fraction, detail)

        agent = AffectAgent(None, options, parts=self._parts)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, agent.sense, path, progress)
        finally:
            stop.set()
