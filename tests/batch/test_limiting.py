"""The limit finds what a server can do at once, without being told."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.errors import EngineBusy, EngineError, OptionError


class Simulation:
    """A server in virtual time: `service(n)` is how long one of n requests in flight takes; above `most` it refuses."""

    def __init__(self, service: Callable[[int], float], most: int | None = None, spread: float = 0.0) -> None:
        self.service, self.most, self.spread = service, most, spread
        self.now_s = 0.0
        self.n_inside = 0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._random = random.Random(7)

    def clock(self) -> float:
        return self.now_s

    async def answer(self) -> None:
        self.n_inside += 1
        try:
            if self.most is not None and self.n_inside > self.most:
                await self.sleep(0.001)
                raise EngineBusy("the server is full")
            await self.sleep(self.service(self.n_inside) * self._random.uniform(1 - self.spread, 1 + self.spread))
        finally:
            self.n_inside -= 1

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.now_s + seconds, next(self._order), future))
        await future

    async def run(self, limit: AdaptiveLimit, n_requests: int, n_at_once: int = 400) -> list[int]:
        """Send requests as fast as the limit lets them through; the limit after each answer."""
        seen: list[int] = []
        left = iter(range(n_requests))

        async def ask() -> None:
            for _ in left:
                try:
                    async with limit.slot():
                        await self.answer()
                except EngineBusy:
                    await self.sleep(0.5)
                seen.append(limit.now)

        tasks = [asyncio.create_task(ask()) for _ in range(n_at_once)]
        while not all(task.done() for task in tasks):
            for _ in range(10):
                await asyncio.sleep(0)
            if self._sleeping:
                self.now_s, _, future = heapq.heappop(self._sleeping)
                future.set_result(None)
        await asyncio.gather(*tasks)
        return seen


def queueing(n_places: int, seconds: float = 1.0) -> Callable[[int], float]:
    """A server that serves `n_places` at once, and lets the others wait."""
    return lambda n: seconds * max(1.0, n / n_places)


@pytest.mark.parametrize("n_places", [4, 16, 48, 200])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_it_settles_where_more_would_only_wait(n_places: int, spread: float) -> None:
    server = Simulation(queueing(n_places), spread=spread)
    limit = AdaptiveLimit(256, clock=server.clock)
    seen = asyncio.run(server.run(limit, 30 * n_places + 3000))
    late = sorted(seen[len(seen) // 2 :])
    settled = late[len(late) // 2]
    assert n_places * 0.8 <= settled <= n_places * 2 + 4, "half of the time it is near what the server can do at once"
    assert late[-1] <= n_places * 3.5 + 8, "a probe never goes far above it"


def test_it_follows_a_server_that_loses_places() -> None:
    places = [64]
    server = Simulation(lambda n: max(1.0, n / places[0]))
    limit = AdaptiveLimit(256, clock=server.clock)

    async def play() -> list[int]:
        await server.run(limit, 6000)
        assert limit.now >= 50
        places[0] = 8
        return await server.run(limit, 12_000)

    assert asyncio.run(play())[-1] <= 30


def test_a_server_whose_throughput_flattens_is_not_driven_to_the_end() -> None:
    server = Simulation(lambda n: 1.0 + 0.05 * n)  # n / (1 + n / 20): half of the most at 20
    limit = AdaptiveLimit(256, clock=server.clock)
    asyncio.run(server.run(limit, 4000))
    assert 20 <= limit.now < 256


def test_a_server_without_a_bound_gets_all_that_is_allowed() -> None:
    server = Simulation(lambda n: 1.0)
    limit = AdaptiveLimit(64, clock=server.clock)
    asyncio.run(server.run(limit, 2000))
    assert limit.now == 64


@pytest.mark.parametrize("most", [3, 20, 100])
def test_refusals_shrink_it_to_what_is_let_in(most: int) -> None:
    server = Simulation(lambda n: 1.0, most=most)
    limit = AdaptiveLimit(256, first=256, clock=server.clock)
    seen = asyncio.run(server.run(limit, 6000))
    late = seen[len(seen) // 2 :]
    assert sum(late) / len(late) <= most * 1.3
    assert sum(late) / len(late) >= most * 0.4
    assert limit.n_busy > 0


def test_one_storm_shrinks_it_once() -> None:
    limit = AdaptiveLimit(100, first=100)

    async def refuse() -> None:
        with suppress(EngineBusy):
            async with limit.slot():
                await asyncio.sleep(0)
                raise EngineBusy("full")

    async def storm() -> None:
        await asyncio.gather(*(refuse() for _ in range(100)))

    asyncio.run(storm())
    assert limit.now == 70
    assert limit.n_busy == 100


def test_a_limit_that_nobody_reaches_stays() -> None:
    server = Simulation(lambda n: 1.0)
    limit = AdaptiveLimit(256, first=8, clock=server.clock)
    asyncio.run(server.run(limit, 500, n_at_once=4))
    assert limit.now == 8


@given(st.lists(st.sampled_from(["ok", "busy", "wrong", "cancel"]), min_size=1, max_size=60), st.integers(1, 5))
def test_whatever_happens_no_place_is_lost_and_none_given_twice(ends: list[str], most: int) -> None:
    async def play() -> None:
        limit = AdaptiveLimit(most, first=most)
        n_most = 0

        async def one(end: str) -> None:
            nonlocal n_most
            async with limit.slot():
                n_most = max(n_most, limit.n_inside)
                await asyncio.sleep(0)
                if end == "busy":
                    raise EngineBusy("full")
                if end == "wrong":
                    raise EngineError("no")

        tasks = [asyncio.create_task(one(end)) for end in ends]
        await asyncio.sleep(0)
        for task, end in zip(tasks, ends, strict=True):
            if end == "cancel":
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert n_most <= most
        assert limit.n_inside == 0
        async with asyncio.timeout(1), limit.slot():
            assert limit.n_inside == 1

    asyncio.run(play())


def test_no_place_at_all_is_an_options_error() -> None:
    with pytest.raises(OptionError):
        AdaptiveLimit(0)
