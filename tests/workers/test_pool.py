"""The pool outlives its tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import worker_tasks as tasks

from affectgpt.errors import (
    OptionError,
    PoolFull,
    UnreadableMedia,
    WorkerDied,
    WorkerOverMemory,
    WorkerTimeout,
)
from affectgpt.workers import Limits, WorkerPool, report

GIB = 1 << 30


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """One worker, room for four that wait; every test leaves it able to work."""
    with WorkerPool(1, 4, Limits(GIB, 30.0)) as pool:
        yield pool


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """No process and no zombie of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# ---------------------------------------------------------------- results, errors, progress


def test_a_task_runs_elsewhere_and_its_result_comes_back(pool: WorkerPool) -> None:
    assert pool.submit(tasks.add, 2, 3).result(20) == 5
    assert pool.submit(tasks.own_pid).result(20) not in {0, os.getpid()}
    assert np.array_equal(pool.submit(tasks.matrix, 3).result(20), np.eye(3))


def test_a_worker_is_kept(pool: WorkerPool) -> None:
    first, second = (pool.submit(tasks.own_pid).result(20) for _ in range(2))
    assert first == second
    assert pool.pids == (first,)
    assert pool.n_ready == 1


def test_an_error_comes_back_as_itself_and_says_where(pool: WorkerPool) -> None:
    with pytest.raises(UnreadableMedia, match=r"a\.mp4.*try another"):
        pool.submit(tasks.fail, "a.mp4").result(20)
    with pytest.raises(RuntimeError, match="Stubborn: leftright") as caught:
        pool.submit(tasks.fail_stubbornly).result(20)
    assert "fail_stubbornly" in "".join(caught.value.__notes__)
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(tasks.give_what_cannot_be_pickled).result(20)


def test_an_answer_that_cannot_be_taken_is_an_error_of_its_own(pool: WorkerPool) -> None:
    with pytest.raises(WorkerDied, match="trapped: its answer cannot be taken"):
        pool.submit(tasks.give_trap, label="trapped").result(20)
    with pytest.raises(WorkerDied, match="more than 256 MiB"):
        pool.submit(tasks.give, 257 << 20, label="flood").result(20)
    assert pool.submit(tasks.add, 1, 1).result(20) == 2


def test_what_a_task_reports_arrives_in_order_while_it_runs(pool: WorkerPool) -> None:
    heard: list[object] = []
    assert pool.submit(tasks.count, 50, on_progress=heard.append).result(20) == 50
    assert heard == [("at", k) for k in range(50)]
    heard.clear()
    pool.submit(tasks.count_in_threads, 50, on_progress=heard.append).result(20)
    assert sorted(heard) == sorted([("at", k) for k in range(50)] * 4)


