"""What runs in a thread is over before anybody goes on, cancelled or not."""

from __future__ import annotations

import asyncio
import time

import pytest

from serve.threads import in_thread


def test_its_result_and_its_error_come_back() -> None:
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(divmod, 7, 0))


@pytest.mark.parametrize("n_cancels", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
def test_whoever_is_cancelled_goes_on_when_it_is_over(n_cancels: int, fails: bool) -> None:
    done: list[str] = []

    def work() -> None:
        time.sleep(0.2)
        done.append("done")
        if fails:
            raise ValueError("late")

    async def scenario() -> None:
        task = asyncio.create_task(in_thread(work))
        for _ in range(n_cancels):
            await asyncio.sleep(0.03)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["done"]

    asyncio.run(scenario())
