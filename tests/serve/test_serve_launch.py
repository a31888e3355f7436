"""`affectgpt serve --launch` as a process, a scripted child standing for vLLM: every way in which the two may end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fakes import wait_for
from model_child import gone, vllm_python

from affectgpt.engines import adapter, embedded

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from affectgpt.cli import main; main()", "serve", "--launch"]
START_S = 240.0
"""Far more than a start takes, also where ten others want the processor."""
CHAT: dict[str, Any] = {"model": "affectgpt", "messages": [{"role": "user", "content": "I am glad."}], "explain": False}


@dataclass
class Served:
    """The gateway's process and where it listens, once it told."""

    process: subprocess.Popen[str]
    said: Path
    broken: Path

    def told(self) -> str:
        """What it wrote so far."""
        return self.said.read_text("utf-8")

    @property
    def url(self) -> str:
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

    def ask(self, **more: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json={**CHAT, **more}, timeout=60)

    def wait_ready(self) -> None:
        wait_long(lambda: "serves at" in self.told() or self.process.poll() is not None)


def wait_long(truth: Callable[[], object]) -> None:
    """As `wait_for`, for what takes seconds: asking often would only make it later."""

    def slowly() -> object:
        time.sleep(0.2)
        return truth()

    wait_for(slowly, START_S)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts gateways over children that do as their words say; ends them."""
    started: list[Served] = []
    shipped = adapter.shipped()
    assert shipped
    names = f"names={embedded.MODEL_ID},{adapter.read_manifest(shipped).id}"

    def serve(*words: str) -> Served:
        broken = tmp_path / "broken"
        python = vllm_python(tmp_path, names, f"die_beside={broken}", *words)
        env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "AFFECTGPT_VLLM_PYTHON": str(python)}
        flags = ["--port", "0", "--database", "memory", "--no-page"]
        said = tmp_path / "said"
        with said.open("w") as sink:
            process = subprocess.Popen([*COMMAND, *flags], stderr=sink, stdout=sink, text=True, env=env)
        started.append(Served(process, said, broken))
        return started[-1]

    yield serve
    for one in started:
        left = one.children()
        one.process.kill()
        one.process.wait()
        for pid in left:  # the scripted child has no watch of its own, as the real launcher has
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_both(served: Callable[..., Served], sign: signal.Signals) -> None:
    one = served("late=600")
    wait_long(one.model_servers)
    pid = one.model_server()
    one.process.send_signal(sign)
    assert one.process.wait(30) in (130, 143, -sign)
    assert gone(pid, 20)
    assert "Traceback" not in one.told()


def test_a_model_server_that_dies_is_told_of_and_comes_back(served: Callable[..., Served]) -> None:
    one = served("late=2", "words=600", "pause=0.05")
    one.wait_ready()
    lines: list[str] = []
    first = one.model_server()
    with httpx.stream("POST", f"{one.url}/v1/chat/completions", json={**CHAT, "stream": True}, timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            lines.append(line)
            if "It is well" in line and lines.count(line) == 1:
                os.kill(first, signal.SIGKILL)
    *_, error, done = [line for line in lines if line]
    assert '"code": "model_unreachable"' in error
    assert done == "data: [DONE]"

    refused = one.ask()
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert refused.json()["error"]["code"] == "model_unreachable"
    assert "being started again" in refused.json()["error"]["message"]
    ready = httpx.get(f"{one.url}/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "waiting")
    assert httpx.get(f"{one.url}/health").status_code == 200

    wait_long(lambda: httpx.get(f"{one.url}/ready").status_code == 200)
    assert one.ask(max_tokens=8).json()["choices"][0]["message"]["content"].startswith("It is well.")
    assert "model server started again" in one.told()
    children = one.children()
    assert one.model_server() in children
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(30) in (0, -signal.SIGTERM)
    assert all(gone(pid) for pid in children)
    assert "Traceback" not in one.told()


def test_where_no_other_comes_up_the_gateway_ends_and_says_why(served: Callable[..., Served]) -> None:
    one = served()
    one.wait_ready()
    children = one.children()
    one.broken.touch()
    os.kill(one.model_server(), signal.SIGKILL)
    assert one.process.wait(60) == 1
    last = one.told().splitlines()[-1]
    assert "the model server ended 4 times" in last
    assert "made of cheese" in last
    assert "Traceback" not in one.told()
    assert all(gone(pid) for pid in children)
