"""Traces: real spans to a real collector on the loopback, related as they should be; and a word that is nowhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fakes import Talker, behind, crew, running, wait_for

from affectgpt.errors import EngineError, OptionError
from serve.incoming.intake import FolderIntake
from serve.parts import Parts
from serve.tracing import open_tracing
from serve.upstream import Upstream

SECRET = "Xylophontragedy"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CHAT = {"model": "affectgpt", "messages": [{"role": "user", "content": f"I am so tired, {SECRET}."}]}


class Collector(ThreadingHTTPServer):
    """Takes OTLP in JSON. `bodies` are what came, `headers` with what; `status` is what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.bodies: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[dict[str, Any]]:
        scopes = [s for body in self.bodies for r in json.loads(body)["resourceSpans"] for s in r["scopeSpans"]]
        return [span for scope in scopes for span in scope["spans"]]


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])).decode())
        self.server.headers.append({"path": self.path, **{name.lower(): v for name, v in self.headers.items()}})
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def parts(env: dict[str, str], engine: Any = None) -> Parts:
    tracing = open_tracing(env=env)
    assert tracing is not None
    intake = FolderIntake(10**6)
    return Parts(crew(engine or Talker()), intake, tracing=tracing, closing=[intake.close, tracing.close])


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_turn_is_a_trace_from_the_request_to_the_models(collector: Collector) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a%20b,x-key=c=d",
        "OTEL_SERVICE_NAME": "front",
    }
    with running(parts=parts(env)) as gateway:
        httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json=CHAT,
            headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
            timeout=30,
        )
    (headers,) = collector.headers
    assert (headers["path"], headers["content-type"]) == ("/v1/traces", "application/json")
    assert (headers["x-team"], headers["x-key"]) == ("a b", "c=d")
    resource = json.loads(collector.bodies[0])["resourceSpans"][0]["resource"]["attributes"]
    assert {"key": "service.name", "value": {"stringValue": "front"}} in resource
    spans = {span["name"]: span for span in collector.spans()}
    request, turn = spans["POST /v1/chat/completions"], spans["invoke_agent affectgpt"]
    assert {span["traceId"] for span in spans.values()} == {TRACE}
    assert (request["kind"], request["parentSpanId"]) == (2, "b7ad6b7169203331")
    assert attributes(request)["http.response.status_code"] == "200"
    assert turn["parentSpanId"] == request["spanId"]
    assert attributes(turn)["affectgpt.finish_reason"] == "stop"
    stages = [span for span in collector.spans() if span.get("parentSpanId") == turn["spanId"]]
    assert {attributes(span)["affectgpt.stage"] for span in stages} >= {"appraise", "answer", "check", "reply"}
    for span in stages:
        assert int(turn["startTimeUnixNano"]) <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) <= int(turn["endTimeUnixNano"])
    chat = [attributes(span) for span in collector.spans() if span["name"] == "chat talker-1"]
    assert len(chat) == 2
    assert all(one["gen_ai.operation.name"] == "chat" and int(one["gen_ai.usage.output_tokens"]) > 0 for one in chat)
    assert SECRET not in "".join(collector.bodies)


