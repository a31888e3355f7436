"""Answers for many rows at once: as many requests as the engine takes, tried again where that can help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from affectgpt.agent import AffectAgent
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.threads import Threads
from affectgpt.errors import AffectError, EngineBusy, EngineUnreachable, MediaUnreachable
from affectgpt.prompting import PromptLibrary
from affectgpt.readers import AgentOptions
from affectgpt.records import Outcome

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["Answerer", "Patience", "retrying"]

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is gone on with what fails for now.

    attempts: at one row, where a server is busy or a place does not give a medium; between them a random wait that
        doubles up to a minute, and never less than the server asked for. Eight span some two minutes.
    outage_s: without a server; then the job ends, and the same command goes on later.
    unit_s: what the waits are counted in; a test's is smaller.
    """

    attempts: int = 8
    outage_s: float = 900.0
    unit_s: float = 1.0


def retrying(patience: Patience, count: Callable[[int], None]) -> AsyncRetrying:
    """Tries again what `EngineBusy` and `MediaUnreachable` end; `count` hears the number of each try."""
    backoff = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = getattr(error, "retry_after_s", None) or 0.0
        return max(backoff(state), asked_s) * patience.unit_s

    return AsyncRetrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait,
        retry=retry_if_exception_type((EngineBusy, MediaUnreachable)),
        before=lambda state: count(state.attempt_number),
        reraise=True,
    )


class Answerer:
    """Asks one engine for many rows.

    A server that is away stops nobody's row: all wait, and one of them looks from time to time whether it is back.
    """

    def __init__(
        self, engine: Engine | None, prompts: PromptLibrary, limit: AdaptiveLimit, patience: Patience | None = None
    ) -> None:
        self.limit = limit
        self.patience = patience or Patience()
        self.n_retried = 0
        self._threads = Threads(limit.most, "answer")
        self._outage = Outage(self.patience)
        self._agent_of = lru_cache(maxsize=64)(lambda options: AffectAgent(engine, options, prompts=prompts))

    @property
    def is_away(self) -> bool:
        """Whether the engine's server does not answer now."""
        return self._outage.is_on

    async def answer(self, weighed: Outcome, options: AgentOptions, count: Callable[[int], None]) -> Outcome:
        """The outcome with its answer; `count` hears the number of each attempt.

        Raises:
            EngineError, ModelError, InputError: this row's question has no answer.
            EngineUnreachable: nobody's has any more: the server was away for longer than the patience lasts.
        """

        def counted(number: int) -> None:
            self.n_retried += number > 1
            count(number)

        return await retrying(self.patience, counted)(self._attempt, weighed, self._agent_of(options))

    def close(self) -> None:
        """Wait for nothing that is still under way."""
        self._threads.close()

    async def _attempt(self, weighed: Outcome, agent: AffectAgent) -> Outcome:
        async def ask() -> Outcome:
            async with self.limit.slot():
                return await self._threads.run(agent.answer, weighed)

        return await self._outage.outlast(ask)


class Outage:
    """What is done while a server is away: nothing, but for one who looks whether it is back."""

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._since_s: float | None = None
        self._wait_s = _FIRST_WAIT_S
        self._look: asyncio.Future[None] | None = None
        self._end: EngineUnreachable | None = None

    @property
    def is_on(self) -> bool:
        """Whether the server is away."""
        return self._since_s is not None

    async def outlast(self, ask: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """`ask()`, again and again while nothing answers.

        Raises:
            EngineUnreachable: for longer than the patience lasts.
        """
        while self._end is None:
            if self._look is not None:
                await asyncio.shield(self._look)
            elif self.is_on:
                if (outcome := await self._looked(ask)) is not None:
                    return outcome
            elif (outcome := await self._asked(ask)) is not None:
                return outcome
        raise self._end

    async def _looked(self, ask: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
        """Ask while the others wait; where still nothing answers, let some time pass."""
        look = self._look = asyncio.get_running_loop().create_future()
        try:
            if (outcome := await self._asked(ask)) is None and self._end is None:
                wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
                await asyncio.sleep(wait_s * self._patience.unit_s)
            return outcome
        finally:
            self._look = None
            look.set_result(None)

    async def _asked(self, ask: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
        """The outcome, or None where nothing answered."""
        try:
            outcome = await ask()
        except EngineUnreachable as error:
            self._note(error)
            return None
        except AffectError:
            self._since_s, self._wait_s = None, _FIRST_WAIT_S  # whatever it said, it is there
            raise
        self._since_s, self._wait_s = None, _FIRST_WAIT_S
        return outcome

    def _note(self, error: EngineUnreachable) -> None:
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s > self._patience.outage_s:
            self._end = EngineUnreachable(
                f"{error.what}, for {now_s - self._since_s:.0f} s now",
                "bring the server back and give the same command again: it goes on from the rows that are kept",
            )
