"""Answers for many rows at once: as many requests as the servers take, tried again where that can help."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from affectgpt.batch.servers import FIRST_WAIT_S, LONGEST_WAIT_S, Patience, Server, Servers
from affectgpt.errors import EngineBusy, MediaUnreachable
from affectgpt.readers import AgentOptions
from affectgpt.records import Outcome

__all__ = ["Answerer", "retrying"]


def retrying(patience: Patience, count: Callable[[int], None]) -> AsyncRetrying:
    """Tries again what `EngineBusy` and `MediaUnreachable` end; `count` hears the number of each try."""
    backoff = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)

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
    """Asks servers of one model for many rows; each attempt at a row goes to whichever is least busy then.

    Servers that are away stop nobody's row while another is there. While all are away every row waits, and one of them
    looks from time to time.
    """

    def __init__(self, servers: Sequence[Server], patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._n_retried = 0
        self._servers = Servers(servers, self.patience)

    @property
    def is_away(self) -> bool:
        """Whether no server answers now."""
        return self._servers.is_away

    @property
    def n_retried(self) -> int:
        """Attempts that were not a row's first."""
        return self._n_retried

    @property
    def n_servers(self) -> int:
        """How many there are."""
        return len(self._servers.all)

    @property
    def n_at_once(self) -> int:
        """Requests that all servers together get at once, at present."""
        return sum(server.limit.now for server in self._servers.all)

    @property
    def n_busy(self) -> int:
        """Requests that were turned away."""
        return sum(server.limit.n_busy for server in self._servers.all)

    async def answer(self, weighed: Outcome, options: AgentOptions, count: Callable[[int], None]) -> Outcome:
        """The outcome with its answer; `count` hears the number of each attempt.

        Raises:
            EngineError, ModelError, InputError: this row's question has no answer.
            EngineUnreachable: nobody's has any more: no server was there for longer than the patience lasts.
        """

        def counted(number: int) -> None:
            self._n_retried += number > 1
            count(number)

        async def ask(server: Server) -> Outcome:
            async with server.limit.slot():
                return await server.threads.run(server.agent_of(options).answer, weighed)

        return await retrying(self.patience, counted)(self._servers.ask, ask)

    def close(self) -> None:
        """Wait for nothing that is still under way."""
        for server in self._servers.all:
            server.threads.close()