def test_a_listener_that_fails_harms_nobody(pool: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    def listen(message: object) -> None:
        raise ValueError(message)

    assert pool.submit(tasks.count, 2, on_progress=listen, label="told in vain").result(20) == 2
    assert "told in vain" in caplog.text


def test_reporting_outside_a_worker_does_nothing() -> None:
    report("nobody listens")
    assert tasks.count(2) == 2


def test_a_task_that_is_no_top_level_function_is_refused_at_once(pool: WorkerPool) -> None:
    with pytest.raises((AttributeError, TypeError), match=r"pickle|local"):
        pool.submit(lambda: 1)
    assert pool.n_waiting == pool.n_running == 0


# ---------------------------------------------------------------- tasks that break their worker


@pytest.mark.parametrize(
    ("task", "args", "ending"),
    [
        (tasks.crash, (), "SIGSEGV"),
        (tasks.abort, (), "SIGABRT"),
        (tasks.kill_self, (), "SIGKILL"),
        (tasks.leave, (3,), "exit code 3"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_crash_is_named_and_costs_one_worker(
    pool: WorkerPool, task: Callable[..., None], args: tuple[object, ...], ending: str
) -> None:
    pid = pool.submit(tasks.own_pid).result(20)
    with pytest.raises(WorkerDied, match=rf"clip 7: its worker ended \({ending}\)") as caught:
        pool.submit(task, *args, label="clip 7").result(20)
    assert type(caught.value) is WorkerDied
    assert pool.submit(tasks.own_pid).result(20) != pid
    assert is_gone(pid)


def test_a_crash_leaves_the_neighbour_alone() -> None:
    with WorkerPool(2, 2) as pool:
        steady = pool.submit(tasks.nap, 0.7)
        wait_for(lambda: pool.n_running == 1)
        with pytest.raises(WorkerDied):
            pool.submit(tasks.crash).result(20)
        assert steady.result(20) == 0.7


@pytest.mark.parametrize("task", [tasks.spin, tasks.hold_the_lock])
def test_a_hang_is_ended_at_its_limit(pool: WorkerPool, task: Callable[..., None]) -> None:
    pid = pool.submit(tasks.own_pid).result(20)
    begin = time.monotonic()
    with pytest.raises(WorkerTimeout, match=r"clip 8: took longer than 0\.4 s"):
        pool.submit(task, label="clip 8", limits=Limits(GIB, 0.4)).result(20)
    assert 0.4 <= time.monotonic() - begin < 20
    assert is_gone(pid)


def test_waiting_in_the_queue_is_no_hang(pool: WorkerPool) -> None:
    tickets = [pool.submit(tasks.nap, 0.3, limits=Limits(GIB, 1.2)) for _ in range(5)]
    assert [t.result(20) for t in tickets] == [0.3] * 5


def test_eight_gigabytes_are_refused(pool: WorkerPool) -> None:
    with pytest.raises(WorkerOverMemory, match="bomb: wanted more than 1024 MiB"):
        pool.submit(tasks.allocate, 8 * GIB, label="bomb").result(20)
    assert pool.submit(tasks.allocate, 1 << 20).result(20) == 1 << 20


def test_memory_that_no_rlimit_sees_is_seen(pool: WorkerPool) -> None:
    limits = Limits(256 << 20, 30.0)
    with pytest.raises(WorkerOverMemory, match="shared: wanted more than 256 MiB"):
        pool.submit(tasks.share, GIB, label="shared", limits=limits).result(20)


def test_a_limit_is_the_task_s_own(pool: WorkerPool) -> None:
    with pytest.raises(WorkerOverMemory):
        pool.submit(tasks.allocate, 300 << 20, limits=Limits(200 << 20, 5.0)).result(20)
    assert pool.submit(tasks.allocate, 300 << 20).result(20) == 300 << 20


def test_a_worker_killed_while_idle_is_not_missed(pool: WorkerPool) -> None:
    pid = pool.submit(tasks.own_pid).result(20)
    os.kill(pid, signal.SIGKILL)
    assert pool.submit(tasks.own_pid).result(20) != pid


def test_a_worker_killed_at_work_is_named(pool: WorkerPool) -> None:
    ticket = pool.submit(tasks.nap, 30.0, label="struck")
    wait_for(lambda: pool.n_running == 1 and pool.n_ready == 1)
    time.sleep(0.2)
    os.kill(pool.pids[0], signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"struck.*SIGKILL"):
        ticket.result(20)


# ---------------------------------------------------------------- a bounded queue, and giving up


def test_a_hundred_tasks_for_a_queue_of_four(pool: WorkerPool) -> None:
    tickets, n_refused = [], 0
    for _ in range(100):
        try:
            tickets.append(pool.submit(tasks.nap, 0.05))
        except PoolFull:
            n_refused += 1
    assert len(tickets) + n_refused == 100
    assert 5 <= len(tickets) < 100
    assert {t.result(20) for t in tickets} == {0.05}
    assert pool.submit(tasks.add, 1, 1).result(20) == 2


def test_a_full_queue_counts_exactly(pool: WorkerPool) -> None:
    tickets = [pool.submit(tasks.nap, 30.0) for _ in range(5)]
    with pytest.raises(PoolFull):
        pool.submit(tasks.add, 1, 1)
    assert tickets[3].cancel()
    tickets[3] = pool.submit(tasks.add, 1, 1)
    for ticket in tickets[:3] + tickets[4:]:
        assert ticket.cancel()
    assert tickets[3].result(20) == 2


def test_cancel_stops_the_work(pool: WorkerPool, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    pid = pool.submit(tasks.own_pid).result(20)
    ticket = pool.submit(tasks.mark, str(marks), 30.0)
    wait_for(lambda: marks.is_file() and marks.stat().st_size > 2)
    begin = time.monotonic()
    assert ticket.cancel()
    assert time.monotonic() - begin < 20
    with pytest.raises(CancelledError):
        ticket.result(1)
    wait_for(lambda: is_gone(pid))
    size = marks.stat().st_size
    assert pool.submit(tasks.add, 1, 1).result(20) == 2
    assert marks.stat().st_size == size


def test_cancel_stops_what_the_task_started(pool: WorkerPool, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    ticket = pool.submit(tasks.beget, str(marks))
    wait_for(lambda: marks.is_file() and marks.stat().st_size > 2)
    ticket.cancel()
    pool.submit(tasks.add, 1, 1).result(20)
    size = marks.stat().st_size
    time.sleep(0.2)
    assert marks.stat().st_size == size


def test_cancelling_what_is_over_changes_nothing(pool: WorkerPool) -> None:
    ticket = pool.submit(tasks.own_pid)
    pid = ticket.result(20)
    assert not ticket.cancel()
    assert pool.submit(tasks.own_pid).result(20) == pid


def test_cancelling_at_any_moment_leaves_the_pool_whole(pool: WorkerPool) -> None:
    for delay_ms in range(0, 30, 3):
        ticket = pool.submit(tasks.nap, 0.015)
        time.sleep(delay_ms / 1000)
        was_cancelled = ticket.cancel()
        assert was_cancelled == ticket.cancelled()
        assert was_cancelled or ticket.result(0) == 0.015
    assert pool.submit(tasks.add, 1, 1).result(20) == 2
    assert pool.n_running == pool.n_waiting == 0


def test_under_asyncio_a_cancelled_task_cancels_its_ticket(pool: WorkerPool) -> None:
    async def scenario() -> None:
        assert await asyncio.wrap_future(pool.submit(tasks.add, 2, 2)) == 4
        ticket = pool.submit(tasks.spin)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(ticket), 0.3)
        assert ticket.cancelled()
        assert await asyncio.wrap_future(pool.submit(tasks.add, 3, 3)) == 6

    asyncio.run(scenario())


def test_many_threads_may_submit() -> None:
    with WorkerPool(2, 200) as pool, ThreadPoolExecutor(8) as threads:
        sums = list(threads.map(lambda n: pool.submit(tasks.add, n, n).result(30), range(100)))
    assert sums == [2 * n for n in range(100)]


# ---------------------------------------------------------------- beginning and end


def test_closing_leaves_no_process_and_takes_no_task() -> None:
    pool = WorkerPool(2, 8)
    pids = {pool.submit(tasks.own_pid).result(20) for _ in range(6)} | set(pool.pids)
    busy = [pool.submit(tasks.nap, 60.0) for _ in range(5)]
    begin = time.monotonic()
    pool.close(patience_s=0.3)
    assert time.monotonic() - begin < 20
    assert all(ticket.cancelled() for ticket in busy)
    assert all(is_gone(pid) for pid in pids)
    with pytest.raises(OptionError, match="closed"):
        pool.submit(tasks.add, 1, 1)
    pool.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("worker-0") and not t.is_alive()]


def test_closing_waits_for_what_runs() -> None:
    with WorkerPool(1, 0) as pool:
        ticket = pool.submit(tasks.nap, 0.5)
        wait_for(lambda: pool.n_running == 1 and pool.n_ready == 1)
        time.sleep(0.1)
    assert ticket.result(0) == 0.5


def test_a_pool_that_is_closed_at_once_leaves_nothing() -> None:
    begin = time.monotonic()
    WorkerPool(2, 1).close()
    assert time.monotonic() - begin < 20


def test_each_new_worker_is_warmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "warm"
    monkeypatch.setenv("AFFECTGPT_TEST_WARM", str(marker))
    with WorkerPool(1, 1, warm=tasks.warm_marking) as pool:
        assert pool.submit(tasks.was_warm, str(marker)).result(20)
        with pytest.raises(WorkerDied):
            pool.submit(tasks.kill_self).result(20)
        assert pool.submit(tasks.was_warm, str(marker)).result(20)


def test_a_worker_that_cannot_start_is_an_error_and_no_endless_loop(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(1, 1, warm=tasks.warm_failing) as pool, pytest.raises(WorkerDied, match="could not be started"):
        pool.submit(tasks.add, 1, 1).result(60)
    assert "cold" in capfd.readouterr().err


def test_a_worker_that_never_comes_up_is_given_up() -> None:
    with WorkerPool(1, 1, warm=tasks.warm_hanging, start_s=0.2) as pool, pytest.raises(WorkerDied, match="started"):
        pool.submit(tasks.add, 1, 1).result(60)


def test_a_worker_that_keeps_what_it_took_is_replaced() -> None:
    with WorkerPool(1, 1, Limits(200 << 20, 30.0)) as pool:
        assert pool.submit(tasks.leak, 1 << 20).result(20) == (leaky := pool.submit(tasks.leak, 120 << 20).result(20))
        assert pool.submit(tasks.own_pid).result(20) != leaky


def test_workers_die_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import worker_tasks as tasks\nfrom affectgpt.workers import WorkerPool\n"
        f"pool = WorkerPool(2, 1); pid = pool.submit(tasks.own_pid).result()\n"
        f"pool.submit(tasks.mark, {str(marks)!r}, 60.0); pool.submit(tasks.hold_the_lock)\n"
        "import time; time.sleep(0.5); print(*pool.pids, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert len(pids) == 2
    wait_for(lambda: all(is_gone(pid) or _is_zombie(pid) for pid in pids))


def _is_zombie(pid: int) -> bool:
    """An orphan that nobody reaps, where the machine's first process does not."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: WorkerPool(0, 1),
        lambda: WorkerPool(1, -1),
        lambda: Limits(memory_bytes=1),
        lambda: Limits(seconds=0),
        lambda: Limits(seconds=float("nan")),
    ],
)
def test_sizes_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(OptionError):
        make()
