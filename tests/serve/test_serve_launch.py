"""`affectgpt serve --launch` as a process, a scripted child standing for vLLM: every way in which the two may end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from gateway_process import CHAT, GatewayProcess, launched, wait_long
from model_child import gone, vllm_python

from affectgpt.engines import adapter, embedded

pytestmark = pytest.mark.slow


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Where this file is, no child comes up."""
    return tmp_path / "broken"


@pytest.fixture
def launch(tmp_path: Path, broken: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts a gateway over a child that does as its words say."""
    shipped = adapter.shipped()
    assert shipped
    names = f"names={embedded.MODEL_ID},{adapter.read_manifest(shipped).id}"
    with ExitStack() as stack:

        def start(*words: str) -> GatewayProcess:
            python = vllm_python(tmp_path, names, f"die_beside={broken}", *words)
            env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "AFFECTGPT_VLLM_PYTHON": str(python)}
            return stack.enter_context(launched(tmp_path, "--no-page", env=env))

        yield start


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_both(launch: Callable[..., GatewayProcess], sign: signal.Signals) -> None:
    gateway = launch("late=600")
    wait_long(gateway.model_servers)
    pid = gateway.model_server()
    gateway.process.send_signal(sign)
    assert gateway.process.wait(30) in (130, 143, -sign)
    assert gone(pid, 20)
    assert "Traceback" not in gateway.told()


def test_a_model_server_that_dies_is_told_of_and_comes_back(launch: Callable[..., GatewayProcess]) -> None:
    gateway = launch("late=2", "words=100", "pause=0.1")
    gateway.wait_ready()
    lines: list[str] = []
    first = gateway.model_server()
    asked = {**CHAT, "stream": True}
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=asked, timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            lines.append(line)
            if "It is well" in line and first in gateway.model_servers():
                os.kill(first, signal.SIGKILL)
    *_, error, done = [line for line in lines if line]
    assert '"code": "model_unreachable"' in error
    assert done == "data: [DONE]"

    refused = gateway.ask()
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert refused.json()["error"]["code"] == "model_unreachable"
    assert "being started again" in refused.json()["error"]["message"]
    ready = httpx.get(f"{gateway.url}/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "waiting")
    assert httpx.get(f"{gateway.url}/health").status_code == 200

    wait_long(gateway.is_ready)
    assert gateway.ask().json()["choices"][0]["message"]["content"].startswith("It is well.")
    assert "model server started again" in gateway.told()
    children = gateway.children()
    assert gateway.model_server() in children
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(30) in (0, -signal.SIGTERM)
    assert all(gone(pid) for pid in children)
    assert "Traceback" not in gateway.told()


def test_where_no_other_comes_up_the_gateway_ends_and_says_why(
    launch: Callable[..., GatewayProcess], broken: Path
) -> None:
    gateway = launch()
    gateway.wait_ready()
    children = gateway.children()
    broken.touch()
    os.kill(gateway.model_server(), signal.SIGKILL)
    assert gateway.process.wait(60) == 1
    last = gateway.told().splitlines()[-1]
    assert "the model server ended 4 times" in last
    assert "made of cheese" in last
    assert "Traceback" not in gateway.told()
    assert all(gone(pid) for pid in children)
