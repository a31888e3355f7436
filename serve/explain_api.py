"""`/v1/explain`: one file in, what a person in it seems to feel out, as events or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.datastructures import FormData, UploadFile

from affectgpt.record_json import NOTICE
from affectgpt.records import Message, Sampling
from serve.callers import Caller
from serve.chat_api import NO_BUFFER, PING_S
from serve.doors import Doors, chunks_of, outcome_json, read_form, take_turn, turn_request
from serve.events import Attachment, Carded, Ended, Event, Observed, Reasoned, Staged
from serve.failures import describe
from serve.openai_form import ApiError, TurnWishes, read_wishes
from serve.relay import Relay, unless_left
from serve.samples import EXPLAIN_REQUEST, EXPLAIN_RESPONSE

__all__ = ["explain_router"]

FIELDS: Final = ("transcript", "modalities", "subject", "setting", "locale")


def explain_router(doors: Doors) -> APIRouter:
    """The route, behind its gate."""
    router = APIRouter(prefix="/v1", tags=["explain"])
    who = Depends(doors.gate.caller)

    @router.post(
        "/explain",
        summary="Explain what a person in a clip, a picture, a sound or a text seems to feel",
        response_class=JSONResponse,
        responses={200: EXPLAIN_RESPONSE},
        openapi_extra={"requestBody": EXPLAIN_REQUEST},
    )
    async def explain(request: Request, caller: Caller = who) -> Response:
        """Events `stage`, `observation`, `token`, `card` and `done`; with `Accept: application/json` one document.

        `done` and the document hold the outcome as `affectgpt explain --json` prints it, and the three parts as text.
        """
        form = await read_form(request, doors.settings.max_upload_bytes, FIELDS)
        try:
            wishes, file = _wishes(form), form.get("file")
            events = take_turn(doors, caller, _turn(doors, wishes), _arriving(doors, wishes, file))
            if _wants_json(request):
                return JSONResponse(await unless_left(request, _document(events)))
            relay = Relay(_closing(form, events))
            early = await relay.head()
        except BaseException:
            await form.close()
            raise
        return EventSourceResponse(_streamed(relay, early), ping=PING_S, sep="\n", headers=NO_BUFFER)

    return router


def _wishes(form: FormData) -> TurnWishes:
    """The fields beside the file. Raises ApiError 400, or 422 where there is nothing to explain."""
    given: dict[str, Any] = {name: form[name] for name in FIELDS if form.get(name)}
    if any(not isinstance(value, str) for value in given.values()):
        raise ApiError("a field is a file", "send the file as `file`")
    if subject := given.get("subject"):
        given["subject"] = int(subject) if subject.isascii() and subject.isdigit() else subject
    if not isinstance(form.get("file"), UploadFile) and not given.get("transcript"):
        raise ApiError("nothing to explain", "send `file`, `transcript`, or both", status=422, param="file")
    return read_wishes(given)


def _turn(doors: Doors, wishes: TurnWishes) -> Any:
    said = wishes.transcript or ""
    return replace(turn_request(doors.settings, [Message("user", said)], wishes, Sampling()), is_replied=False)


def _arriving(doors: Doors, wishes: TurnWishes, file: object) -> list[Callable[[], Awaitable[Attachment]]]:
    if not isinstance(file, UploadFile):
        return []
    arriving: list[Callable[[], Awaitable[Attachment]]] = [
        lambda: doors.intake.take_stream(chunks_of(file), (file.filename or "file")[:200])
    ]
    if words := wishes.transcript:

        async def written() -> AsyncIterator[bytes]:
            yield words.encode("utf-8", "replace")

        arriving.append(lambda: doors.intake.take_stream(written(), "transcript.txt"))
    return arriving


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/event-stream" not in accepted


async def _closing(form: FormData, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()
        await form.close()


async def _document(events: AsyncGenerator[Event, None]) -> dict[str, Any]:
    card: Carded | None = None
    try:
        async for event in events:
            if isinstance(event, Carded):
                card = event
            elif isinstance(event, Ended):
                return _done(event, card)
    finally:
        await events.aclose()
    raise AssertionError("a turn ended without saying so")


def _done(ended: Ended, card: Carded | None) -> dict[str, Any]:
    return {
        "ai_generated": True,
        "notice": NOTICE,
        "model": ended.model,
        "finish_reason": ended.finish_reason,
        "reasoning": ended.reasoning,
        "card": {"markdown": card.markdown, "locale": card.locale} if card else None,
        "usage": {"prompt_tokens": ended.n_prompt_tokens, "completion_tokens": ended.n_completion_tokens},
        "outcome": outcome_json(ended),
    }


async def _streamed(relay: Relay, early: list[Event]) -> AsyncGenerator[ServerSentEvent, None]:
    card: Carded | None = None
    try:
        async for event in relay.all(early):
            if isinstance(event, Carded):
                card = event
            if (told := _told(event, card)) is not None:
                yield told
    except Exception as error:  # noqa: BLE001 - the status is out: what failed is told in the stream
        yield _event("error", describe(error)[1])
    finally:
        relay.close()


def _told(event: Event, card: Carded | None) -> ServerSentEvent | None:
    match event:
        case Staged(name, share):
            return _event("stage", {"name": name, "share": share})
        case Observed(observation):
            return _event("observation", {**asdict(observation), "is_missing": observation.is_missing})
        case Reasoned(text):
            return _event("token", {"text": text}) if text else None
        case Carded(markdown, locale):
            return _event("card", {"markdown": markdown, "locale": locale})
        case Ended():
            return _event("done", _done(event, card))
        case _:
            return None


def _event(name: str, document: Any) -> ServerSentEvent:
    return ServerSentEvent(event=name, data=json.dumps(document, ensure_ascii=False), sep="\n")
