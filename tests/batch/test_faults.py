"""A job against a real server that misbehaves and media that break their readers: every row ends, the job goes on."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import bombs
import pytest
from batch_fakes import FakeReader, ListSource, clips
from batch_rows import QuickAppraiser
from full_disk import full_after

import affectgpt.batch
from affectgpt.batch.job import Job, Means, Selection, engine_options, run
from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.reading import PooledReader, Reader
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.servers import Patience
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.engines.http import HttpEngine
from affectgpt.errors import OutputError
from affectgpt.readers import AgentOptions
from affectgpt.workers import Limits

CONCLUDED = (
    "**Key observations**\n- Seen [F1]\n**Interpretation**\nIt may be joy [F1].\n**Conclusion**\nEmotions: glad\n"
    "Label: happy\nValence: 0.5\nArousal: 0.2\nDominance: 0.1\nConfidence: 0.5"
)
Mood = Callable[[int], tuple[int, float]]
"""From the number of a request to the status that it gets and the seconds that it takes; status 0 hangs up."""


class Server(ThreadingHTTPServer):
    """Answers chat completions as its mood is."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, mood: Mood, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.mood, self.n_asked, self.n_inside, self.n_most = mood, 0, 0, 0
        self.turn = threading.Lock()
        self.sockets: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.turn:
            number, self.server.n_asked = self.server.n_asked, self.server.n_asked + 1
            self.server.n_inside += 1
            self.server.n_most = max(self.server.n_most, self.server.n_inside)
        status, seconds = self.server.mood(number)
        time.sleep(seconds)
        with self.server.turn:
            self.server.n_inside -= 1
        if status == 0:
            self.close_connection = True
            return
        message = {"role": "assistant", "content": CONCLUDED}
        document = {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
        }
        self.send(status, document if status == 200 else {"error": {"message": "not now"}})

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "somebody"}]})

    def send(self, status: int, document: Any) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving(mood: Mood, port: int = 0) -> Iterator[Server]:
    """A server until the block ends; then nothing answers at its port, and open connections break."""
    server = Server(mood, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for socket in list(server.sockets):
            socket.close()


@contextmanager
def asking(server: Server, timeout_s: float = 10.0) -> Iterator[HttpEngine]:
    """An engine that asks this server, until the block ends."""
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    engine = open_engine(engine_options(EngineOptions(base_url=url, model="m", timeout_s=timeout_s)), {})
    assert isinstance(engine, HttpEngine)
    try:
        yield engine
    finally:
        engine.close()


def job(folder: Path, rows: list[Item | BadItem], engine: Engine, **more: Any) -> Job:
    ledger = open_ledger(folder / "rows.jsonl")
    patience = more.pop("patience", Patience(attempts=12, outage_s=30.0, unit_s=0.01))
    reader: Callable[[], Reader] = more.pop("reader", FakeReader)
    means = Means(folder / "means", n_workers=2, n_requests=8, patience=patience)
    return Job(
        ListSource(rows),
        ledger,
        engine,
        means,
        AgentOptions(revisions=0),
        appraiser=QuickAppraiser(),
        reader=reader,
        rows=ledger.rows,
        **more,
    )


def ids_kept(folder: Path) -> list[str]:
    return sorted(json.loads(line)["id"] for line in (folder / "rows.jsonl").read_text("utf-8").splitlines())


# ---------------------------------------------------------------- the server


@pytest.mark.parametrize("storm", ["429", "500", "time-outs", "hang-ups", "all at once"])
def test_a_storm_costs_no_row(tmp_path: Path, storm: str) -> None:
    weather = random.Random(storm)
    kinds = {"429": (429, 0.0), "500": (500, 0.0), "time-outs": (200, 1.2), "hang-ups": (0, 0.0)}

    def mood(number: int) -> tuple[int, float]:
        if number >= 100 or weather.random() < 0.5:
            return 200, 0.0
        return weather.choice([*kinds.values()]) if storm == "all at once" else kinds[storm]

    rows: list[Item | BadItem] = [*clips(tmp_path, 30)]
    with serving(mood) as server, asking(server, timeout_s=0.6) as engine:
        told = run(job(tmp_path, rows, engine))
    assert (told["run"]["ok"], told["run"]["failed"]) == (30, 0)
    assert ids_kept(tmp_path) == [row.id for row in rows]
    if storm != "hang-ups":
        assert told["run"]["retried"] > 0


def test_a_server_that_restarts_in_the_middle_costs_no_row(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 60)]
    got: dict[str, Any] = {}
    ends = ExitStack()
    with serving(lambda _: (200, 0.01)) as first:
        port = first.server_address[1]
        engine = ends.enter_context(asking(first))
        thread = threading.Thread(target=lambda: got.update(run(job(tmp_path, rows, engine))))
        thread.start()
        until = time.monotonic() + 30
        while first.n_asked < 15:
            assert time.monotonic() < until
            time.sleep(0.005)
    time.sleep(0.3)
    with ends, serving(lambda _: (200, 0.0), port):
        thread.join(60)
    assert (got["run"]["ok"], got["run"]["failed"]) == (60, 0)
    assert ids_kept(tmp_path) == [row.id for row in rows]


