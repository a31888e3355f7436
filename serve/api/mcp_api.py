"""`/mcp`: the Model Context Protocol over streamable HTTP: one tool, `explain_clip`, behind the gate of every door.

No session is kept: each request stands for itself, so that any process may take it and none is held for a client that
never returns. Gradio's own MCP server is not used: it would offer the page's handlers as tools, and let them in past
the gate and the limits on what comes in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import FastAPI, Request
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from affectgpt.record_json import NOTICE
from affectgpt.records import Message, Sampling
from affectgpt.versions import own_version
from serve.api.callers import Caller
from serve.api.doors import Doors, counted, outcome_json, take_turn, turn_request
from serve.api.failures import describe
from serve.api.openai_form import ApiError, MediaPart, TurnWishes, error_body, read_wishes
from serve.events import Attachment, Carded, Ended, Event, Staged, TurnRequest

__all__ = ["TOOL", "add_mcp"]

PATH: Final = "/mcp"
_CALLER: Final = "affectgpt.caller"
_TEXT: Final = {"type": "string"}

TOOL: Final = types.Tool(
    name="explain_clip",
    title="Explain what a person seems to feel",
    description=(
        "Explain what a person in a video, a sound, a photograph or a text seems to feel: what was observed in face, "
        "voice and words, each with an id such as [F1], an interpretation that cites the ids, and a conclusion. It "
        "describes how somebody seems, not what they feel. Give `media`, `transcript`, or both. Prohibited in the EU "
        "at a workplace and in education: say `setting`, and words alone are read."
    ),
    inputSchema={
        "type": "object",
        "properties": {
            "media": {**_TEXT, "description": "A video, sound or picture as a data: URL: data:video/mp4;base64,..."},
            "transcript": {**_TEXT, "description": "What is said, as text."},
            "modalities": {
                "type": "array",
                "items": {"enum": ["face", "voice", "speech"]},
                "description": "What to look at; all of them where left out.",
            },
            "subject": {
                "type": "integer",
                "minimum": 0,
                "description": "Which person, counted from 0 in order of appearance.",
            },
            "setting": {"enum": ["workplace", "education"], "description": "Where it was, if there."},
            "locale": {**_TEXT, "description": "Whose help lines are shown where help is needed: a BCP 47 tag."},
        },
        "additionalProperties": False,
    },
    outputSchema={
        "type": "object",
        "properties": {
            "ai_generated": {"const": True},
            "model": _TEXT,
            "finish_reason": {"enum": ["stop", "length", "content_filter"]},
            "reasoning": {**_TEXT, "description": "The three parts: key observations, interpretation, conclusion."},
            "card": {"type": ["object", "null"], "description": "Human help to show, in Markdown; then no analysis."},
            "outcome": {"type": ["object", "null"], "description": "Everything, as `affectgpt explain --json` has it."},
        },
        "required": ["ai_generated", "model", "finish_reason", "reasoning", "card", "outcome"],
    },
    annotations=types.ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False),
)

Tell = Callable[[str], Awaitable[None]]


def add_mcp(app: FastAPI, doors: Doors) -> None:
    """Serve `/mcp` from `app`. Add it before whatever is mounted at `/`."""
    endpoint = _Endpoint(doors)
    app.router.routes.append(Route(PATH, endpoint, methods=["GET", "POST", "DELETE"], include_in_schema=False))
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(whole: FastAPI) -> AsyncIterator[Any]:
        async with outer(whole) as state, endpoint.running():
            yield state

    app.router.lifespan_context = lifespan


class _Endpoint:
    """The ASGI application: the gate first, then the protocol."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What a request needs, which lives as long as the application."""
        manager = StreamableHTTPSessionManager(
            _server(self._doors), stateless=True, max_request_body_size=self._doors.settings.max_inline_bytes
        )
        async with manager.run():
            self._manager = manager
            yield
        self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_CALLER] = await self._doors.gate.caller(Request(scope, receive))
        if scope["method"] != "POST":
            # Without sessions there is nothing to listen to, and none to end.
            body = error_body("this server keeps no sessions: only POST", 405)
            await JSONResponse(body, 405, {"Allow": "POST"})(scope, receive, send)
            return
        assert self._manager is not None, "the application's lifespan has not begun"
        body = await self._body(Request(scope, receive))
        await self._manager.handle_request(scope, _replay(body, receive), send)

    async def _body(self, request: Request) -> bytes:
        """What was sent. Raises ApiError 413 or 400, which the protocol's library would call a fault of its own."""
        body = b"".join([chunk async for chunk in counted(request, self._doors.settings.max_inline_bytes)])
        try:
            await asyncio.to_thread(json.loads, body)
        except (ValueError, RecursionError):
            raise ApiError("the request is no JSON", "send one JSON-RPC message in UTF-8") from None
        return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, then whatever else comes: that the client leaves."""
    left = [body]

    async def again() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again


def _server(doors: Doors) -> Server[Any, Any]:
    server: Server[Any, Any] = Server("affectgpt", own_version(), instructions=NOTICE)

    @server.list_tools()
    async def tools() -> list[types.Tool]:
        return [TOOL]

    @server.call_tool(validate_input=False)  # its messages would hold the clip
    async def call(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        context = server.request_context
        token = context.meta.progressToken if context.meta else None
        n_told = 0

        async def tell(stage: str) -> None:
            nonlocal n_told
            n_told += 1
            if token is not None:
                request_id = str(context.request_id)
                await context.session.send_progress_notification(token, n_told, None, stage, request_id)

        try:
            if name != TOOL.name:
                raise ApiError(f"no tool {name[:80]!r}", f"there is {TOOL.name}")
            return await _explain(doors, context.request.scope[_CALLER], arguments, tell)
        except Exception as error:  # noqa: BLE001 - told as at every other door; one unforeseen without its words
            told = describe(error)[1]["error"]["message"]
            return types.CallToolResult(content=[types.TextContent(type="text", text=told)], isError=True)

    return server


@dataclass(slots=True)
class _Call:
    """What was asked, checked."""

    wishes: TurnWishes
    media: str | None = None
    taken: list[Attachment] = field(default_factory=list)


async def _explain(doors: Doors, caller: Caller, arguments: Mapping[str, Any], tell: Tell) -> types.CallToolResult:
    call = _read(arguments)
    events = take_turn(doors, caller, _turn(doors, call), _arriving(doors, call), call.taken)
    card: dict[str, str] | None = None
    async with aclosing(events):
        async for event in events:
            if stage := _shown(event):
                await tell(stage)
            elif isinstance(event, Carded):
                card = {"markdown": event.markdown, "locale": event.locale}
            elif isinstance(event, Ended):
                return _result(event, card)
    raise AssertionError("a turn ended without saying so")


def _read(arguments: Mapping[str, Any]) -> _Call:
    """Raises ApiError, naming the argument and never what it holds."""
    if unknown := sorted(arguments.keys() - TOOL.inputSchema["properties"].keys()):
        remedy = f"arguments are {', '.join(TOOL.inputSchema['properties'])}; a file is sent as `media`, a data: URL"
        raise ApiError(f"no argument {unknown[0][:40]!r}", remedy)
    media = arguments.get("media")
    if media is not None and not isinstance(media, str):
        raise ApiError("media must be of type str", "send a data: URL")
    wishes = read_wishes(arguments)
    if not media and not wishes.transcript:
        raise ApiError("nothing to explain", "send `media`, `transcript`, or both")
    return _Call(wishes, media or None)


def _turn(doors: Doors, call: _Call) -> TurnRequest:
    words = Message("user", call.wishes.transcript or "")
    return replace(turn_request(doors.settings, [words], call.wishes, Sampling()), is_replied=False)


def _arriving(doors: Doors, call: _Call) -> list[Callable[[], Awaitable[Attachment]]]:
    """The clip, and with it its words; words alone are the turn's own."""
    if call.media is None:
        return []
    part = MediaPart("file", "media", url=call.media)
    words = call.wishes.transcript
    if not words:
        return [lambda: doors.intake.take_part(part)]

    async def written() -> AsyncIterator[bytes]:
        yield words.encode("utf-8", "replace")

    return [lambda: doors.intake.take_part(part), lambda: doors.intake.take_stream(written(), "transcript.txt")]


def _shown(event: Event) -> str:
    """A stage in words, or nothing."""
    if not isinstance(event, Staged):
        return ""
    return event.name if event.share is None else f"{event.name} {event.share:.0%}"


def _result(ended: Ended, card: dict[str, str] | None) -> types.CallToolResult:
    document = {
        "ai_generated": True,
        "model": ended.model,
        "finish_reason": ended.finish_reason,
        "reasoning": ended.reasoning,
        "card": card,
        "outcome": outcome_json(ended),
    }
    text = f"{card['markdown'].strip()}\n" if card else f"{ended.reasoning.strip()}\n\n{NOTICE}"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structuredContent=document)
