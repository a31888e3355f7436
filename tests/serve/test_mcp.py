"""`/mcp` as a real MCP client meets it, over a real socket; and what a client that means no good meets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import jsonschema
import pytest
from gateway_fakes import CONCLUSION, Gateway, Reader, Talker, crew, listening, settings, wait_for
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import METHOD_NOT_FOUND, CallToolResult, TextContent

from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import EngineError, PoolFull, UnreadableMedia
from affectgpt.record_json import NOTICE
from serve.api.keys import KeyLimits, KeyRing
from serve.api.mcp_api import TOOL
from serve.gateway import create_app
from serve.incoming.intake import FolderIntake
from serve.parts import Parts

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)
SAD = "I am so tired of all this."
CRISIS = "I want to kill myself tonight."
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}

_T = TypeVar("_T")


@contextmanager
def serving(engine: Any = None, reader: Any = None, *, parts: Parts | None = None, **given: Any) -> Iterator[Gateway]:
    """A gateway on the loopback, over fakes unless `parts` are given."""
    chosen = settings(**given)
    engine, reader = engine or Talker(), reader or Reader()
    intake = FolderIntake(chosen.max_upload_bytes)
    app = create_app(chosen, parts or Parts(crew(engine, reader), intake, closing=[intake.close]))
    with listening(app) as url:
        yield Gateway(url, app.state.doors.turns, engine, reader, intake.folder)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with serving() as running:
        yield running


@asynccontextmanager
async def session(gateway: Gateway, key: str | None = None) -> AsyncIterator[ClientSession]:
    """MCP's own client."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(f"{gateway.url}/mcp", http_client=http) as (read, write, _),
        ClientSession(read, write) as client,
    ):
        await client.initialize()
        yield client


def with_client(gateway: Gateway, work: Callable[[ClientSession], Awaitable[_T]], key: str | None = None) -> _T:
    async def run() -> _T:
        async with session(gateway, key) as client:
            return await work(client)

    return asyncio.run(run())


def call(gateway: Gateway, **arguments: Any) -> CallToolResult:
    async def work(client: ClientSession) -> CallToolResult:
        return await client.call_tool(TOOL.name, arguments)

    return with_client(gateway, work)


def text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def data_url(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def post(gateway: Gateway, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{gateway.url}/mcp", content=content, headers={**HEADERS, **headers}, timeout=20)


# ---------------------------------------------------------------- what a client gets


def test_one_tool_is_listed_and_says_what_it_takes_and_gives(gateway: Gateway) -> None:
    async def work(client: ClientSession) -> Any:
        return (await client.list_tools()).tools

    (tool,) = with_client(gateway, work)
    assert tool == TOOL
    for schema in (tool.inputSchema, tool.outputSchema):
        jsonschema.Draft202012Validator.check_schema(schema)
    assert all(row.get("description") for row in tool.inputSchema["properties"].values())
    assert "path" not in tool.inputSchema["properties"]
    assert "not what they feel" in tool.description


def test_a_clip_is_explained_in_words_and_as_a_document(gateway: Gateway) -> None:
    result = call(gateway, media=data_url(MP4), transcript=SAD, subject=1, modalities=["face", "speech"])
    assert not result.isError
    document = result.structuredContent
    assert document is not None
    assert text(result) == f"{document['reasoning'].strip()}\n\n{NOTICE}"
    assert document["reasoning"].endswith(CONCLUSION)
    assert document["ai_generated"] is True
    assert document["model"] == "talker-1"
    assert document["outcome"]["decision"]["label"] == "sad"
    assert document["outcome"]["transcript"]["utterances"][0]["text"] == SAD
    assert {o["modality"] for o in document["outcome"]["observations"]} == {"face", "speech"}
    path, options, content = gateway.reader.read[-1]
    assert content == MP4
    assert options.face.subject == 1
    assert str(path.parent) not in json.dumps(document)


def test_words_alone_are_explained(gateway: Gateway) -> None:
    n_read = len(gateway.reader.read)
    document = call(gateway, transcript=SAD).structuredContent
    assert document is not None
    assert document["outcome"]["clip"] is None
    assert len(gateway.reader.read) == n_read


def test_nothing_is_replied_and_no_file_stays(gateway: Gateway) -> None:
    call(gateway, media=data_url(MP4))
    assert gateway.engine.prompts("respond") == []
    wait_for(lambda: gateway.files() == [])


def test_stages_are_told_to_whoever_asks_for_progress(gateway: Gateway) -> None:
    told: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def work(client: ClientSession) -> CallToolResult:
        return await client.call_tool(TOOL.name, {"media": data_url(MP4)}, progress_callback=hear)

    assert not with_client(gateway, work).isError
    assert [n for n, _ in told] == list(range(1, len(told) + 1))
    assert {"face 50%", "face 100%", "answer", "check 100%"} <= {message for _, message in told}


def test_several_clients_at_once_get_their_own_answers(gateway: Gateway) -> None:
    async def ask(words: str) -> str:
        async with session(gateway) as client:
            document = (await client.call_tool(TOOL.name, {"transcript": words})).structuredContent
            assert document is not None
            return str(document["outcome"]["transcript"]["utterances"][0]["text"])

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(ask(f"I lost {n} keys.") for n in range(8)))

    assert asyncio.run(all_at_once()) == [f"I lost {n} keys." for n in range(8)]


# ---------------------------------------------------------------- what is told instead


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "send `media`, `transcript`, or both"),
        ({"media": ""}, "send `media`, `transcript`, or both"),
        ({"path": "/etc/passwd"}, "a file is sent as `media`"),
        ({"media": "/etc/passwd"}, "data: URL"),
        ({"media": "file:///etc/passwd"}, "data: URL"),
        ({"media": "http://127.0.0.1:1/clip.mp4"}, "data: URL"),
        ({"media": "data:video/mp4;base64,%%%"}, "base64"),
        ({"media": data_url(bytes(range(1, 255)))}, "of no kind"),
        ({"media": 7}, "media must be"),
        ({"transcript": ["a"]}, "transcript"),
        ({"transcript": SAD, "subject": -1}, "subject"),
        ({"transcript": SAD, "modalities": ["smell"]}, "smell"),
        ({"transcript": SAD, "setting": "home"}, "setting"),
    ],
)
def test_a_wrong_call_is_told_what_would_be_right(gateway: Gateway, arguments: dict[str, Any], says: str) -> None:
    result = call(gateway, **arguments)
    assert result.isError
    assert says in text(result)
    assert result.structuredContent is None
    assert gateway.files() == []


