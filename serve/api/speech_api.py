"""`/v1/audio/transcriptions`: words out of a sound, where a whisper model is at hand."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile

from affectgpt import media
from affectgpt.perceive.speech import Transcriber
from affectgpt.records import Transcript
from serve.api.callers import Caller
from serve.api.doors import Doors, chunks_of, read_form
from serve.api.openai_form import ApiError
from serve.api.relay import unless_left
from serve.api.samples import SPEECH_REQUEST
from serve.events import Attachment

__all__ = ["speech_router"]

RATE_HZ: Final = 16_000
FIELDS: Final = ("model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]")


def speech_router(doors: Doors, transcriber: Transcriber | None) -> APIRouter:
    """The route, behind its gate."""
    router = APIRouter(prefix="/v1", tags=["speech"])
    who = Depends(doors.gate.caller)
    # One at a time: a recogniser uses every core there is.
    turn = asyncio.Lock()

    @router.post(
        "/audio/transcriptions",
        summary="The words of a sound or a clip",
        response_class=JSONResponse,
        openapi_extra={"requestBody": SPEECH_REQUEST},
    )
    async def transcribe(request: Request, caller: Caller = who) -> Response:
        """OpenAI's transcriptions: `response_format` json, text or verbose_json. 404 where no whisper model is set."""
        if transcriber is None:
            remedy = "start the server with --whisper MODEL, or name one in AFFECTGPT_WHISPER"
            raise ApiError("no whisper model is configured", remedy, status=404, code="model_not_found")
        form = await read_form(request, doors.settings.max_upload_bytes, FIELDS)
        file, form_of_answer = form.get("file"), str(form.get("response_format") or "json")
        if not isinstance(file, UploadFile):
            raise ApiError("no file", "send the sound as `file`", param="file")
        if form_of_answer not in ("json", "text", "verbose_json"):
            raise ApiError(
                f"no response format {form_of_answer[:40]!r}", "json, text or verbose_json", param="response_format"
            )
        kept = await doors.intake.take_stream(chunks_of(file), (file.filename or "sound")[:200])
        try:
            async with turn:
                heard = await unless_left(request, _hear(doors, caller, kept, transcriber))
        finally:
            await form.close()
            await doors.intake.release([kept])
        text = " ".join(u.text for u in heard.utterances)
        if form_of_answer == "text":
            return PlainTextResponse(text)
        whole = {"text": text, "ai_generated": True, "model": transcriber.name}
        return JSONResponse({**whole, **_details(heard)} if form_of_answer == "verbose_json" else whole)

    return router


async def _hear(doors: Doors, caller: Caller, kept: Attachment, transcriber: Transcriber) -> Transcript:
    clip = await asyncio.to_thread(media.open_clip, kept.path, max_duration_s=doors.settings.max_duration_s)
    if not clip.has_audio:
        raise ApiError(f"{kept.name} has no sound", "send a clip with sound", status=422, param="file")
    doors.gate.spend_media(caller, clip.duration_s)
    return await asyncio.to_thread(lambda: transcriber.transcribe(media.waveform(clip, RATE_HZ)))


def _details(heard: Transcript) -> dict[str, Any]:
    segments = [
        {"id": i, "start": u.start_s, "end": u.end_s, "text": u.text, "confidence": u.confidence}
        for i, u in enumerate(heard.utterances)
    ]
    return {"task": "transcribe", "language": heard.language, "note": heard.note, "segments": segments}
