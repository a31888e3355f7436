"""A launched vLLM that ends by itself is started again, a few times; then the gateway ends too, and says why."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from affectgpt.errors import EngineError
from serve.launching.launch import ModelServer
from serve.logs import write

__all__ = ["Keeper", "Patience"]

log = logging.getLogger(__name__)

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a server may end by itself: the `n_ends`-th time in `within_s` seconds is the last.

    A crash that a request brings about comes back with that request; weights that no longer load come back at once.
    Before each start one waits `wait_s`, doubled with each end that is still counted.
    """

    n_ends: int = 4
    within_s: float = 1800.0
    wait_s: float = 1.0


class Keeper:
    """Keeps one model server running: the one given, then others at its address, with its key.

    An adapter that was pushed into the one that ended is not in the next.
    """

    def __init__(
        self, server: ModelServer, patience: Patience | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = server
        self._patience = patience or Patience()
        self._clock = clock
        self._changing = threading.Lock()
        self._is_over = False

    async def keep(self) -> None:
        """Watch until cancelled.

        Raises:
            EngineError: it ended too often, with what it last said.
        """
        ends: deque[float] = deque()
        while True:
            if not self.server.is_alive:
                self._count(ends)
                await asyncio.sleep(self._patience.wait_s * 2 ** (len(ends) - 1))
                await self._renew()
            await asyncio.sleep(POLL_S)

    def _count(self, ends: deque[float]) -> None:
        """One end more. Raises EngineError where it is one too many."""
        ends.append(self._clock())
        while ends[0] < ends[-1] - self._patience.within_s:
            ends.popleft()
        write(log, "model server ended", n_ends=len(ends))
        if len(ends) < self._patience.n_ends:
            return
        try:
            self.server.check()
        except EngineError as error:
            what = f"the model server ended {len(ends)} times in {ends[-1] - ends[0]:.0f} s: {error.what}"
            raise EngineError(what, error.remedy) from None

    async def _renew(self) -> None:
        """Another server in the place of the one that ended; one that does not start has ended once more."""
        begun_s = time.monotonic()
        try:
            await asyncio.to_thread(self._start_another)
        except EngineError:
            return
        write(log, "model server started again", seconds=round(time.monotonic() - begun_s, 1))

    def _start_another(self) -> None:
        with self._changing:
            if self._is_over:
                return
            self.server.stop()  # its port, and whatever it started that outlived it
            self.server = self.server.again()
        self.server.start()

    def stop(self) -> None:
        """End the server that runs, or starts, and start no other."""
        with self._changing:
            self._is_over = True
        self.server.stop()
