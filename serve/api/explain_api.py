"""`/v1/explain`: one file in, what a person in it seems to feel out, as events or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.datastructures import FormData, UploadFile

from affectgpt.record_json import NOTICE
from affectgpt.records import Message, Sampling
from serve.api.callers import Caller
from serve.api.chat_api import NO_BUFFER, PING_S
from serve.api.doors import (
    Doors,
    chunks_of,
    kept_json,
    observation_json,
    outcome_json,
    read_form,
    take_turn,
    turn_request,
)
from serve.api.failures import describe
from serve.api.openai_form import ApiError, TurnWishes, read_wishes
from serve.api.relay import Relay, unless_left
from serve.api.samples import EXPLAIN_REQUEST, EXPLAIN_RESPONSE
from serve.events import Attachment, Carded, Ended, Event, Observed, Reasoned, Staged

__all__ = ["explain_router"]

FIELDS: Final = ("transcript", "modalities", "subject", "setting", "locale", "path")


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
        teller = _Teller(doors)
        try:
            wishes, file = _wishes(form), form.get("file")
            arriving = _arriving(doors, wishes, file)
            events = _closing(form, take_turn(doors, caller, _turn(doors, wishes), arriving, teller.taken))
            if _wants_json(request):
                return JSONResponse(await unless_left(request, _document(teller, events)))
            relay = Relay(events)
            early = await relay.head()
        except BaseException:
            await form.close()
            raise
        return EventSourceResponse(_streamed(teller, relay, early), ping=PING_S, sep="\n", headers=NO_BUFFER)

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
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        await form.close()


@dataclass(slots=True)
class _Teller:
    """What is told of a turn, and the whole of it at the end."""

    doors: Doors
    taken: list[Attachment] = field(default_factory=list)
    card: dict[str, str] | None = None

    def tell(self, event: Event) -> tuple[str, dict[str, Any]] | None:
        """(name, JSON) of an event, or None where it is nobody's business."""
        match event:
            case Staged(name, share):
                return "stage", {"name": name, "share": share}
            case Observed(observation):
                return "observation", observation_json(observation)
            case Reasoned(text):
                return ("token", {"text": text}) if text else None
            case Carded(markdown, locale):
                self.card = {"markdown": markdown, "locale": locale}
                return "card", self.card
            case Ended():
                return "done", self._whole(event)
            case _:
                return None

    def _whole(self, ended: Ended) -> dict[str, Any]:
        return {
            "ai_generated": True,
            "notice": NOTICE,
            "model": ended.model,
            "finish_reason": ended.finish_reason,
            "reasoning": ended.reasoning,
            "card": self.card,
            "usage": {"prompt_tokens": ended.n_prompt_tokens, "completion_tokens": ended.n_completion_tokens},
            "outcome": outcome_json(ended),
            **kept_json(self.doors.settings, self.taken),
        }


async def _document(teller: _Teller, events: AsyncGenerator[Event, None]) -> dict[str, Any]:
    async with aclosing(events):
        async for event in events:
            if (told := teller.tell(event)) is not None and told[0] == "done":
                return told[1]
    raise AssertionError("a turn ended without saying so")


async def _streamed(teller: _Teller, relay: Relay, early: list[Event]) -> AsyncGenerator[ServerSentEvent, None]:
    try:
        async for event in relay.all(early):
            if (told := teller.tell(event)) is not None:
                yield _sse(*told)
    except Exception as error:  # noqa: BLE001 - the status is out: what failed is told in the stream
        yield _sse("error", describe(error)[1])
    finally:
        relay.close()


def _sse(name: str, document: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(event=name, data=json.dumps(document, ensure_ascii=False), sep="\n")
