"""What went wrong, as HTTP: the status of each error of the tree, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from affectgpt.errors import (
    AffectError,
    EngineError,
    EngineUnreachable,
    ImageTooLarge,
    InputError,
    MediaTooLong,
    MissingDependency,
    ModelError,
    OptionError,
    PoolFull,
    TranscriptError,
    UnreadableMedia,
    UploadRefused,
    UploadTooLarge,
    UrlRefused,
    WorkerDied,
)
from serve.api.openai_form import ApiError, error_body
from serve.turns import TooManyTurns
from serve.upstream import UpstreamError

__all__ = ["add_handlers", "describe"]

_STATUS: Final[tuple[tuple[type[AffectError], int, str | None], ...]] = (
    (UploadTooLarge, 413, "media_too_large"),
    (UrlRefused, 400, "url_not_allowed"),
    (UploadRefused, 415, "unsupported_media"),
    (ImageTooLarge, 413, "media_too_large"),
    (MediaTooLong, 413, "media_too_long"),
    (UnreadableMedia, 422, "unreadable_media"),
    (TranscriptError, 422, "unreadable_media"),
    (WorkerDied, 422, "unreadable_media"),
    (PoolFull, 429, "queue_full"),
    (TooManyTurns, 429, "too_many_turns"),
    (EngineUnreachable, 503, "model_unreachable"),
    (EngineError, 502, "model_failed"),
    (ModelError, 503, "model_unusable"),
    (MissingDependency, 503, None),
    (OptionError, 400, None),
    (InputError, 400, None),
)
"""The first that fits."""
RETRY_AFTER_S: Final = 5


def describe(error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers for an error; one that nobody foresaw is told without its words."""
    if isinstance(error, ApiError):
        return error.status, error_body(str(error), error.status, error.code, error.param), {}
    if isinstance(error, UpstreamError):
        told = error_body(str(error), error.status, _text(error.body.get("code")), _text(error.body.get("param")))
        return error.status, told, {}
    if isinstance(error, HTTPException):
        return error.status_code, error_body(str(error.detail), error.status_code), dict(error.headers or {})
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
            return status, error_body(str(error), status, code), headers
    return 500, error_body("a fault of this server; its log says more", 500), {}


def add_handlers(app: FastAPI) -> None:
    """Have every error of the application answered in OpenAI's form."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        status, body, headers = describe(error)
        return JSONResponse(body, status, headers)

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first: Mapping[str, Any] = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(error_body(f"{where}: {first['msg']}", 422, param=where or None), 422)

    for kind in (AffectError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, invalid)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
