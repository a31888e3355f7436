"""`/v1/audio/transcriptions`: words out of a sound, where a whisper model is at hand."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile

from affectgpt.agent import quiet
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.records import Modality, Transcript
from serve.api.callers import Caller
from serve.api.doors import Doors, chunks_of, read_form
from serve.api.openai_form import ApiError
from serve.api.relay import unless_left
from serve.api.samples import SPEECH_REQUEST
from serve.events import Attachment

__all__ = ["speech_router"]

FIELDS: Final = ("model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]")


def speech_router(doors: Doors, recogniser: str | None) -> APIRouter:
    """The route, behind its gate; `recogniser` is the name of what recognises words, None where nothing does."""
    router = APIRouter(prefix="/v1", tags=["speech"])
    who = Depends(doors.gate.caller)

    @router.post(
        "/audio/transcriptions",
        summary="The words of a sound or a clip",
        response_class=JSONResponse,
        openapi_extra={"requestBody": SPEECH_REQUEST},
    )
    async def transcribe(request: Request, caller: Caller = who) -> Response:
        """OpenAI's transcriptions: `response_format` json, text or verbose_json. 404 where no whisper model is set.

        A clip that brings subtitles is not listened to: they are its words.
        """
        if recogniser is None:
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
        try:
            kept = await doors.intake.take_stream(chunks_of(file), (file.filename or "sound")[:200])
            try:
                doors.gate.spend_media(caller, kept)
                heard = await unless_left(request, _hear(doors, caller, kept))
            finally:
                await doors.intake.release([kept])
        finally:
            await form.close()
        text = " ".join(u.text for u in heard.utterances)
        if form_of_answer == "text":
            return PlainTextResponse(text)
        whole = {"text": text, "ai_generated": True, "model": recogniser}
        return JSONResponse({**whole, **_details(heard)} if form_of_answer == "verbose_json" else whole)

    return router


async def _hear(doors: Doors, caller: Caller, kept: Attachment) -> Transcript:
    """Its words, decoded and heard where every clip is read: in a worker, behind the queue."""
    options = AgentOptions(
        modalities=frozenset({Modality.SPEECH}),
        speech=SpeechOptions(whisper=doors.settings.whisper),
        max_duration_s=doors.settings.max_duration_s,
    )
    sense = doors.turns.crew.perceiver.sense
    senses = await sense(kept.path, options, quiet, name=kept.name, sha256=kept.sha256)
    if senses.clip is not None and kept.duration_s is None:
        doors.gate.spend_seconds(caller, senses.clip.duration_s)
    if senses.clip is None or not (senses.clip.has_audio or (senses.transcript and senses.transcript.utterances)):
        raise ApiError(f"{kept.name} has no sound", "send a clip with sound", status=422, param="file")
    if senses.transcript is None:
        why = senses.failures.get(Modality.SPEECH, "nothing was heard")
        raise ApiError(f"{kept.name}: {why}", "send another recording", status=422, param="file")
    return senses.transcript


def _details(heard: Transcript) -> dict[str, Any]:
    segments = [
        {"id": i, "start": u.start_s, "end": u.end_s, "text": u.text, "confidence": u.confidence}
        for i, u in enumerate(heard.utterances)
    ]
    return {"task": "transcribe", "language": heard.language, "note": heard.note, "segments": segments}
