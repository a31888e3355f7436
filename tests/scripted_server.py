"""An OpenAI-compatible server on the loopback that answers from a script and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from affectgpt.engines.engine import EngineOptions, open_engine


def reply(text: str | None, finish: str = "stop", **extra: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **extra}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
    }


class Scripted(ThreadingHTTPServer):
    """Answers POSTs from `script` in turn (the last one for ever), and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Any] = [(200, reply("fine"))]
        self.models: Any = ["m"]
        self.owner = "somebody"
        self.later = ""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.turn = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def open(self, **options: Any) -> Any:
        options = {"model": "m", "timeout_s": 10.0, "n_retries": 2, **options}
        return open_engine(EngineOptions(base_url=self.url, **options), {})


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        models = self.server.models
        owner = self.server.owner
        listed = {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in models]}
        self.send(200, listed if isinstance(models, list) else models)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            self.server.asked.append(asked)
            self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
            status, body = self.server.script[0]
            if len(self.server.script) > 1:
                self.server.script.pop(0)
        self.send(status, body(asked) if callable(body) else body)

    def send(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        is_events = raw.startswith(b"data:")
        self.send_header("Content-Type", "text/event-stream" if is_events else "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if status == 307:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("retry-after-ms", "1")
        if self.server.later:
            self.send_header("retry-after", self.server.later)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    """One that runs until the end of the `with`."""
    scripted = Scripted()
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()