def test_a_tool_that_is_not_there_is_told(gateway: Gateway) -> None:
    async def work(client: ClientSession) -> CallToolResult:
        return await client.call_tool("read_file", {"path": "/etc/passwd"})

    result = with_client(gateway, work)
    assert result.isError
    assert text(result) == "no tool 'read_file'; there is explain_clip"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnreadableMedia("the clip is broken", "send another"), "the clip is broken; send another"),
        (PoolFull("every place is taken", "try again"), "every place is taken; try again"),
        (RuntimeError("the password is hunter2"), "a fault of this server; its log says more"),
    ],
)
def test_what_fails_is_told_and_what_nobody_foresaw_without_its_words(error: Exception, says: str) -> None:
    with serving(reader=Reader(error=error)) as gateway:
        result = call(gateway, media=data_url(MP4))
        assert result.isError
        assert text(result) == says
        wait_for(lambda: gateway.files() == [])


def test_a_model_that_fails_is_told() -> None:
    with serving(Talker(error=EngineError("the model fell over", "try again"))) as gateway:
        assert text(call(gateway, transcript=SAD)) == "the model fell over; try again"


def test_in_a_crisis_the_card_is_the_answer_and_nothing_is_analysed(gateway: Gateway) -> None:
    result = call(gateway, transcript=CRISIS, locale="en-US")
    assert not result.isError
    assert result.structuredContent is not None
    assert result.structuredContent["outcome"] is None
    assert result.structuredContent["finish_reason"] == "content_filter"
    assert text(result).strip() == result.structuredContent["card"]["markdown"].strip()
    assert "988" in text(result)


def test_at_a_workplace_face_and_voice_are_refused() -> None:
    with serving(context="workplace") as gateway:
        document = call(gateway, media=data_url(MP4), transcript=SAD).structuredContent
        assert document is not None
        seen = {o["modality"] for o in document["outcome"]["observations"] if not o["is_missing"]}
        assert seen <= {"speech"}


# ---------------------------------------------------------------- the gate and the limits


