"""Servers of one model: each is asked as much as it takes, and one that is away is left alone until it is back."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

from affectgpt.agent import AffectAgent
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.threads import Threads
from affectgpt.errors import AffectError, EngineUnreachable, OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine, EngineOptions

__all__ = ["FIRST_WAIT_S", "LONGEST_WAIT_S", "Patience", "Server", "Servers", "check_alike", "open_servers"]

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
"""Between two looks for a server that is away, and between two attempts at a row; doubled from the first to this."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is gone on with what fails for now.

    attempts: at one row, where a server is busy or a place does not give a medium; between them a random wait that
        doubles up to a minute, and never less than the server asked for. Eight span some two minutes.
    outage_s: without any server; then the job ends, and the same command goes on later.
    unit_s: what the waits are counted in; a test's is smaller.
    """

    attempts: int = 8
    outage_s: float = 900.0
    unit_s: float = 1.0


class Server:
    """One engine, asked from threads of its own, by an event loop. `limit` says how much at once."""

    def __init__(self, engine: Engine | None, prompts: PromptLibrary, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.threads = Threads(limit.most, "answer")
        self.agent_of = lru_cache(maxsize=64)(lambda options: _agent(engine, options, prompts))
        self.away_since_s: float | None = None
        self.look_at_s = 0.0
        self.wait_s = FIRST_WAIT_S
        self.is_looked_at = False


def _agent(engine: Engine | None, options: AgentOptions, prompts: PromptLibrary) -> AffectAgent:
    return AffectAgent(engine, options, prompts=prompts)


class Servers:
    """Who is asked next: the least busy of those that have a place free; in turn where they are equally busy.

    Rows wait in one line, so that none stands behind a slow server while another has a place. While a server is away
    the others take its rows, and a row from time to time looks whether it is back; while all are away every row waits.
    """

    def __init__(
        self, servers: Sequence[Server], patience: Patience, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not servers:
            raise OptionError("no server to ask", "name one")
        self.all = tuple(servers)
        self._patience, self._clock = patience, clock
        self._turns = count()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._end: EngineUnreachable | None = None

    @property
    def is_away(self) -> bool:
        """Whether none of them answers now."""
        return all(server.away_since_s is not None for server in self.all)

    async def ask(self, ask: Callable[[Server], Awaitable[_T]]) -> _T:
        """What `ask` gives of one of the servers; of another one where nothing answers there.

        `ask` takes its place of the server's limit before it waits for anything: there is one.

        Raises:
            EngineUnreachable: none was there for longer than the patience lasts. Whatever else `ask` raises.
        """
        while True:
            server = await self._choose()
            is_look = server.is_looked_at = server.away_since_s is not None
            try:
                given = await ask(server)
            except EngineUnreachable as error:
                self._miss(server, error, is_look=is_look)
            except AffectError:
                self._meet(server)  # whatever it said, it is there
                raise
            else:
                self._meet(server)
                return given
            finally:
                if is_look:
                    server.is_looked_at = False
                self._wake()

    async def _choose(self) -> Server:
        """The server to ask now; waits while there is none. One that is away is given to one row at a time."""
        is_next = False
        while self._end is None:
            now_s = self._clock()
            away = [s for s in self.all if s.away_since_s is not None and not s.is_looked_at]
            if due := [s for s in away if s.look_at_s <= now_s]:
                if is_next:
                    self._wake()  # the place that it was told of is the next one's
                return due[0]
            free = [s for s in self.all if s.away_since_s is None and s.limit.has_room]
            if free and (is_next or not self._waiting):
                turn = next(self._turns)
                chosen = min((free[(turn + n) % len(free)] for n in range(len(free))), key=lambda s: s.limit.load)
                if len(free) > 1 or chosen.limit.n_inside + 1 < chosen.limit.now:
                    self._wake()  # there is a place for the next one too
                return chosen
            is_next = await self._wait(min((s.look_at_s - now_s for s in away), default=None))
        self._wake()
        raise self._end

    async def _wait(self, at_most_s: float | None) -> bool:
        """Stand in the line; whether it was this one's turn, and not the time for a look."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait([turn], timeout=at_most_s)
        except asyncio.CancelledError:
            if turn.done():
                self._wake()
            raise
        finally:
            if not turn.done():
                turn.cancel()
                self._waiting.remove(turn)
        return not turn.cancelled()

    def _wake(self) -> None:
        """Let the first of the line look for a place; it wakes the next one where there is another."""
        if self._waiting:
            self._waiting.popleft().set_result(None)

    def _meet(self, server: Server) -> None:
        server.away_since_s, server.wait_s = None, FIRST_WAIT_S

    def _miss(self, server: Server, error: EngineUnreachable, *, is_look: bool) -> None:
        now_s = self._clock()
        if server.away_since_s is None:
            server.away_since_s = server.look_at_s = now_s
        elif is_look:
            server.look_at_s = now_s + server.wait_s * self._patience.unit_s
            server.wait_s = min(2 * server.wait_s, LONGEST_WAIT_S)
        missed = [s.away_since_s for s in self.all if s.away_since_s is not None]
        if len(missed) == len(self.all) and (away_s := now_s - max(missed)) > self._patience.outage_s:
            self._end = EngineUnreachable(
                f"{error.what}, for {away_s:.0f} s now",
                "bring the server back and give the same command again: it goes on from the rows that are kept",
            )


def open_servers(options: EngineOptions, urls: Sequence[str] = ()) -> tuple[Engine, ...]:
    """The engine of `options`, at each of these base URLs where there are some.

    Raises:
        OptionError: the servers serve different models. As `affectgpt.engines.engine.open_engine` for each.
    """
    from affectgpt.engines.engine import open_engine

    each = [replace(options, base_url=url) for url in dict.fromkeys(urls)] or [options]
    engines = tuple(open_engine(one) for one in each)
    check_alike(engines)
    return engines


def check_alike(engines: Sequence[Engine]) -> None:
    """Raise OptionError where servers do not serve the same model: rows must not depend on who was asked."""
    models = sorted({f"{engine.name} {engine.model}" for engine in engines})
    if len(models) > 1:
        raise OptionError(f"the servers serve different models: {', '.join(models)}", "name one with --model")
