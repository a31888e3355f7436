"""The pool's hold on one worker's process: start it, talk to it, see how much it uses, end it, say how it ended."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from affectgpt.workers.worker import STOP, start_code

__all__ = ["MAX_MESSAGE_BYTES", "WorkerProcess"]

MAX_MESSAGE_BYTES = 256 << 20
"""The largest answer taken from a worker; an hour's tracks are about 60 MB."""


class WorkerProcess:
    """One worker, started at once: a fresh interpreter, never a fork, in a session of its own."""

    def __init__(self, warm: Callable[[], object] | None, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                start_code(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **environment},
            )
            self._pipe = Connection(ours.detach())
        self.pid = self._process.pid
        self._lock = threading.Lock()
        self._is_reaped = False
        with suppress(OSError):  # it died already; `receive` will tell
            self._pipe.send_bytes(pickle.dumps(warm))

    def send(self, order: bytes) -> None:
        """Hand over a pickled task. Raises OSError where the worker is gone."""
        self._pipe.send_bytes(order)

    def receive(self) -> tuple[str, Any]:
        """The next (kind, value) it says.

        Raises:
            EOFError, OSError: it is gone. UnpicklingError: what it says is too large, or cannot be made whole here.
        """
        try:
            kind, value = pickle.loads(self._pipe.recv_bytes(MAX_MESSAGE_BYTES))  # noqa: S301 - from our own worker
        except EOFError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            raise pickle.UnpicklingError(f"more than {MAX_MESSAGE_BYTES >> 20} MiB") from error
        except Exception as error:  # unpickling imports and calls: anything may come of it
            raise pickle.UnpicklingError(repr(error)) from error
        return kind, value

    def memory_bytes(self) -> int:
        """Resident memory now, 0 where the process is gone."""
        try:
            statm = Path(f"/proc/{self.pid}/statm")  # proc(5): the second field is resident pages
            if Path("/proc/self/statm").exists():
                return int(statm.read_text("ascii").split()[1]) * resource.getpagesize()
            told = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, check=True)
            return int(told.stdout) * 1024
        except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
            return 0

    def kill(self) -> None:
        """End it and whatever it started, at once; does not wait. From any thread, at any time."""
        with self._lock:
            if not self._is_reaped:  # a reaped process's number may be somebody else's by now
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def close(self, patience_s: float = 0.0) -> str:
        """Ask it to go, end it after `patience_s`, reap it; returns how it ended: "exit code 0", "SIGSEGV"."""
        if patience_s > 0:
            with suppress(EOFError, OSError):
                self._pipe.send_bytes(STOP)
                while self._pipe.poll(patience_s):
                    self._pipe.recv_bytes(MAX_MESSAGE_BYTES)
        self.kill()  # of one that ended by itself too: what it started may have outlived it
        with self._lock:
            code = self._process.wait()
            self._is_reaped = True
        self._pipe.close()
        return _ending(code)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