def test_a_failure_is_marked_by_its_kind_and_not_by_its_words(collector: Collector) -> None:
    env = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/own/path"}
    with running(parts=parts(env, Talker(error=EngineError(SECRET, SECRET)))) as gateway:
        assert httpx.post(f"{gateway.url}/v1/chat/completions", json=CHAT).status_code == 502
    assert collector.headers[0]["path"] == "/own/path"
    spans = {span["name"]: span for span in collector.spans()}
    assert spans["invoke_agent affectgpt"]["status"] == {"code": 2}
    assert attributes(spans["invoke_agent affectgpt"])["error.type"] == "EngineError"
    assert attributes(spans["POST /v1/chat/completions"])["error.type"] == "502"
    assert SECRET not in "".join(collector.bodies)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_collector_that_fails_costs_no_answer(
    collector: Collector, is_there: bool, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 503
    url = collector.url if is_there else "http://127.0.0.1:9"
    with running(parts=parts({"OTEL_EXPORTER_OTLP_ENDPOINT": url})) as gateway:
        assert httpx.post(f"{gateway.url}/v1/chat/completions", json=CHAT, timeout=30).status_code == 200
    assert sum("traces cannot be sent" in record.message for record in caplog.records) == 1


def test_the_server_behind_may_go_on_from_the_request(collector: Collector) -> None:
    seen: list[str | None] = []
    tracing = open_tracing(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    intake = FolderIntake(10**6)
    with behind() as server:
        upstream = Upstream(server.url)
        own = Parts(crew(Talker()), intake, upstream, tracing=tracing, closing=[intake.close])
        handler = server.RequestHandlerClass

        class Noting(handler):  # type: ignore[misc, valid-type]
            def do_POST(self) -> None:  # noqa: N802 - so the library calls it
                seen.append(self.headers.get("traceparent"))
                super().do_POST()

        server.RequestHandlerClass = Noting
        with running(parts=own) as gateway:
            body = {**CHAT, "model": "base"}
            httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=30)
    assert tracing is not None
    tracing.close()
    (request,) = [span for span in collector.spans() if span["name"].startswith("POST")]
    assert [one and one[:-2] for one in seen] == [f"00-{request['traceId']}-{request['spanId']}-"]


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_collector_there_are_no_traces(env: dict[str, str]) -> None:
    assert open_tracing(env=env) is None


@pytest.mark.parametrize(
    ("env", "local_only", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example"}, True, "collector.example"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://10.0.0.1/v1/traces"}, True, "local-only"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, False, "URL"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            False,
            "gRPC",
        ),
    ],
)
def test_what_cannot_be_traced_to_is_refused_at_the_start(env: dict[str, str], local_only: bool, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        open_tracing(env=env, local_only=local_only)


# ---------------------------------------------------------------- a word through every door


@contextmanager
def served(folder: Path, collector: Collector) -> Iterator[tuple[str, Path]]:
    """(address, what it writes) of `affectgpt serve` as one starts it, page and history included."""
    written = folder / "written.txt"
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "AFFECTGPT_"))},
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "AFFECTGPT_CACHE": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
        "AFFECTGPT_SERVE_N_WORKERS": "1",
    }
    words = [sys.executable, "-c", "from affectgpt.cli import main; main()", "serve", "--port", "0", "--engine", "echo"]
    with written.open("w") as out, subprocess.Popen(words, stdout=out, stderr=out, env=env) as process:
        wait_for(lambda: "serves at" in written.read_text() or process.poll() is not None, within_s=120)
        found = re.search(r"serves at (\S+)", written.read_text())
        assert found is not None, written.read_text()
        try:
            yield found[1], written
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.slow
def test_a_word_that_goes_through_every_door_is_written_nowhere(tmp_path: Path, collector: Collector) -> None:
    with served(tmp_path, collector) as (url, written), httpx.Client(base_url=url, timeout=120) as client:
        chat = "/v1/chat/completions"
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SECRET}"}}
        bodies: list[Any] = [
            CHAT,
            {**CHAT, "stream": True},
            {**CHAT, "model": SECRET},
            {**CHAT, "locale": SECRET, "transcript": SECRET, "setting": SECRET},
            {**CHAT, "messages": [{"role": SECRET, "content": SECRET}]},
            {**CHAT, "messages": [{"role": "user", "content": [image, {"type": SECRET, SECRET: 1}]}]},
            {**CHAT, "messages": [{"role": "user", "content": f"I want to kill myself. {SECRET}"}]},
            {**CHAT, "temperature": SECRET, SECRET: SECRET},
        ]
        for body in bodies:
            client.post(chat, json=body)
        odd = {"x-request-id": SECRET, "user-agent": SECRET, "referer": SECRET, "baggage": SECRET, "cookie": SECRET}
        client.post(chat, json=CHAT, headers=odd | {"authorization": f"Bearer {SECRET}"})
        client.post(chat, content=f"{{{SECRET}", headers={"content-type": "application/json"})
        client.post(chat, content=SECRET, headers={"content-type": SECRET})
        for name, content in ((f"{SECRET}.mp4", b"\x00\x00\x00\x18ftypisom" + SECRET.encode()), (SECRET, b"x")):
            for path in ("/v1/explain", "/v1/audio/transcriptions"):
                client.post(path, files={"file": (name, content)}, data={"transcript": SECRET})
        client.post("/v1/explain", files={"file": (f"{SECRET}.txt", f"{SECRET} is sad.".encode())})
        client.post("/v1/explain", data={SECRET: SECRET})
        made = client.post("/v1/conversations", json={"title": SECRET}).json()
        for path in (f"/v1/{SECRET}", f"/{SECRET}", f"/web/{SECRET}", f"/web/stage/{SECRET}", f"/gradio_api/{SECRET}"):
            client.get(path, params={"q": SECRET})
            client.delete(path)
        client.get("/v1/conversations/search", params={"q": SECRET})
        client.patch(f"/v1/conversations/{made.get('id', SECRET)}", json={"title": SECRET * 2})
        client.post("/web/key", json={"secret": SECRET})
        client.post("/gradio_api/queue/join", json={"data": [SECRET], "fn_index": 0, "session_hash": SECRET})
        client.post("/gradio_api/upload", files={"files": (SECRET, SECRET.encode())})
        client.request(SECRET.upper(), "/health")
        figures = client.get("/metrics").text
        wait_for(lambda: written.read_text().count('"request"') > 10)
    told = written.read_text()
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert sum(line.get("event") == "turn" for line in lines) >= 3
    assert collector.spans()
    for text in (told, figures, "".join(collector.bodies)):
        assert SECRET.lower() not in text.lower()
    # Once it serves, everything is JSON: before, a terminal is shown how far the loading is.
    assert all(line.startswith("{") for line in told.partition(f"affectgpt serves at {url}\n")[2].splitlines())
