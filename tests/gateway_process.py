"""`affectgpt serve --launch` as a process of its own: what it says, what it started, and an end to all of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from gateway_fakes import wait_for

# Ctrl-C works as on a terminal, also where the tests themselves run in the background and ignore it.
BEGIN = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from affectgpt.cli import main; main()"
COMMAND = [sys.executable, "-c", BEGIN, "serve", "--launch"]
CHAT: dict[str, Any] = {"model": "affectgpt", "messages": [{"role": "user", "content": "I am glad."}], "explain": False}
START_S = 420.0
"""Far more than a start takes, also where ten others want the processor."""


@dataclass
class GatewayProcess:
    """The gateway's process, and the file that it writes to."""

    process: subprocess.Popen[str]
    said: Path

    def told(self) -> str:
        """What it wrote so far."""
        return self.said.read_text("utf-8")

    @property
    def url(self) -> str:
        """Where it listens, once it told."""
        found = re.search(r"serves at (\S+)", self.told())
        assert found, self.told()
        return found[1]

    def children(self) -> list[int]:
        """Processes that it started and that run."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for thread in threads for pid in thread.read_text("ascii").split()]

    def model_servers(self) -> list[int]:
        """Those of them that were started as vLLM is."""
        return [pid for pid in self.children() if b"affectgpt_vllm" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def model_server(self) -> int:
        """The one that runs now."""
        (found,) = self.model_servers()
        return found

    def ask(self, timeout_s: float = 60.0, **more: Any) -> httpx.Response:
        """A chat completion."""
        return httpx.post(f"{self.url}/v1/chat/completions", json={**CHAT, **more}, timeout=timeout_s)

    def is_ready(self) -> bool:
        """Whether it says that it can take turns."""
        return httpx.get(f"{self.url}/ready", timeout=30).status_code == 200

    def wait_ready(self) -> None:
        """Return once it tells where it listens."""
        wait_long(lambda: "serves at" in self.told() or self.process.poll() is not None)


@contextmanager
def launched(folder: Path, *flags: str, env: Mapping[str, str]) -> Iterator[GatewayProcess]:
    """One that keeps its files in `folder`; at the end it is killed with all that it started."""
    said = folder / "said"
    with said.open("w") as sink:
        words = [*COMMAND, "--port", "0", "--database", "memory", *flags]
        process = subprocess.Popen(words, stderr=sink, stdout=sink, text=True, env={**os.environ, **env})
    gateway = GatewayProcess(process, said)
    try:
        yield gateway
    finally:
        left = gateway.children()
        process.kill()
        process.wait()
        for pid in left:  # a scripted model server has no watch of its own, as the real launcher has
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_long(truth: Callable[[], object]) -> None:
    """As `wait_for`, for what takes seconds: asking often would only make it later."""

    def slowly() -> object:
        time.sleep(0.2)
        return truth()

    wait_for(slowly, START_S)