def test_while_one_of_two_servers_restarts_the_other_does_its_rows(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 60)]
    got: dict[str, Any] = {}
    with serving(lambda _: (200, 0.01)) as steady, ExitStack() as ends:
        with serving(lambda _: (200, 0.01)) as first:
            port = first.server_address[1]
            engines = [ends.enter_context(asking(server)) for server in (steady, first)]
            work = job(tmp_path, rows, engines[0], others=(engines[1],))
            thread = threading.Thread(target=lambda: got.update(run(work)))
            thread.start()
            until = time.monotonic() + 60
            while min(first.n_asked, steady.n_asked) < 5:
                assert time.monotonic() < until
                time.sleep(0.005)
        with serving(lambda _: (200, 0.0), port):
            thread.join(120)
    assert (got["run"]["ok"], got["run"]["failed"]) == (60, 0)
    assert got["measured"]["servers"] == 2
    assert ids_kept(tmp_path) == [row.id for row in rows]


def test_a_server_gets_as_much_at_once_as_it_lets_in(tmp_path: Path) -> None:
    server: Server

    def mood(_: int) -> tuple[int, float]:
        return (200, 0.1) if server.n_inside <= 3 else (429, 0.0)

    with serving(mood) as server, asking(server) as engine:
        told = run(job(tmp_path, [*clips(tmp_path, 80)], engine))
    assert told["run"]["ok"] == 80
    assert told["run"]["limit"] <= 5
    assert 0 < told["run"]["busy"] < 80


# ---------------------------------------------------------------- the disk


def test_a_full_disk_ends_the_job_and_the_same_goes_on_when_there_is_room(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 30)]
    with full_after(20_000), pytest.raises(OutputError, match=r"rows\.jsonl.*cannot be written"):
        run(job(tmp_path, rows, EchoEngine()))
    part = (tmp_path / "rows.jsonl.part").read_bytes()
    n_kept = part.count(b"\n")
    assert 0 < n_kept < 30
    assert part.endswith(b"\n"), "no half row is left"
    told = run(job(tmp_path, rows, EchoEngine()))
    assert (told["run"]["kept"], told["run"]["ok"]) == (n_kept, 30 - n_kept)
    assert ids_kept(tmp_path) == [row.id for row in rows]


# ---------------------------------------------------------------- the media


def orders(folder: Path, n: int, acts: dict[int, str]) -> list[Item]:
    """Clips that tell their reader what to do, in JSON; no two are alike."""
    marks = folder / "marks"
    return clips(folder, n, lambda k: json.dumps({"marks": str(marks), "act": acts.get(k), "n": k}))


def pooled() -> PooledReader:
    return PooledReader(2, Limits(seconds=1.5, memory_bytes=2 << 30), task=bombs.obey, warm=bombs.warm)


