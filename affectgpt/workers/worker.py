"""The worker's side: a process that takes tasks from a pipe, one at a time, until the pipe closes."""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

__all__ = ["BEGUN", "DONE", "FAILED", "READY", "STOP", "TOLD", "report", "run", "start_code"]

READY: Final = "ready"
BEGUN: Final = "begun"
TOLD: Final = "told"
DONE: Final = "done"
FAILED: Final = "failed"
"""What a worker says, first of a pair: it is up; it began the task; the task reports; its result; its exception."""

STOP: Final = b"stop"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OOM_SCORE_ADJ = 500
"""Of -1000 to 1000, proc(5): where the machine itself runs out, the kernel is to take a worker, not the server."""
_PARENT_POLL_S = 2.0

_outbox: _Outbox | None = None


class _Outbox:
    """The pipe to the pool, for the task's threads too."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def put(self, kind: str, value: object) -> None:
        data = pickle.dumps((kind, value))
        with self._lock:
            self._pipe.send_bytes(data)


def report(message: object) -> None:
    """From within a task, from any of its threads: hand `message` to the `on_progress` of whoever submitted it.

    Outside a worker nothing happens, so that a task is an ordinary function too.
    """
    if _outbox is not None:
        _outbox.put(TOLD, message)


def run(pipe_fd: int, parent_pid: int) -> None:
    """Serve the pipe until it closes or says `STOP`; the process ends with this call."""
    os.set_inheritable(pipe_fd, False)
    _guard(parent_pid)
    code = 1
    try:
        _serve(Connection(pipe_fd))
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)  # threads that a decoder left behind must not keep the process


def _serve(pipe: Connection) -> None:
    """The first message names a function to call before any task, or None; then come tasks."""
    global _outbox  # noqa: PLW0603 - one pipe a process, and `report` is called from deep inside a task
    _outbox = _Outbox(pipe)
    warm: Callable[[], object] | None = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from our own parent
    if warm is not None:
        warm()
    _outbox.put(READY, None)
    while (order := pipe.recv_bytes()) != STOP:
        _work(order, _outbox)


def _work(order: bytes, outbox: _Outbox) -> None:
    outbox.put(BEGUN, None)
    try:
        task, args, memory_bytes = pickle.loads(order)  # noqa: S301 - from our own parent
        _limit_memory(memory_bytes)
        outbox.put(DONE, task(*args))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a task raises is raised again where its result is asked for
        outbox.put(FAILED, _sendable(error))


def _sendable(error: Exception) -> Exception:
    """`error` with this side's traceback as a note, or its words where it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes: an exception may pickle and not come back
    except Exception:  # noqa: BLE001 - any failure means the same
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__cause__ = error.__context__ = None
    error.add_note(f"in a worker:\n{trace}")
    return error


def _limit_memory(n_bytes: int | None) -> None:
    """Let allocations beyond `n_bytes` of private memory fail (Linux 4.7 and later; elsewhere the pool watches)."""
    if sys.platform == "linux":
        soft = resource.RLIM_INFINITY if n_bytes is None else n_bytes
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _guard(parent_pid: int) -> None:
    """Die with the parent, leave no core dump of somebody's recording, be the first that the kernel ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_ADJ), "ascii")
    threading.Thread(target=_watch_parent, args=(parent_pid,), name="parent-watch", daemon=True).start()


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def start_code(pipe_fd: int) -> list[str]:
    """The command that runs a worker on this pipe with this process's import path."""
    code = (
        "import sys; fd, parent = map(int, sys.argv[1:3]); sys.path[:] = sys.argv[3:]\n"
        "from affectgpt.workers.worker import run; run(fd, parent)"
    )
    return [sys.executable, "-c", code, str(pipe_fd), str(os.getpid()), *(p or str(Path.cwd()) for p in sys.path)]
