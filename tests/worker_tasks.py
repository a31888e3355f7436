"""What the tests let workers do: tasks must be importable by name in a fresh process."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.errors import UnreadableMedia
from affectgpt.workers import report


def add(a: int, b: int) -> int:
    return a + b


def own_pid(*_: object) -> int:
    return os.getpid()


def mark(path: str, seconds: float) -> str:
    """Leave a mark every 20 ms for as long as it lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with Path(path).open("a") as file:
            file.write("x")
        time.sleep(0.02)
    return "done"


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def spin() -> None:
    while True:
        pass


def hold_the_lock() -> None:
    """Spin in C without letting go of Python's lock: no thread of the worker runs any more."""
    ctypes.PyDLL(None).sleep(60)


def crash() -> None:
    ctypes.string_at(0)


def leave(code: int) -> None:
    sys.exit(code)


def abort() -> None:
    os.abort()


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def allocate(n_bytes: int) -> int:
    return len(bytearray(n_bytes))


def share(n_bytes: int) -> None:
    """Take shared memory, which no limit on private memory sees, a page at a time."""
    room = mmap.mmap(-1, n_bytes)
    for at in range(0, n_bytes, mmap.PAGESIZE):
        room[at] = 1
        if at % (1 << 24) == 0:
            time.sleep(0.005)


def count(n: int) -> int:
    for k in range(n):
        report(("at", k))
    return n


def count_in_threads(n: int) -> int:
    threads = [threading.Thread(target=count, args=(n,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return n


def fail(what: str) -> None:
    raise UnreadableMedia(what, "try another")


class Stubborn(Exception):
    """Pickles, and does not come back."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def fail_stubbornly() -> None:
    raise Stubborn("left", "right")


def give(n_bytes: int) -> bytes:
    return bytes(n_bytes)


def give_what_cannot_be_pickled() -> object:
    return threading.Lock()


class Trap:
    """Pickles in the worker; making it whole elsewhere raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def give_trap() -> Trap:
    return Trap()


def beget(path: str) -> None:
    """Start a process of its own that leaves marks, and never end."""
    code = f"import time\nwhile True:\n    open({path!r}, 'a').write('x'); time.sleep(0.02)"
    subprocess.Popen([sys.executable, "-c", code])
    time.sleep(60)


def matrix(side: int) -> Any:
    return np.eye(side, dtype=np.float32)


def warm_marking() -> None:
    """A warm-up that tells that it ran."""
    Path(os.environ["AFFECTGPT_TEST_WARM"]).write_text(str(os.getpid()))


def warm_failing() -> None:
    raise RuntimeError("cold")


def was_warm(marker: str) -> bool:
    return Path(marker).read_text() == str(os.getpid())


def warm_hanging() -> None:
    time.sleep(60)


_leaked: list[bytearray] = []


def leak(n_bytes: int) -> int:
    """Keep memory after the task is over."""
    _leaked.append(bytearray(b"x") * n_bytes)
    return os.getpid()
