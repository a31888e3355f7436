"""The outermost part of the gateway: every request gets its mark, and what nobody foresaw an answer."""

from __future__ import annotations

import logging
import re
import secrets
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.failures import describe
from serve.api.openai_form import ApiError
from serve.marks import MARK, Mark, marked_as

if TYPE_CHECKING:
    from serve.tracing import Tracing

__all__ = ["HEADER", "METHODS", "Marking"]

HEADER: Final = "x-request-id"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""HTTP takes any word for a method, and each would be a time series of its own."""
_SANE: Final = re.compile(r"(?=[^0-9]*[0-9])[0-9A-Za-z][0-9A-Za-z._-]{7,63}")
"""An id that a client may bring: too long to be a guess, short enough for a log, and with a digit, as no name has."""

log = logging.getLogger(__name__)


class Marking:
    """ASGI middleware, the outermost: marks requests, refuses unknown methods, answers what nobody foresaw."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None = None) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        own, has_begun = Mark(_request_id(headers)), False

        async def marked(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)[HEADER] = own.request_id
            await send(message)

        scope[MARK] = own
        # An application mounted below must not begin FastAPI's own spans: they hold queries, so what was searched for.
        scope["fastapi.telemetry"] = None
        token = marked_as.set(own)
        try:
            if scope["method"] not in METHODS:
                raise ApiError("no such method", "use GET, POST, PATCH or DELETE", status=501)
            if self._tracing is not None:
                own.span = self._tracing.begin_request(scope["method"], headers)
            await self._app(scope, receive, marked)
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("a fault", extra={"fields": {"request_id": own.request_id}})
            if has_begun:
                raise
            status, body, extra = describe(error)
            await JSONResponse(body, status, extra)(scope, receive, marked)
        finally:
            marked_as.reset(token)
            own.is_over = True
            if own.span is not None:
                own.span.end()


def _request_id(headers: Headers) -> str:
    given = headers.get(HEADER, "")
    return given if _SANE.fullmatch(given) else f"req-{secrets.token_hex(12)}"
