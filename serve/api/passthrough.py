"""Other models of the server: handed on as they were asked for, with both sides of the turn screened.

Tools, answer formats and whatever else a request asks for go through untouched. Text goes out sentence by sentence.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from affectgpt.engines.chat_form import unmarked
from affectgpt.errors import EngineError
from affectgpt.safety import Finding, Screen, gravest, help_card, replacement
from serve.api.doors import Doors
from serve.api.failures import describe
from serve.api.openai_form import ApiError, read_wishes
from serve.api.relay import unless_left
from serve.gating import ReplyGate
from serve.upstream import Upstream

__all__ = ["pass_on"]

Document = dict[str, Any]
_OWN: Final = ("affect", "explain", "transcript", "subject", "setting", "locale")
"""Fields of ours, which the server does not know."""
_THOUGHTS: Final = ("reasoning", "reasoning_content")


async def pass_on(doors: Doors, request: Request, body: Document) -> Response:
    """The server's answer to this request.

    Raises:
        ApiError: 404 where no model has this name, 400 for parts that are no text. EngineError: the server failed.
    """
    upstream = doors.upstream
    if upstream is None or not await upstream.has(body["model"]):
        raise ApiError(
            f"no model {body['model'][:80]!r}", "see /v1/models", status=404, code="model_not_found", param="model"
        )
    locale = read_wishes({"locale": body.get("locale")}).locale or doors.settings.locale
    screen = doors.turns.crew.screen
    finding = gravest(await asyncio.to_thread(screen.user, _last_words(body)))
    asked = {name: value for name, value in body.items() if name not in _OWN}
    if not asked.get("tools"):
        # Clients send an empty list where nothing is offered, and vLLM refuses it.
        asked = {name: value for name, value in asked.items() if name not in ("tools", "tool_choice")}
    asked["messages"] = [_unmarked(message) for message in body["messages"]]
    if finding is not None and finding.level != "note":
        doors.observer.count_screened("user", finding.risk)
    if finding is not None and finding.stops:
        return _card_alone(asked, help_card(locale, finding))
    card = help_card(locale, finding) if finding is not None and finding.level == "concern" else None
    if not asked.get("stream"):
        answer = await unless_left(request, upstream.complete(asked))
        doors.observer.count_usage(body["model"], answer.get("usage"))
        return JSONResponse(_screened(answer, screen, locale, card))
    chunks = _counted(doors, body["model"], _chunks(upstream, asked, _Gates(screen, locale), card))
    first = await unless_left(request, _first(chunks))
    return EventSourceResponse(_sse(chunks, first), ping=10, sep="\n", headers={"Cache-Control": "no-store"})


def _last_words(body: Document) -> str:
    """What the user wrote last. Raises ApiError 400 for a part that is no text: it could have a URL fetched."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError("no messages", "send at least one", param="messages")
    words = ""
    for i, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        for part in parts:
            if not isinstance(part, dict) or part.get("type") not in ("text", "refusal"):
                raise ApiError(
                    "this model is given text alone", "the model affectgpt takes media", param=f"messages[{i}].content"
                )
        if isinstance(message, dict) and message.get("role") == "user":
            words = "\n".join(str(part.get("text", "")) for part in parts)
    return words


def _unmarked(message: Document) -> Document:
    """The message without turn marks in its words: one of vLLM's refuses the whole request."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [{**p, "text": unmarked(str(p["text"]))} if "text" in p else p for p in content]}
    return {**message, "content": unmarked(content)} if isinstance(content, str) else message


class _Gates:
    """A gate for each text of each choice."""

    def __init__(self, screen: Screen, locale: str) -> None:
        self._screen, self._locale = screen, locale
        self._gates: dict[tuple[int, str], ReplyGate] = {}
        self._told: set[int] = set()

    def feed(self, index: int, name: str, text: str | None) -> str:
        """What may go out now; None ends the text."""
        gate = self._gates.get((index, name))
        if gate is None:
            if text is None:
                return ""
            gate = self._gates[index, name] = ReplyGate(self._screen)
        out = "".join(gate.finish() if text is None else gate.feed(text))
        if gate.held is not None and name == "content" and index not in self._told:
            self._told.add(index)
            out += replacement(self._locale)
        return out

    def held(self, index: int) -> Finding | None:
        """What stopped a choice's content."""
        gate = self._gates.get((index, "content"))
        return gate.held if gate else None