def test_media_that_break_their_reader_cost_one_worker_each_and_are_named(tmp_path: Path) -> None:
    acts = {2: "crash", 5: "spin", 9: "allocate", 11: "fail"}
    rows: list[Item | BadItem] = [*orders(tmp_path, 14, acts)]
    told = run(job(tmp_path, rows, EchoEngine(), reader=pooled))
    assert (told["run"]["ok"], told["run"]["failed"]) == (10, 4)
    failed = {
        row["id"]: row["error"]
        for row in map(json.loads, (tmp_path / "rows.jsonl").read_text("utf-8").splitlines())
        if row["status"] == "failed"
    }
    kinds = {id: error["type"] for id, error in failed.items()}
    assert kinds == {
        "clip00002.mp4": "WorkerDied",
        "clip00005.mp4": "WorkerTimeout",
        "clip00009.mp4": "WorkerOverMemory",
        "clip00011.mp4": "UnreadableMedia",
    }
    assert all(error["stage"] == "read" and error["attempts"] == 1 for error in failed.values())
    assert all(id in error["message"] for id, error in failed.items())
    assert (tmp_path / "marks").stat().st_size == 14, "each was read once: what broke its reader is not tried again"


@pytest.mark.slow
def test_one_corrupt_medium_in_ten_costs_its_own_row_alone(tmp_path: Path) -> None:
    """Real readers over real bytes."""
    from clips import speech_wav

    whole = speech_wav("I got the job").read_bytes()
    dice = random.Random(3)
    rows: list[Item | BadItem] = []
    for n in range(20):
        path = tmp_path / f"said {n} é.wav"
        path.write_bytes(dice.randbytes(2000) if n % 10 == 4 else whole + bytes(n))
        rows.append(Item(path.name, n + 1, str(path)))
    told = run(job(tmp_path, rows, EchoEngine(), reader=lambda: PooledReader(1)))
    assert (told["run"]["ok"], told["run"]["failed"]) == (18, 2)
    assert {f["type"] for f in told["rows"]["failures"]} == {"UnreadableMedia"}


# ---------------------------------------------------------------- names


def test_long_and_foreign_names_are_rows_like_others(tmp_path: Path) -> None:
    names = ["a" * 240 + ".mp4", "Ω≈ç√ 漢字 🎬.mp4", "sp ace\u0301.mp4", "-o --json.mp4", "'quo\"te'.mp4", "%s{}.mp4"]
    rows: list[Item | BadItem] = []
    for n, name in enumerate(names, 1):
        path = tmp_path / name
        path.write_text(f"clip {n} says hello")
        rows.append(Item(str(path) if n == 1 else name, n, str(path)))
    rows.append(Item("x" * 300, 7, transcript="words"))
    told = run(job(tmp_path, rows, EchoEngine()))
    assert told["run"]["ok"] == 7
    assert ids_kept(tmp_path) == sorted(row.id or "" for row in rows)
    again = run(job(tmp_path, rows, EchoEngine()))
    assert again["run"]["kept"] == 7


def test_rows_of_one_id_are_one_row_and_failures_that_say_so(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [replace(item, id="same") for item in clips(tmp_path, 3)]
    work = job(tmp_path, rows, EchoEngine())
    told = run(replace(work, source=Selection(work.source)))
    assert (told["run"]["ok"], told["run"]["failed"]) == (1, 2)
    assert ids_kept(tmp_path) == ["same", "same#2", "same#3"]
    (failure,) = told["rows"]["failures"]
    assert (failure["n"], failure["stage"]) == (2, "source")
    assert "is that of row 1 too" in failure["examples"][0]["message"]


# ---------------------------------------------------------------- the clock


def test_nothing_is_decided_by_the_time_of_day() -> None:
    """A clock that is set back or forth cannot matter to what never looks at it; a result's `created` is told alone."""
    asks = re.compile(r"\btime\.time\(|\bdatetime\.(now|today|utcnow)\(|\bdate\.today\(|\bfrom time import\b")
    modules = sorted(Path(affectgpt.batch.__file__).parent.rglob("*.py"))
    assert len(modules) > 20
    told = {path.name: len(asks.findall(path.read_text("utf-8"))) for path in modules}
    assert {name: n for name, n in told.items() if n} == {"openai_results.py": 1}
