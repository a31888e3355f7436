"""How many requests a server gets at once: as many as raise its throughput, and no more.

By Little's law (Little 1961) n requests in flight at a throughput X take n / X each. Where a larger n leaves X as it
was, all that it adds is time in the server's queue. So the limit climbs while climbing pays, and steps back when it no
longer does. What the server turns away (429, 503, no answer in time) shrinks the limit by a factor, once for each
generation of requests, as TCP does (Chiu and Jain 1989; RFC 5681).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from affectgpt.errors import EngineBusy, OptionError

__all__ = ["AdaptiveLimit"]

FIRST_CLIMB: Final = 2.0
"""A limit that has never stopped climbing grows by this factor, as a TCP connection does at its start (RFC 5681)."""

CLIMB: Final = 1.5
"""A limit that looks whether more pays by now grows by this factor: a step that 2 n answers can tell from none. A
choice of this project, as are the figures below."""

LEAST_GAIN: Final = 0.25
"""A climb pays where the throughput gains at least this share of what it would gain without any queue."""

SHRINK: Final = 0.7
"""What is left of the limit after a refusal; TCP halves (RFC 5681), CUBIC keeps 0.7 (RFC 9438, 4.6)."""

ROUNDS_HELD: Final = 16
"""Rounds at a limit that paid, before a larger and a smaller one are tried in turn: servers change. A trial of less
that does not pay costs a third of one round's throughput, one per cent of all."""

LEAST_ROUND: Final = 16
"""Answers in a round however low the limit: fewer tell nothing where answers differ in length."""


class AdaptiveLimit:
    """At most `now` requests at once, between `least` and `most`, beginning with `first`. For one event loop.

    A round is 2 n answers, or a few more, to requests that began at a limit of n. A limit that was never reached in its
    round says nothing and stays.
    """

    def __init__(
        self, most: int, first: int = 8, *, least: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if most < 1 or first < 1 or not 1 <= least <= most:
            raise OptionError(f"{least} to {most} requests at once, at first {first}", "give 1 or more, in order")
        self.now = max(least, min(first, most))
        self.least, self.most = least, most
        self.n_busy = 0
        self._clock = clock
        self._n_inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._generation = 0
        self._held = (self.now, 0.0)
        self._n_left = 1
        self._is_climbing = True
        self._stride = FIRST_CLIMB
        self._begin()

    @property
    def n_inside(self) -> int:
        """Requests in flight."""
        return self._n_inside

    @property
    def has_room(self) -> bool:
        """Whether a request may go out now."""
        return self._n_inside < self.now and not self._waiting

    @property
    def load(self) -> float:
        """Requests in flight, as a share of the limit."""
        return self._n_inside / self.now

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place and hold it while the request is out; an `EngineBusy` that leaves the block is heard of."""
        await self._enter()
        generation = self._generation
        try:
            yield
            self._count(generation)
        except EngineBusy:
            self._shrink(generation)
            raise
        finally:
            self._leave()

    async def _enter(self) -> None:
        if self._n_inside < self.now and not self._waiting:
            self._n_inside += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # whoever leaves counts us in
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        self._is_reached |= self._n_inside >= self.now

    def _leave(self) -> None:
        self._n_inside -= 1
        while self._waiting and self._n_inside < self.now:
            if not (turn := self._waiting.popleft()).done():
                turn.set_result(None)
                self._n_inside += 1

    def _begin(self) -> None:
        """A new round at the present limit."""
        self._generation += 1
        self._n_answers = 0
        self._is_reached = False
        self._begun_s = self._clock()

    def _count(self, generation: int) -> None:
        if generation != self._generation:
            # It began at another limit; the round's time begins when the last of those is out of the way.
            if self._n_answers == 0:
                self._begun_s = self._clock()
            return
        self._n_answers += 1
        if self._n_answers >= max(2 * self.now, LEAST_ROUND):
            throughput = self._n_answers / max(self._clock() - self._begun_s, 1e-9)
            if self._is_reached:
                self._judge(throughput)
            self._begin()

    def _judge(self, throughput: float) -> None:
        """A round at `now` is over: hold, or see whether the larger of this limit and the held one pays."""
        held, before = self._held
        if self._n_left > 0:
            # The first round is measured alone, the later ones are averaged with it.
            self._n_left -= 1
            n_so_far = max(1, ROUNDS_HELD - self._n_left)
            self._held = self.now, before + (throughput - before) / n_so_far
            if self._n_left == 0:
                self._try_next()
        elif self.now > held:
            self._settle(throughput, keeps=_pays(held, before, self.now, throughput))
        else:
            self._settle(throughput, keeps=not _pays(self.now, throughput, held, before))

    def _settle(self, throughput: float, *, keeps: bool) -> None:
        """A trial is over: where it `keeps`, go on in its direction, else back to what was held."""
        if keeps:
            self._held = self.now, throughput
            self._try_next()
        else:
            self.now, self._n_left = self._held[0], ROUNDS_HELD
            self._held = self.now, 0.0
            self._is_climbing = not self._is_climbing
            self._stride = CLIMB

    def _try_next(self) -> None:
        """The next limit in the direction of travel; at the end of the road hold, and turn round."""
        wished = math.ceil(self.now * self._stride) if self._is_climbing else int(self.now / self._stride)
        wished = min(self.most, max(self.least, wished))
        if wished == self.now:
            self._n_left, self._held = ROUNDS_HELD, (self.now, 0.0)
            self._is_climbing = not self._is_climbing
            self._stride = CLIMB
        self.now = wished

    def _shrink(self, generation: int) -> None:
        self.n_busy += 1
        if generation != self._generation:
            return  # sent before the limit last changed: what it says is known already
        self.now = max(self.least, int(self.now * SHRINK))
        self._held, self._n_left, self._is_climbing = (self.now, 0.0), ROUNDS_HELD, True
        self._stride = CLIMB
        self._begin()


def _pays(n_low: int, low: float, n_high: int, high: float) -> bool:
    """Whether the throughput `high` at the larger limit is enough more than `low` at the smaller one."""
    return high >= low * (1 + LEAST_GAIN * (n_high / n_low - 1))
