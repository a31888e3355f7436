"""A scripted child that stands for vLLM: ready when it says so, and behaving as badly as one can.

Its words are `name=value`: `late` seconds before it listens, `die` with this code at start (`die_beside`: where that
file exists), `crash` at the first question, `words` that it streams, `pause` seconds apart, `deaf` to SIGTERM, a
`grandchild` whose pid is noted, and so on. `vllm_python` makes what stands for a Python that has vLLM.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from serve.launching.command import Command

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
if said.get("die") or os.path.exists(said.get("die_beside", "")):
    print("(EngineCore pid=7) ERROR 11-21 01:02:03 [core.py:1] ValueError: the weights are made of cheese", flush=True)
    print("(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    print("goodbye", flush=True)
    sys.exit(int(said.get("die", "9")))
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
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if said.get("crash"):
            os._exit(3)
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        head = {"id": "x", "object": "c", "created": 0, "model": asked["model"]}
        if not asked.get("stream"):
            return self.send({**head, "choices": [choice]}, 200)
        self.send_response(200); self.end_headers()
        for n in range(int(said.get("words", "1"))):
            self.event({**head, "choices": [{"index": 0, "delta": {"content": "It is well" + ", well" * n + ". "}}]})
            time.sleep(float(said.get("pause", "0")))
        self.event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")
    def event(self, body):
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode()); self.wfile.flush()
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


def vllm_python(folder: Path, *words: str) -> Path:
    """A program that AFFECTGPT_VLLM_PYTHON may name: the scripted child, whatever vLLM would be told."""
    child, python = folder / "child.py", folder / "python"
    child.write_text(CHILD)
    said = " ".join(f"'{word}'" for word in words)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{child}" {said} "$@"\n')
    python.chmod(0o755)
    return python
