"""A launched server that ends by itself: another takes its place, or it is said why none can."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fakes import wait_for
from model_child import gone, is_there, scripted

from affectgpt.errors import EngineError
from serve.launching.keeping import Keeper, Patience
from serve.launching.launch import Limits, ModelServer

PATIENCE = Patience(n_ends=3, within_s=60, wait_s=0.05)


@pytest.fixture
def keeper_of() -> Iterator[Callable[..., Keeper]]:
    """Makes keepers of scripted servers that run; ends them."""
    made: list[Keeper] = []

    def make(*words: str, patience: Patience = PATIENCE) -> Keeper:
        made.append(Keeper(ModelServer(scripted(*words), Limits(30, 2)).start(), patience))
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop()


async def while_kept(keeper: Keeper, work: Callable[[], Any]) -> Any:
    """What `work` gives, in a thread, while the keeper watches."""
    keeping = asyncio.create_task(keeper.keep())
    try:
        return await asyncio.to_thread(work)
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def kill(server: ModelServer) -> int:
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    assert gone(server.pid)
    return server.pid


def answers(server: ModelServer) -> bool:
    asked = {"Authorization": f"Bearer {server.key}"}
    try:
        return httpx.get(f"{server.base_url}/models", headers=asked, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_one_that_was_killed_comes_back_at_its_address_with_its_key(keeper_of: Callable[..., Keeper]) -> None:
    keeper = keeper_of()
    first = keeper.server

    def die_twice() -> None:
        for _ in range(PATIENCE.n_ends - 1):
            pid = kill(keeper.server)
            wait_for(lambda: answers(first), 20)
            wait_for(lambda pid=pid: keeper.server.pid not in (None, pid))

    run(while_kept(keeper, die_twice))
    assert keeper.server.base_url == first.base_url
    keeper.stop()
    assert not answers(first)
    assert not keeper.server.is_alive


def test_what_it_started_goes_with_it(keeper_of: Callable[..., Keeper], tmp_path: Path) -> None:
    note = tmp_path / "pid"
    keeper = keeper_of(f"grandchild={note}")
    left = int(note.read_text())
    pid = kill(keeper.server)
    assert is_there(left)
    run(while_kept(keeper, lambda: wait_for(lambda: keeper.server.pid != pid and answers(keeper.server), 20)))
    assert gone(left)


def test_one_that_no_longer_starts_is_given_up_with_its_own_words(
    keeper_of: Callable[..., Keeper], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    keeper = keeper_of(f"die_beside={broken}")
    broken.touch()
    kill(keeper.server)
    with pytest.raises(EngineError, match=r"ended 3 times in \d+ s: vLLM ended with code 9 .*made of cheese"):
        run(keeper.keep())
    assert not keeper.server.is_alive


def test_ends_of_long_ago_are_forgotten(keeper_of: Callable[..., Keeper]) -> None:
    keeper = keeper_of(patience=Patience(n_ends=2, within_s=0.0, wait_s=0.0))

    def die_often() -> None:
        for _ in range(4):
            pid = kill(keeper.server)
            wait_for(lambda pid=pid: keeper.server.pid not in (None, pid) and answers(keeper.server), 20)

    run(while_kept(keeper, die_often))


def test_stopping_while_another_starts_leaves_nothing(keeper_of: Callable[..., Keeper]) -> None:
    keeper = keeper_of("late=1.5")
    pid = kill(keeper.server)

    def stop_early() -> None:
        wait_for(lambda: keeper.server.pid not in (None, pid))
        keeper.stop()

    run(while_kept(keeper, stop_early))
    assert keeper.server.pid
    assert gone(keeper.server.pid)


def test_one_that_was_stopped_before_it_started_never_starts() -> None:
    server = ModelServer(scripted())
    server.stop()
    with pytest.raises(EngineError, match="stopped before"):
        server.start()
    assert server.pid is None
