"""A language model behind a real server on the loopback, asked with a suite's own prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from affectgpt.errors import EngineUnreachable
from affectgpt.evaluation import run
from affectgpt.evaluation.suite import parse_suite
from affectgpt.evaluation.task import Place

TEXTS = {"I am so happy": "happy", "this is sad": "Label: sadness", "the door": "I cannot say.", "furious!": None}
GOLD = ("happy", "sad", "neutral", "angry")


class Answers(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)  # type: ignore[attr-defined]
        said = next(answer for text, answer in TEXTS.items() if text in body["messages"][-1]["content"])
        if said is None:
            return self._send(400, {"error": {"message": "no such thing"}})
        message = {"role": "assistant", "content": said}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        made = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage}
        return self._send(200, made)

    def _send(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.asked = []  # type: ignore[attr-defined]
    thread = Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def suite(url: str, folder: Path) -> dict[str, Any]:
    rows = [{"id": i, "s": text, "e": e} for i, (text, e) in enumerate(zip(TEXTS, GOLD, strict=True))]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    predictor = {
        "kind": "llm", "engine": "http", "base_url": url, "model": "m",
        "system": "Answer with one word of {labels}.", "prompt": "Before: {context}\nNow: {text}", "max_tokens": 8,
    }  # fmt: skip
    columns = {"id": "id", "text": "s", "label": "e"}
    task = {
        "name": "t", "dataset": {"reader": "jsonl", "path": "x.jsonl", "columns": columns},
        "predictor": predictor, "scorers": ["classification"],
    }  # fmt: skip
    return {"name": "s", "n_resamples": 100, "tasks": [task]}


def test_answers_are_read_and_one_that_fails_takes_no_other_with_it(
    server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    spec = parse_suite(suite(url, tmp_path))
    task = run.run_suite(spec, Place(tmp_path, tmp_path))["tasks"][0]
    assert (task["counts"]["scored"], task["counts"]["unparsed"], task["counts"]["failed"]) == (2, 1, 1)
    assert {s["id"]: s["status"] for s in task["not_scored"]} == {"2": "unparsed", "3": "failed"}
    assert next(f["value"] for f in task["figures"] if f["name"] == "accuracy") == 0.5
    asked = [request["messages"] for request in server.asked]  # type: ignore[attr-defined]
    assert all([m["role"] for m in messages] == ["system", "user"] for messages in asked)
    assert all("contemptuous" in messages[0]["content"] for messages in asked)
    assert "Before: none\nNow: I am so happy" in [messages[1]["content"] for messages in asked]
    n = len(server.asked)  # type: ignore[attr-defined]
    run.run_suite(spec, Place(tmp_path, tmp_path))
    assert len(server.asked) == n  # type: ignore[attr-defined]


def test_a_server_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as closed:
        port = closed.server_address[1]
    with pytest.raises(EngineUnreachable):
        run.run_suite(parse_suite(suite(f"http://127.0.0.1:{port}/v1", tmp_path)), Place(tmp_path, tmp_path))
