"""vLLM as a child process: on the loopback, with a key of its own, ready when it says so, gone when we are.

    with ModelServer(command_for(LaunchOptions())) as server:
        engine = open_engine(server.engine_options(server.adapters[0]))

The child leads a session of its own, so that a Ctrl-C on the terminal reaches this process alone and the server is
stopped in order: asked by SIGTERM, given a grace time, then killed with everything it started. It ends by itself when
this process dies without having stopped it (see `serve/vllm/affectgpt_vllm.py`).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from affectgpt.engines.engine import EngineOptions
from affectgpt.errors import EngineError
from serve.launching.command import Command
from serve.launching.launch_log import blame, stage_of

__all__ = ["Limits", "ModelServer", "Tell", "progress_line"]

HOST = "127.0.0.1"
POLL_S = 0.2
N_KEPT_LINES = 2000

Tell = Callable[[str, float], None]
"""Called with what the server is doing, in words, and the seconds since its start; about once a second."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds: for a server that loads, and for one that was asked to stop."""

    start_within_s: float = 600.0
    stop_within_s: float = 20.0


class ModelServer:
    """One model server on this machine; starts on entry or by `start`, ends on exit or by `stop`.

    base_url and key are for those who ask it; the key is made here and travels by the environment alone.
    base and adapters are the names that requests give as `model`; base is None where only merged weights are served.
    """

    def __init__(
        self,
        command: Command,
        limits: Limits | None = None,
        *,
        port: int = 0,
        key: str | None = None,
        log: Path | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.key = key or secrets.token_urlsafe(32)
        self.base, self.adapters = command.base, command.adapters
        self._command = command
        self._limits = limits or Limits()
        self._port = port
        self._log = log
        self._tell = tell or (lambda _stage, _seconds: None)
        self._lines: deque[str] = deque(maxlen=N_KEPT_LINES)
        self._stage = "starting vLLM"
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._seat: socket.socket | None = None
        self._stopping = threading.Lock()
        self._is_stopped = False
        self._began = 0.0

    # ------------------------------------------------------------ what it offers

    @property
    def base_url(self) -> str:
        """With `/v1`, as OpenAI clients want it."""
        return f"http://{HOST}:{self._port}/v1"

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Of the process that was started."""
        return self._child.pid if self._child else None

    def engine_options(self, model: str | None = None, options: EngineOptions | None = None) -> EngineOptions:
        """Options that open an engine on this server.

        `model` is one of its names; None is the first adapter, else the base.
        """
        model = model or (*self.adapters, self.base)[0]
        return replace(options or EngineOptions(), engine="http", base_url=self.base_url, api_key=self.key, model=model)

    def tail(self, n_lines: int = 20) -> list[str]:
        """The last lines that it wrote, without the key."""
        return [line.replace(self.key, "[key]") for line in list(self._lines)[-n_lines:]]

    def check(self) -> None:
        """Return where the server runs.

        Raises:
            EngineError: it died, with what it last said.
        """
        if not self.is_alive:
            raise self._died()

    # ------------------------------------------------------------ its life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it and wait until it lists every model.

        Raises:
            EngineError: it died, was not ready in time, or cannot be started; nothing of it is left then.
        """
        if self._child is not None:
            raise EngineError("this server was started before", "make another ModelServer")
        with self._stopping:
            if self._is_stopped:
                raise EngineError("this server was stopped before it was started", "make another ModelServer")
            self._take_port()
            self._began = time.monotonic()
            self._child = self._spawn()
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def again(self) -> ModelServer:
        """Another server like this one, at its address and with its key; to be started once this one ended."""
        return ModelServer(self._command, self._limits, port=self._port, key=self.key, log=self._log, tell=self._tell)

    def _spawn(self) -> subprocess.Popen[str]:
        env = {**self._command.env, "VLLM_API_KEY": self.key, "AFFECTGPT_PARENT": str(os.getpid())}
        words = [*self._command.words, "--host", HOST, "--port", str(self._port)]
        try:
            return subprocess.Popen(
                words,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as e:
            self._leave_port()
            raise EngineError(f"cannot start {words[0]}: {e.strerror}", "set vLLM up again: `make vllm-setup`") from e

    def stop(self) -> int | None:
        """Ask it to end, kill what is left after the grace time; its exit code. Again, or never started: harmless.

        One that was stopped before it was started never starts.
        """
        with self._stopping:
            self._is_stopped = True
            child = self._child
            if child is None:
                return None
            if child.poll() is None:
                # To the one process that leads: its workers end at its word, and complain when killed before.
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(self._limits.stop_within_s)
            self._kill_group()
            child.wait()
            if self._reader and self._reader is not threading.current_thread():
                self._reader.join(5)
            self._leave_port()
            return child.returncode

    def kill(self) -> None:
        """End it and everything that it started at once; for a second Ctrl-C. `stop` is still to be called."""
        if self._child is not None and self._child.poll() is None:
            self._kill_group()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Until it ends by itself or by `stop`; its exit code, None where the time is over first."""
        if self._child is None:
            return None
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _kill_group(self) -> None:
        """Everything that the child started and that is still there; its session is its own, so its group is too."""
        assert self._child is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    # ------------------------------------------------------------ its port

    def _take_port(self) -> None:
        """A port that nobody else is given while the server loads: bound here and not listened on.

        Linux lets a second socket bind beside it where both set SO_REUSEADDR, as vLLM does.
        """
        seat = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        seat.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            seat.bind((HOST, self._port))
        except OSError as e:
            seat.close()
            raise EngineError(f"port {self._port} is taken: {e.strerror}", "name another, or 0 for any") from e
        self._seat, self._port = seat, seat.getsockname()[1]

    def _leave_port(self) -> None:
        if self._seat:
            self._seat.close()
            self._seat = None

    # ------------------------------------------------------------ is it ready?

    def _await_ready(self) -> None:
        last_told = -1.0
        while True:
            seconds = time.monotonic() - self._began
            if seconds - last_told >= 1:
                self._tell(self._stage, seconds)
                last_told = seconds
            self.check()
            if self._is_healthy() and set(self._command.names) <= self._listed():
                self._tell("ready", time.monotonic() - self._began)
                return
            if seconds > self._limits.start_within_s:
                limit = f"within {self._limits.start_within_s:g} s ({self._stage})"
                raise EngineError(f"vLLM was not ready {limit}; {self._last_words()}", "give it more time")
            time.sleep(POLL_S)

    def _is_healthy(self) -> bool:
        """Whether our child answers; asked without the key, which only goes where this user's own process listens."""
        try:
            return self._get("/health", {}) is not None and _listens_as_us(self._port)
        except OSError:
            return False

    def _listed(self) -> set[str]:
        try:
            answer = json.loads(self._get("/v1/models", {"Authorization": f"Bearer {self.key}"}) or b"{}")
            return {str(row["id"]) for row in answer["data"]}
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _get(self, path: str, headers: Mapping[str, str]) -> bytes | None:
        request = Request(f"http://{HOST}:{self._port}{path}", headers=dict(headers))
        try:
            # Without proxies: one out of the environment cannot reach this machine's loopback.
            with build_opener(ProxyHandler({})).open(request, timeout=5) as reply:
                return bytes(reply.read(1_000_000))
        except HTTPError:
            return None

    # ------------------------------------------------------------ what it says

    def _read(self, stream: IO[str]) -> None:
        """Keep its lines, in a file too where one is named; runs until the last of its processes is gone."""
        sink: TextIO | None = None
        try:
            sink = self._log.open("w", encoding="utf-8", buffering=1) if self._log else None
            for raw in stream:
                line = raw.rstrip("\n")
                self._lines.append(line)
                self._stage = stage_of(line) or self._stage
                if sink:
                    sink.write(line.replace(self.key, "[key]") + "\n")
        except (OSError, ValueError) as e:
            self._lines.append(f"(its output could not be kept: {e})")
        finally:
            if sink:
                sink.close()
            stream.close()

    def _died(self) -> EngineError:
        if self._child is None:
            return EngineError("the model server was not started", "start it first")
        if self._reader:
            self._reader.join(2)
        code = self._child.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        seconds = time.monotonic() - self._began
        return EngineError(f"vLLM ended with {how} after {seconds:.0f} s; {self._last_words()}", self._remedy())

    def _last_words(self) -> str:
        said = blame(self.tail(N_KEPT_LINES))
        return f"it said: {said}" if said else "it said nothing"

    def _remedy(self) -> str:
        return f"its log is {self._log}" if self._log else "run `make vllm` to see all that it says"


def _listens_as_us(port: int) -> bool:
    """Whether the loopback's listener on this port is a process of our own user, where the system tells (Linux)."""
    try:
        rows = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    except OSError:
        return True
    here, listening = f"0100007F:{port:04X}", "0A"  # 127.0.0.1, TCP_LISTEN (the kernel's proc_net_tcp document)
    owners = [int(row.split()[7]) for row in rows if row.split()[1] == here and row.split()[3] == listening]
    return owners == [os.getuid()]


def progress_line(stream: TextIO | None = None) -> Tell:
    """A `Tell` that writes one line, again and again on a terminal and else at each new stage."""
    stream = stream or sys.stderr
    last: list[Any] = [""]

    def tell(stage: str, seconds: float) -> None:
        if stream.isatty():
            end = "\n" if stage == "ready" else ""
            stream.write(f"\r\x1b[2Kvllm: {stage}, {seconds:.0f} s{end}")
        elif stage != last[0]:
            stream.write(f"vllm: {stage}, {seconds:.0f} s\n")
        last[0] = stage
        stream.flush()

    return tell
