"""`affectgpt serve`: what a mistake costs, and that a server comes up, answers, and goes at a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from affectgpt.cli import app

COMMAND = [sys.executable, "-c", "from affectgpt.cli import main; main()", "serve"]

MISTAKES = [
    (["--port", "99999"], "--port"),
    (["--host", "0.0.0.0"], "keys"),
    (["--base-url", "nonsense"], "--base-url"),
    (["--launch", "--base-url", "http://127.0.0.1:1/v1"], "--launch"),
    (["--local-only", "--allow-host", "media.example.org"], "--local-only"),
    (["--engine", "echo", "--launch"], "echo"),
    (["--ttl", "0"], "--ttl"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_2(arguments: list[str], named: str) -> None:
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_server_that_is_not_there_is_no_mistake_of_the_callers() -> None:
    done = CliRunner().invoke(app, ["serve", "--base-url", "http://127.0.0.1:9/v1"])
    assert done.exit_code == 1
    assert "nothing answers" in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(app, ["serve", "--engine", "echo", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 2
    assert "cannot be listened on" in done.stderr


def test_other_machines_want_a_key_that_counts(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "--engine", "echo", "--host", "0.0.0.0", "--keys", str(tmp_path / "k")])
    assert done.exit_code == 2
    assert "serve keys add" in done.stderr


def test_keys_are_made_below_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", "keys", "add", "me", "--keys", str(tmp_path / "k")])
    assert done.exit_code == 0
    assert done.stdout.startswith("agpt_")


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_comes(sign: signal.Signals, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "AFFECTGPT_SERVE_PORT": "0"}
    words = [*COMMAND, "--engine", "echo", "--database", "memory"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as server:
        try:
            assert server.stderr is not None
            lines = iter(server.stderr.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            asked = {"model": "affectgpt", "messages": [{"role": "user", "content": "I am so tired."}]}
            answer = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=120)
            assert answer.json()["ai_generated"] is True
            assert "text/html" in httpx.get(f"{url}/", timeout=60).headers["content-type"]
            assert httpx.get(f"{url}/v1/nothing").json()["error"]["type"] == "not_found_error"
            server.send_signal(sign)
            assert server.wait(30) in (0, 130, -sign)
        finally:
            server.kill()
    assert not [p for p in (tmp_path / "affectgpt" / "uploads").rglob("*") if p.is_file() and p.name != ".lock"]