def test_with_keys_only_their_holders_come_in_and_no_oftener_than_allowed(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    _, secret = ring.add("anna", KeyLimits(requests_per_minute=6))
    with serving(keys=tmp_path / "keys.json") as gateway:
        assert post(gateway, LIST).status_code == 401
        assert post(gateway, LIST, Authorization="Bearer agpt_wrong").status_code == 401
        assert post(gateway, LIST, **{"Authorization": f"Bearer {secret}"}).status_code == 200

        async def work(client: ClientSession) -> Any:
            return (await client.list_tools()).tools

        assert with_client(gateway, work, secret) == [TOOL]
        last = [post(gateway, LIST, Authorization=f"Bearer {secret}") for _ in range(6)][-1]
        assert last.status_code == 429
        assert int(last.headers["retry-after"]) >= 1


def test_media_count_against_a_keys_hour(tmp_path: Path) -> None:
    _, secret = KeyRing(tmp_path / "keys.json").add("anna", KeyLimits(media_s_per_hour=5))
    with serving(keys=tmp_path / "keys.json") as gateway:

        async def work(client: ClientSession) -> list[CallToolResult]:
            return [await client.call_tool(TOOL.name, {"media": data_url(MP4)}) for _ in range(2)]

        first, second = with_client(gateway, work, secret)
        assert not first.isError
        assert second.isError
        assert "seconds of media an hour" in text(second)


def test_without_keys_a_page_of_a_strange_site_is_refused(gateway: Gateway) -> None:
    assert post(gateway, LIST, Origin="https://evil.example").status_code == 403
    assert post(gateway, LIST, Host="evil.example").status_code == 403
    assert post(gateway, LIST, **{"X-Forwarded-For": "10.0.0.1"}).status_code == 403
    assert post(gateway, LIST).status_code == 200


def test_a_request_that_is_too_large_is_refused_before_it_is_read() -> None:
    with serving(max_inline_bytes=10_000) as gateway:
        n_bytes = 20_000
        large = {**LIST, "params": {"name": TOOL.name, "arguments": {"media": data_url(MP4 + bytes(n_bytes))}}}
        assert post(gateway, large).status_code == 413

        def chunks() -> Iterator[bytes]:
            for _ in range(20):
                yield b" " * 1_000

        unannounced = httpx.post(f"{gateway.url}/mcp", content=chunks(), headers=HEADERS, timeout=20)
        assert unannounced.status_code == 413
        assert post(gateway, LIST).status_code == 200


def test_a_file_that_is_too_large_is_refused() -> None:
    with serving(max_upload_bytes=100) as gateway:
        result = call(gateway, media=data_url(MP4 + bytes(1_000)))
        assert result.isError
        assert "100 bytes" in text(result)
        assert gateway.files() == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_there_are_no_sessions_to_listen_to_or_to_end(gateway: Gateway, method: str) -> None:
    answer = httpx.request(method, f"{gateway.url}/mcp", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"jsonrpc": "2.0"}', b"[" * 10_000, b"\xff\xfe"])
def test_what_is_no_request_is_refused_and_harms_nobody(gateway: Gateway, body: bytes) -> None:
    assert 400 <= post(gateway, body).status_code < 500
    assert post(gateway, LIST).status_code == 200


def test_a_method_that_is_not_there_is_an_error_of_the_protocol(gateway: Gateway) -> None:
    async def work(client: ClientSession) -> int:
        with pytest.raises(McpError) as refused:
            await client.list_prompts()
        return refused.value.error.code

    assert with_client(gateway, work) == METHOD_NOT_FOUND


def test_a_client_that_leaves_stops_its_turn() -> None:
    with serving(reader=Reader(hold=True)) as gateway:
        body = {**LIST, "method": "tools/call", "params": {"name": TOOL.name, "arguments": {"media": data_url(MP4)}}}

        async def leave() -> None:
            async with httpx.AsyncClient(timeout=0.5) as http:
                with pytest.raises(httpx.ReadTimeout):
                    await http.post(f"{gateway.url}/mcp", json=body, headers=HEADERS)

        asyncio.run(leave())
        wait_for(lambda: gateway.reader.n_cancelled == 1)
        wait_for(lambda: gateway.turns.n_running == 0)
        wait_for(lambda: gateway.files() == [])


def test_a_server_that_stops_lets_go_of_its_callers() -> None:
    with serving(reader=Reader(hold=True)) as gateway:
        body = {**LIST, "method": "tools/call", "params": {"name": TOOL.name, "arguments": {"media": data_url(MP4)}}}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{gateway.url}/mcp", json=body, headers=HEADERS, timeout=0.3)
    assert gateway.reader.n_cancelled == 1


# ---------------------------------------------------------------- the real readers


@pytest.mark.slow
def test_the_example_is_explained_by_the_real_readers(repo: Path) -> None:
    chosen = settings()
    with serving(parts=Parts.of(EchoEngine(), chosen)) as gateway:
        clip = (repo / "examples" / "astronaut_smile.mp4").read_bytes()
        result = call(gateway, media=data_url(clip), transcript="I got the job, I can hardly believe it!")
        assert not result.isError
        assert "AU12" in text(result)
        assert result.structuredContent is not None
        observed = result.structuredContent["outcome"]["observations"]
        assert {o["modality"] for o in observed} == {"face", "voice", "speech"}
