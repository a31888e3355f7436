"""Who is at the page and what they agreed to: nothing is uploaded, asked or kept before the notice was accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.callers import Caller, Gate
from serve.web.joining import EVENTS, FILES, names_no_upload, read_event, replayed
from serve.web.notice import CONSENT_SECONDS
from serve.web.texts import say

__all__ = [
    "CONSENT_COOKIE",
    "KEY_COOKIE",
    "Door",
    "Guard",
    "Person",
    "cookie_options",
]

CONSENT_COOKIE = "affectgpt_consent"
KEY_COOKIE = "affectgpt_key"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the page: whose conversations these are, and when they agreed to the notice (None: not yet).

    `caller` is who they are at the gate, whose limits hold here too; None has none.
    """

    owner: str
    consented: datetime | None = None
    caller: Caller | None = None


class Door:
    """Tells who is at the page, by the gateway's own gate: a key in a cookie, or without keys this machine alone."""

    def __init__(self, gate: Gate, version: str) -> None:
        self._gate = gate
        self.version = version

    def person(self, request: HTTPConnection) -> Person:
        """Who it is. Raises HTTPException 401 or 403 as the gate does."""
        secret = request.cookies.get(KEY_COOKIE)
        client = request.client.host if request.client else None
        caller = self._gate.holder(secret) if secret else self._gate.identify(request.headers, client)
        return Person(caller.owner, self._agreed(request.cookies.get(CONSENT_COOKIE, "")), caller)

    def holder(self, secret: str) -> Person:
        """Who holds a key. Raises HTTPException 401."""
        caller = self._gate.holder(secret)
        return Person(caller.owner, caller=caller)

    def count(self, person: Person) -> None:
        """Count a request of theirs. Raises HTTPException 429 over the limit."""
        if person.caller is not None:
            self._gate.spend_request(person.caller)

    def stamp(self, now: datetime | None = None) -> str:
        """The consent cookie's value: what was agreed to, and when."""
        return f"{self.version}.{int((now or datetime.now(UTC)).timestamp())}"

    def _agreed(self, value: str) -> datetime | None:
        version, _, seconds = value.partition(".")
        if version != self.version or not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
            return None
        return datetime.fromtimestamp(int(seconds), UTC)


_OPEN = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/", "/gradio_api/file=")
_EXACT = {
    "/", "/config", "/config/", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
    "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/upload", "/gradio_api/upload_progress",
    "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/", "/gradio_api/startup-events",
    "/gradio_api/app_id", "/gradio_api/app_id/", "/gradio_api/theme.css", "/gradio_api/run/predict",
}  # fmt: skip
"""What the page needs of Gradio. Its API pages, proxy, monitoring and editing endpoints are answered 404."""
_AFTER_CONSENT = {"/gradio_api/upload"}

_HEADERS = {
    # Gradio's page holds inline scripts and styles and compiles templates, and its recorders make workers out of blobs;
    # everything stays on this origin.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob:; "
        "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware about Gradio: who may come, what is open to them, and headers that keep the page to itself."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _path(scope)
        refusal = self._refusal(HTTPConnection(scope), path)
        if refusal is None and path in EVENTS:
            body = await read_event(receive)
            if body is None:
                refusal = 413, "too much at once"
            elif names_no_upload(body):
                refusal = 403, "no upload of this page"
            else:
                receive = replayed(body, receive)
        if refusal is not None:
            await _answer(send, *refusal)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in names]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refusal(self, request: HTTPConnection, path: str) -> tuple[int, str] | None:
        if path not in _EXACT and not path.startswith(_OPEN):
            return 404, "not found"
        if path.startswith(FILES) and not path.startswith(f"{FILES}/"):
            return 403, "no upload of this page"
        try:
            person = self._door.person(request)
        except HTTPException as error:
            # The bare page may load: it is where a key is asked for.
            is_page = path == "/" or path.startswith(("/assets/", "/static/", "/theme.css", "/config"))
            return None if is_page and error.status_code == 401 else (error.status_code, str(error.detail))
        if path in _AFTER_CONSENT:
            if person.consented is None:
                return 403, say("consent.needed")
            try:
                self._door.count(person)
            except HTTPException as error:
                return error.status_code, str(error.detail)
        return None


def _path(scope: Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] or "/" if root and path.startswith(root) else path


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text, "error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def cookie_options(scheme: str) -> Mapping[str, Any]:
    """How every cookie of the page is set: out of scripts' reach, never sent from another site."""
    is_secure = scheme == "https"
    return {"httponly": True, "samesite": "strict", "secure": is_secure, "max_age": CONSENT_SECONDS, "path": "/"}
