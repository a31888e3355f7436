"""Builds that other machines can break: a teacher behind HTTP, and a disk that fills up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from affectgpt.errors import EngineUnreachable
from affectgpt.parsing import parse_text
from affectgpt.records import Explanation
from instruction_data.build import build
from instruction_data.card import describe
from instruction_data.recipe import Recipe, load_recipe
from instruction_data.store import read_rows


class Teacher(ThreadingHTTPServer):
    """An OpenAI-compatible server that weighs every observation it is shown; every fifth answer is a refusal."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Chat)
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def answer(self, asked: dict[str, Any]) -> str:
        with self.lock:
            self.asked.append(asked)
            n = len(self.asked)
        if n % 5 == 0:
            return "I'm sorry, but as an AI I cannot tell what people feel."
        shown = asked["messages"][-1]["content"]
        ids = re.findall(r"^\[([A-Z]\d+)\]", shown, re.MULTILINE)
        cited = " ".join(f"[{i}]" for i in ids)
        reasons = f"Nothing is left aside here: {cited} were read together. Another reading cannot be excluded."
        conclusion = {
            "emotions": ["content"],
            "label": "happy",
            "valence": 0,
            "arousal": 0,
            "dominance": 0,
            "confidence": 0.5,
        }
        return json.dumps({"key_observations": ["x"], "interpretation": reasons, "conclusion": conclusion})


class Chat(BaseHTTPRequestHandler):
    server: Teacher

    def do_GET(self) -> None:
        self.send({"object": "list", "data": [{"id": "big-teacher", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": self.server.answer(asked)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.send(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        )

    def send(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    server = Teacher()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def recipe(out: Path, port: int, *more: str) -> Recipe:
    given = [f"out={out}", f"tracks={out}-t", "rows={train: 20}", "tasks={explain: 1}", "writer.kind=teacher"]
    return load_recipe("drawn", [*given, f"writer.engine.base_url=http://127.0.0.1:{port}/v1", *more])


def test_a_teacher_writes_the_reasons_and_its_refusals_are_counted(teacher: Teacher, tmp_path: Path) -> None:
    out = build(recipe(tmp_path / "out", teacher.server_port))
    rows = list(read_rows(out / "train.jsonl"))
    assert len(rows) == 20
    for row in rows:
        assert (row.provenance.writer, row.provenance.writer_version) == ("teacher", "http:big-teacher")
        answer = parse_text(row.answer)
        assert isinstance(answer, Explanation)
        assert answer.interpretation.startswith("Nothing is left aside here")
        # The first part is restated and the label is the evidence's, whatever the teacher says of it.
        assert answer.observations != ("x",)
    assert len({parse_text(r.answer).conclusion.label for r in rows}) > 1  # type: ignore[union-attr]
    assert describe(out)["dropped"]["train"]["explain: refusal: the writer refuses"] > 0
    told = teacher.asked[0]["messages"]
    assert re.search(r"The evidence comes to: \w+", told[-1]["content"])
    # What trains is what is asked at inference: the teacher's own instructions are not in the row.
    assert "comes to" not in rows[0].messages[-2].content


def test_a_blind_teacher_is_told_nothing_and_must_find_the_label(teacher: Teacher, tmp_path: Path) -> None:
    out = build(recipe(tmp_path / "out", teacher.server_port, "writer.is_told=false", "rows={train: 3}"))
    assert all("comes to" not in a["messages"][-1]["content"] for a in teacher.asked)
    labels = {parse_text(r.answer).conclusion.label for r in read_rows(out / "train.jsonl")}  # type: ignore[union-attr]
    assert labels == {"happy"}
    assert describe(out)["dropped"]["train"]["explain: blind: the label is not recovered from the cues cited"] > 0


def test_a_server_that_goes_down_stops_the_build_which_then_goes_on(teacher: Teacher, tmp_path: Path) -> None:
    port = teacher.server_port
    with pytest.raises(EngineUnreachable):
        build(recipe(tmp_path / "out", 9, "writer.engine.model=big-teacher"))
    assert not (tmp_path / "out" / "train.jsonl").exists()
    # At which address a model answers decides no row: the build goes on with the server that is up.
    out = build(recipe(tmp_path / "out", port, "writer.engine.model=big-teacher"))
    assert len(list(read_rows(out / "train.jsonl"))) == 20


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from affectgpt.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_full_disk_ends_in_one_line_and_the_build_goes_on_when_there_is_room(tmp_path: Path) -> None:
    given = ["drawn", f"tracks={tmp_path / 't'}", "rows={train: 40, dev: 4}", "workers=1"]
    whole = build(load_recipe("drawn", [*given[1:], f"out={tmp_path / 'whole'}"]))
    command = [sys.executable, "-c", LIMITED, "data", "build", *given, f"out={tmp_path / 'full'}", "--quiet"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "File too large" in ended.stderr
    assert not (tmp_path / "full" / "train.jsonl").exists()
    again = build(load_recipe("drawn", [*given[1:], f"out={tmp_path / 'full'}"]))
    assert (again / "train.jsonl").read_bytes() == (whole / "train.jsonl").read_bytes()