def _screened(answer: Document, screen: Screen, locale: str, card: str | None) -> Document:
    gates = _Gates(screen, locale)
    for at, choice in enumerate(answer["choices"]):
        message = choice.get("message") or {}
        for name in ("content", *_THOUGHTS):
            if isinstance(text := message.get(name), str):
                message[name] = gates.feed(at, name, text) + gates.feed(at, name, None)
        if gates.held(at) is not None:
            choice["finish_reason"] = "content_filter"
    return {**answer, "ai_generated": True, **({"card": {"markdown": card, "locale": locale}} if card else {})}


async def _chunks(
    upstream: Upstream, asked: Document, gates: _Gates, card: str | None
) -> AsyncGenerator[Document, None]:
    extra: Document = {"card": {"markdown": card}} if card else {}
    async with upstream.stream(asked) as chunks:
        async for chunk in chunks:
            choices = chunk.get("choices") or ()
            for choice in choices:
                _gate_choice(choice, gates)
            # A chunk whose text still waits for its sentence's end says nothing.
            if not choices or chunk.get("usage") or any(map(_says_something, choices)):
                yield {**chunk, "ai_generated": True, **extra}
                extra = {}


async def _counted(doors: Doors, model: str, chunks: AsyncGenerator[Document, None]) -> AsyncGenerator[Document, None]:
    """The same chunks, their tokens counted where the server tells of them (`stream_options.include_usage`)."""
    async with aclosing(chunks):
        async for chunk in chunks:
            doors.observer.count_usage(model, chunk.get("usage"))
            yield chunk


def _says_something(choice: Document) -> bool:
    return bool(choice.get("finish_reason")) or any(choice["delta"].values())


def _gate_choice(choice: Document, gates: _Gates) -> None:
    """Texts of a chunk's choice replaced by what may go out; at the end, also what was still held."""
    index, delta = int(choice.get("index", 0)), choice.setdefault("delta", {})
    is_last = bool(choice.get("finish_reason"))
    for name in ("content", *_THOUGHTS):
        text = delta.get(name)
        out = gates.feed(index, name, text) if isinstance(text, str) and text else ""
        out += gates.feed(index, name, None) if is_last else ""
        if out or isinstance(text, str):
            delta[name] = out
    if is_last and gates.held(index) is not None:
        choice["finish_reason"] = "content_filter"


async def _first(chunks: AsyncGenerator[Document, None]) -> Document:
    """The first chunk, before any status is out. Raises what asking the server raises."""
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        raise EngineError("the model's server sent no chunk", "look into its log") from None


async def _sse(chunks: AsyncGenerator[Document, None], first: Document) -> AsyncGenerator[ServerSentEvent, None]:
    try:
        yield ServerSentEvent(data=json.dumps(first, ensure_ascii=False), sep="\n")
        async for chunk in chunks:
            yield ServerSentEvent(data=json.dumps(chunk, ensure_ascii=False), sep="\n")
    except Exception as error:  # noqa: BLE001 - the status is out: what failed is told in the stream
        yield ServerSentEvent(data=json.dumps(describe(error)[1]), sep="\n")
    finally:
        await chunks.aclose()
    yield ServerSentEvent(data="[DONE]", sep="\n")


def _card_alone(asked: Document, markdown: str) -> Response:
    """The card in the place of an answer; the server never sees the request."""
    is_streamed = bool(asked.get("stream"))
    head: Document = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk" if is_streamed else "chat.completion",
        "created": int(time.time()),
        "model": asked["model"],
        "ai_generated": True,
        "card": {"markdown": markdown},
    }
    message = {"role": "assistant", "content": markdown}
    choice = {"index": 0, "delta" if is_streamed else "message": message, "finish_reason": "content_filter"}
    if not is_streamed:
        usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
        return JSONResponse({**head, "choices": [choice], "usage": usage})

    async def both() -> AsyncGenerator[ServerSentEvent, None]:
        yield ServerSentEvent(data=json.dumps({**head, "choices": [choice]}, ensure_ascii=False), sep="\n")
        yield ServerSentEvent(data="[DONE]", sep="\n")

    return EventSourceResponse(both(), sep="\n")
