"""`/v1/chat/completions`: a turn, or another model of the server, in the form that OpenAI's clients speak."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from serve.api.callers import Caller
from serve.api.dialogue_form import read_state, state_json
from serve.api.doors import MODEL, Doors, kept_json, outcome_json, read_json, take_turn, turn_request
from serve.api.failures import describe
from serve.api.openai_form import ApiError, ChatRequest, read_chat
from serve.api.passthrough import pass_on
from serve.api.relay import Relay, unless_left
from serve.api.samples import CHAT_REQUEST, CHAT_RESPONSE
from serve.api.tool_form import read_tools
from serve.events import Attachment, Called, Carded, Ended, Event, Reasoned, Said

__all__ = ["chat_router"]

PING_S: Final = 10
_NOT_FOR_TURNS: Final = ("functions", "logprobs", "audio")


@dataclass(slots=True)
class _Answer:
    """One answer in OpenAI's form, whole or in chunks; both say the same."""

    chat: ChatRequest
    doors: Doors
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    content: str = ""
    reasoning: str = ""
    card: dict[str, str] | None = None
    calls: tuple[Mapping[str, Any], ...] = ()
    taken: list[Attachment] = field(default_factory=list)

    def delta(self, event: Event) -> dict[str, Any] | None:
        """What an event adds to the message, or None."""
        if isinstance(event, Reasoned) and event.text:
            self.reasoning += event.text
            # vLLM renamed the field, and clients read the one or the other.
            return {"reasoning": event.text, "reasoning_content": event.text}
        if isinstance(event, Called):
            self.calls = event.calls
            return {"tool_calls": [{"index": i, **call} for i, call in enumerate(event.calls)]}
        text = ""
        if isinstance(event, Said):
            text = event.text
        elif isinstance(event, Carded):
            self.card = {"markdown": event.markdown, "locale": event.locale}
            text = f"{event.markdown.strip()}\n\n"
        self.content += text
        return {"content": text} if text else None

    def whole(self, ended: Ended) -> dict[str, Any]:
        """The chat completion."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.content if self.content or not self.calls else None,
            "reasoning": self.reasoning,
            "reasoning_content": self.reasoning,
            "refusal": None,
        }
        if self.calls:
            message["tool_calls"] = list(self.calls)
        if state := state_json(ended.dialogue):
            message["dialogue"] = state
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ended.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(ended), **self._extras(ended)}

    def chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        """A chunk in the middle."""
        card = {"card": self.card} if self.card and "content" in delta and not self.reasoning else {}
        return {**self._piece(delta, None), **card}

    def last(self, ended: Ended) -> dict[str, Any]:
        """The chunk that says why the answer ends."""
        state = state_json(ended.dialogue)
        return {**self._piece({"dialogue": state} if state else {}, ended.finish_reason), **self._extras(ended)}

    def usage(self, ended: Ended) -> dict[str, Any]:
        """The chunk after the last, where usage was asked for."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(ended)}

    def _piece(self, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.chat.has_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": MODEL,
            "system_fingerprint": self.doors.turns.model,
            "ai_generated": True,
        }

    def _extras(self, ended: Ended) -> dict[str, Any]:
        extras: dict[str, Any] = kept_json(self.doors.settings, self.taken)
        if self.card:
            extras["card"] = self.card
        if self.chat.wishes.affect:
            extras["affect"] = outcome_json(ended)
        return extras


def chat_router(doors: Doors) -> APIRouter:
    """The route, behind its gate."""
    router = APIRouter(prefix="/v1", tags=["chat"])
    who = Depends(doors.gate.caller)

    @router.post(
        "/chat/completions",
        summary="A turn: explain what a person seems to feel, and reply",
        response_class=JSONResponse,
        responses={200: CHAT_RESPONSE},
        openapi_extra={"requestBody": CHAT_REQUEST},
    )
    async def complete(request: Request, caller: Caller = who) -> Response:
        """OpenAI's chat completions. Model `affectgpt` is a whole turn; others that /v1/models lists are passed on.

        `message.reasoning` holds the three parts (key observations, interpretation, conclusion), `content` the reply,
        `dialogue` its strategy and the agent's own emotion: sent back with the message, the next turn goes on from it.
        `tools` are offered to the writer of the reply, where a server behind writes it.
        """
        body = await read_json(request, doors.settings.max_inline_bytes)
        if isinstance(body, dict) and isinstance(body.get("model"), str) and body["model"] not in ("", MODEL):
            return await pass_on(doors, request, body)
        chat = read_chat(body)
        _check(chat)
        answer = _Answer(chat, doors)
        events = take_turn(doors, caller, _turn(doors, chat), _arriving(doors, chat), answer.taken)
        if not chat.is_streamed:
            return JSONResponse(await unless_left(request, _whole(answer, events)))
        relay = Relay(events)
        early = await relay.head()
        return EventSourceResponse(_streamed(answer, relay, early), ping=PING_S, sep="\n", headers=NO_BUFFER)

    return router


