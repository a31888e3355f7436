"""What every door of the API needs: its parts, a request's body within limits, and a turn with its files."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from affectgpt.dialogue import turn_json
from affectgpt.record_json import to_json
from affectgpt.records import Message, Observation, Sampling
from serve.api.callers import Caller, Gate
from serve.api.openai_form import ApiError, TurnWishes
from serve.api.relay import ClientLeft
from serve.events import Attachment, Ended, Event, Sensed, TurnRequest
from serve.incoming.intake import Intake
from serve.observing import Observer
from serve.settings import ServeSettings
from serve.turns import TurnService
from serve.upstream import Upstream

__all__ = [
    "MODEL",
    "Doors",
    "chunks_of",
    "counted",
    "kept_json",
    "observation_json",
    "outcome_json",
    "read_form",
    "read_json",
    "take_turn",
    "turn_request",
]

MODEL: Final = "affectgpt"
"""The model whose answers are whole turns."""
_CHUNK_BYTES: Final = 1 << 20
_FIELD_BYTES: Final = 1 << 20
"""Longest field of a form beside its file."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What the routes stand on."""

    settings: ServeSettings
    turns: TurnService
    gate: Gate
    intake: Intake
    upstream: Upstream | None = None
    observer: Observer = field(default_factory=Observer)


async def read_json(request: Request, max_bytes: int) -> Any:
    """The request's JSON, counted while it comes in.

    Raises:
        ApiError: 415 for another content type, 413 for more than `max_bytes`, 400 for what is no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A form of a strange page may not send this type without asking first.
        raise ApiError(f"the content type is {kind[:60] or 'missing'}", "send application/json", status=415)
    body = bytearray()
    async for chunk in counted(request, max_bytes):
        body += chunk
    try:
        return await asyncio.to_thread(json.loads, bytes(body))
    except (ValueError, RecursionError):
        raise ApiError("the request is no JSON", "send one JSON object in UTF-8") from None


async def counted(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body's chunks. Raises ApiError 413 as soon as there are too many bytes, ClientLeft where it breaks off."""
    too_large = ApiError(f"more than {max_bytes} bytes", "send less at once", status=413, code="request_too_large")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    n_bytes = 0
    try:
        async for chunk in request.stream():
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise too_large
            yield chunk
    except ClientDisconnect:
        raise ClientLeft("the client left while it sent") from None


async def read_form(request: Request, max_bytes: int, fields: Sequence[str]) -> FormData:
    """A form with at most one file, `file`, and these fields; the file lies on disk, in nobody's memory.

    Raises:
        ApiError: 415 for no form, 413 for too many bytes, 400 for a damaged form or a field of another name.
    """
    kind = request.headers.get("content-type", "").lower()
    chunks = counted(request, max_bytes + _FIELD_BYTES * len(fields))
    try:
        if kind.startswith("multipart/form-data"):
            most = {"max_files": 1, "max_fields": len(fields), "max_part_size": _FIELD_BYTES}
            form = await MultiPartParser(request.headers, chunks, **most).parse()
        elif kind.startswith("application/x-www-form-urlencoded"):
            form = await FormParser(request.headers, counted(request, _FIELD_BYTES)).parse()
        else:
            raise ApiError("the request is no form", "send multipart/form-data with `file`", status=415)
    except (MultiPartException, KeyError) as error:
        said = error.message if isinstance(error, MultiPartException) else "no boundary"
        raise ApiError(f"the form is damaged: {said}", "see /docs for an example") from None
    if unknown := sorted(set(form) - {*fields, "file"}):
        await form.close()
        raise ApiError(f"no field {unknown[0][:40]!r}", f"fields are file, {', '.join(fields)}", param=unknown[0][:40])
    return form


async def chunks_of(file: UploadFile) -> AsyncIterator[bytes]:
    """An uploaded file's bytes, a piece at a time."""
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk


async def take_turn(
    doors: Doors,
    caller: Caller,
    request: TurnRequest,
    arriving: Sequence[Callable[[], Awaitable[Attachment]]],
    taken: list[Attachment],
) -> AsyncGenerator[Event, None]:
    """A turn whose files still come in: taken first, into `taken`, and released at the end whatever happens.

    Their seconds are counted before anything is read, so that a key over its limit costs no reading.
    """
    try:
        for arrive in arriving:
            taken.append(await arrive())
            doors.gate.spend_media(caller, taken[-1])
        is_counted = all(file.duration_s is not None for file in taken)
        whole = replace(request, attachments=(*request.attachments, *taken))
        async with aclosing(doors.turns.run(whole)) as events:
            async for event in events:
                if isinstance(event, Sensed) and event.senses.clip is not None and not is_counted:
                    doors.gate.spend_seconds(caller, event.senses.clip.duration_s)
                yield event
    finally:
        await asyncio.shield(doors.intake.release([*request.attachments, *taken]))


def turn_request(
    settings: ServeSettings, messages: Sequence[Message], wishes: TurnWishes, sampling: Sampling
) -> TurnRequest:
    """A request without its files, from what a client asked for."""
    return TurnRequest(
        messages=tuple(messages),
        modalities=wishes.modalities,
        subject=wishes.subject,
        setting=wishes.setting,
        sampling=sampling,
        locale=wishes.locale or settings.locale,
        is_explained=wishes.is_explained,
        is_fused=wishes.is_fused,
        persona=wishes.persona,
    )


def kept_json(settings: ServeSettings, taken: Sequence[Attachment]) -> dict[str, Any]:
    """What a client may know of files that are kept for a while: ids to delete them by."""
    if not settings.retain or not taken:
        return {}
    return {"uploads": [{"id": a.path.stem, "name": a.name, "kind": a.kind} for a in taken]}


def observation_json(observation: Observation) -> dict[str, Any]:
    """One observation as the outcome's JSON has it."""
    row = {**asdict(observation), "is_missing": observation.is_missing}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def outcome_json(ended: Ended) -> dict[str, object] | None:
    """The outcome as `record_json` writes it, with `dialogue`, the reply's turn, where there is one; or None."""
    told = to_json(ended.outcome) if ended.outcome is not None else None
    if ended.dialogue is None:
        return told
    return {**(told or {}), "dialogue": turn_json(ended.dialogue)}
