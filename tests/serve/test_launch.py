"""Starting, watching and stopping a model server: a scripted child stands for vLLM, and behaves as badly as one can."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from model_child import gone, scripted

from affectgpt.engines.engine import open_engine
from affectgpt.errors import EngineError
from affectgpt.records import Message, Prompt, Sampling
from serve.launching.command import Command
from serve.launching.launch import Limits, ModelServer, progress_line
from serve.launching.launch_log import blame, stage_of

REPO = Path(__file__).resolve().parent.parent.parent


def test_a_server_that_is_ready_late_is_waited_for_and_answers() -> None:
    told: list[str] = []
    with ModelServer(scripted("late=1.2"), tell=lambda stage, _: told.append(stage)) as server:
        assert server.is_alive
        (answer,) = open_engine(server.engine_options()).generate(
            [Prompt((Message("user", "hello?"),), "p", "1")], Sampling()
        )
        assert (answer.text, answer.model) == ("hello", "tiny")
        pid = server.pid
        server.check()
    assert pid
    assert gone(pid)
    assert not server.is_alive
    assert told[-1] == "ready"
    assert "loading the weights" in told


def test_ready_means_that_every_name_is_listed() -> None:
    with ModelServer(scripted("names=tiny,lora", adapters=("lora",))) as server:
        assert server.engine_options().model == "lora"
        assert server.engine_options("tiny").model == "tiny"
    with pytest.raises(EngineError, match="not ready within 1 s"):
        ModelServer(scripted("names=tiny", adapters=("lora",)), Limits(start_within_s=1)).start()


def test_a_server_that_dies_at_start_says_why_in_its_own_words() -> None:
    server = ModelServer(scripted("die=9"))
    with pytest.raises(EngineError) as e:
        server.start()
    assert "ended with code 9" in str(e.value)
    assert "ValueError: the weights are made of cheese" in str(e.value)
    assert "\n" not in str(e.value)
    assert not server.is_alive


def test_a_server_that_dies_later_is_noticed() -> None:
    with ModelServer(scripted("crash=1")) as server:
        engine = open_engine(server.engine_options())
        with pytest.raises(EngineError):
            engine.generate([Prompt((Message("user", "x"),), "p", "1")], Sampling())
        assert server.wait(5) == 3
        with pytest.raises(EngineError, match="ended with code 3"):
            server.check()


def test_one_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    server = ModelServer(scripted("deaf=1", f"grandchild={note}"), Limits(stop_within_s=0.5)).start()
    began = time.monotonic()
    assert server.stop() == -signal.SIGKILL
    assert time.monotonic() - began < 5
    assert gone(int(note.read_text()))


def test_children_go_even_where_the_server_itself_ends_in_order(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    server = ModelServer(scripted(f"grandchild={note}")).start()
    server.stop()
    assert gone(int(note.read_text()))
    assert server.stop() is not None, "stopping again is harmless"


def test_a_server_that_is_too_late_is_stopped() -> None:
    server = ModelServer(scripted("late=60"), Limits(start_within_s=0.6, stop_within_s=1))
    with pytest.raises(EngineError, match=r"not ready within 0\.6 s \(loading the weights\)"):
        server.start()
    assert server.pid
    assert gone(server.pid)


def test_noise_never_blocks_it_and_the_key_is_in_no_line(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with ModelServer(scripted("noise=5000", "tell_key=1"), log=log) as server:
        told = "\n".join(server.tail(5000))
        assert "my key is [key]" in told
        assert server.key not in told
        words = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert server.key.encode() not in words
    assert server.key not in log.read_text("utf-8")
    assert len(log.read_text("utf-8").splitlines()) > 5000


def test_each_server_has_a_key_of_its_own() -> None:
    keys = {ModelServer(scripted()).key for _ in range(3)}
    assert len(keys) == 3
    assert min(map(len, keys)) >= 40


def test_the_port_is_kept_for_it_while_it_loads() -> None:
    command = scripted("late=1")
    server = ModelServer(command)
    server._take_port()
    try:
        port = server._port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))
    finally:
        server._leave_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match="is taken"):
            ModelServer(command, port=taken.getsockname()[1]).start()


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with ModelServer(scripted()) as server:
        assert server.is_alive


def test_what_cannot_be_started_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot start"):
        ModelServer(Command((str(tmp_path / "nothing"),), {}, "tiny")).start()
    server = ModelServer(scripted())
    assert (server.stop(), server.wait(), server.is_alive) == (None, None, False)


FOREGROUND = """
import sys
from serve.launching import foreground
from serve.launching.launch import ModelServer, Limits
sys.path.insert(0, {tests!r})
import model_child
raise SystemExit(foreground._run(ModelServer(model_child.scripted({words}), Limits(stop_within_s={grace}))))
"""


def in_foreground(words: str = "", grace: float = 10.0) -> tuple[subprocess.Popen[str], dict[str, str]]:
    code = FOREGROUND.format(tests=str(REPO / "tests"), words=words, grace=grace)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        lines = [process.stdout.readline().removeprefix("export ").strip() for _ in range(3)]
    return process, dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_stops_it_in_order(number: signal.Signals, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    process, told = in_foreground(f'"grandchild={note}"')
    assert told["AFFECTGPT_MODEL"] == "tiny"
    assert told["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    process.send_signal(number)
    assert process.wait(10) == 0
    assert gone(int(note.read_text()))


def test_in_the_foreground_a_second_signal_stops_it_at_once() -> None:
    process, _ = in_foreground('"deaf=1"', grace=60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.wait(10)


def test_a_launcher_whose_parent_is_gone_ends_its_server(tmp_path: Path) -> None:
    """The real launcher's own watch, under a parent that is killed without a chance to clean up."""
    launcher = REPO / "serve" / "vllm" / "affectgpt_vllm.py"
    child = f"import sys,time; sys.path.insert(0, {str(launcher.parent)!r}); import affectgpt_vllm as a, os\n"
    child += "a.end_with(int(os.environ['AFFECTGPT_PARENT'])); time.sleep(60)"
    parent = (
        "import os,subprocess,sys,time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True, "
        "env={**os.environ, 'AFFECTGPT_PARENT': str(os.getpid())})\n"
        "print(p.pid, flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        pid = int(process.stdout.readline())
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert gone(pid)


# ---------------------------------------------------------------- what it says


def test_faults_are_found_under_vllms_prefixes_and_shown_once() -> None:
    lines = [
        "INFO all is well",
        "(EngineCore pid=7) ERROR 11-21 01:02:03 [core.py:1] torch.OutOfMemoryError: no room \x1b[31m",
        "(EngineCore pid=7) ERROR 11-21 01:02:03 [core.py:1] torch.OutOfMemoryError: no room \x1b[31m",
        "RuntimeError: Engine core initialization failed",
        "bye",
    ]
    assert blame(lines) == "torch.OutOfMemoryError: no room [31m | RuntimeError: Engine core initialization failed"
    assert blame(["one", "two"]) == "one | two"
    assert blame([]) == ""


def test_stages_are_told_and_settings_are_not_mistaken_for_them() -> None:
    assert stage_of("(EngineCore pid=4) INFO [x.py:68] Starting to load model /m...") == "loading the weights"
    assert stage_of("INFO:     Application startup complete.") == "opening the door"
    assert stage_of("non-default args: {'x': 'Starting to load model'}") is None
    assert stage_of("nothing") is None


def test_a_progress_line_is_written_once_a_stage_where_nobody_watches() -> None:
    import io

    stream = io.StringIO()
    tell = progress_line(stream)
    for stage, seconds in (("starting", 0.0), ("starting", 1.0), ("loading", 2.0), ("ready", 3.0)):
        tell(stage, seconds)
    assert stream.getvalue().splitlines() == ["vllm: starting, 0 s", "vllm: loading, 2 s", "vllm: ready, 3 s"]