NO_BUFFER: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _check(chat: ChatRequest) -> None:
    if chat.messages[-1].role != "user":
        raise ApiError("the last message is not the user's", f"{MODEL} answers a user", param="messages")
    for name in _NOT_FOR_TURNS:
        if chat.body.get(name):
            remedy = "leave it out, or name another model of /v1/models"
            raise ApiError(f"{MODEL} takes no {name}", remedy, param=name, code="unsupported_parameter")
    wanted = chat.body.get("response_format")
    if wanted and (not isinstance(wanted, dict) or wanted.get("type") != "text"):
        raise ApiError(
            f"{MODEL} answers in text",
            "ask for `affect` to get the outcome as JSON, or name another model of /v1/models",
            param="response_format",
            code="unsupported_parameter",
        )


def _turn(doors: Doors, chat: ChatRequest) -> Any:
    sampling = replace(chat.sampling, max_tokens=chat.max_tokens or doors.settings.reply_tokens)
    tools = read_tools(chat, can_call=doors.turns.crew.replier.calls_tools)
    # Words were explained before their tools were called; a clip, whose reading is at hand, is explained again.
    wishes = replace(chat.wishes, is_explained=False) if chat.after else chat.wishes
    state = read_state(chat.body.get("messages") or ())
    request = turn_request(doors.settings, chat.messages, wishes, sampling)
    return replace(request, tools=tools, strategies=state.strategies, own=state.own)


def _arriving(doors: Doors, chat: ChatRequest) -> list[Callable[[], Awaitable[Attachment]]]:
    arriving: list[Callable[[], Awaitable[Attachment]]] = [
        lambda part=part: doors.intake.take_part(part)  # type: ignore[misc]
        for part in chat.media
    ]
    if words := chat.wishes.transcript:

        async def chunks() -> AsyncIterator[bytes]:
            yield words.encode("utf-8", "replace")

        arriving.append(lambda: doors.intake.take_stream(chunks(), "transcript.txt"))
    return arriving


async def _whole(answer: _Answer, events: AsyncGenerator[Event, None]) -> dict[str, Any]:
    try:
        async for event in events:
            answer.delta(event)
            if isinstance(event, Ended):
                return answer.whole(event)
    finally:
        await events.aclose()
    raise AssertionError("a turn ended without saying so")


async def _streamed(answer: _Answer, relay: Relay, early: list[Event]) -> AsyncGenerator[ServerSentEvent, None]:
    try:
        yield _sse(answer.chunk({"role": "assistant", "content": ""}))
        async for event in relay.all(early):
            if (delta := answer.delta(event)) is not None:
                yield _sse(answer.chunk(delta))
            elif isinstance(event, Ended):
                yield _sse(answer.last(event))
                if answer.chat.has_usage:
                    yield _sse(answer.usage(event))
    except Exception as error:  # noqa: BLE001 - the status is out: what failed is told in the stream
        yield _sse(describe(error)[1])
    finally:
        relay.close()
    yield ServerSentEvent(data="[DONE]", sep="\n")


def _sse(document: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(data=json.dumps(document, ensure_ascii=False), sep="\n")


def _usage(ended: Ended) -> dict[str, int]:
    return {
        "prompt_tokens": ended.n_prompt_tokens,
        "completion_tokens": ended.n_completion_tokens,
        "total_tokens": ended.n_prompt_tokens + ended.n_completion_tokens,
    }
