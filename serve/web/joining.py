"""What an event of the page may carry: words, choices, and files that were uploaded here; never an address.

Gradio 6.31 fetches whatever http(s) address stands where a file's path should, and hands out what it fetches under
`/file=`. It refuses private addresses, and that is all: this server fetches nothing but from hosts that were allowed.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.types import Message, Receive

__all__ = ["EVENTS", "FILES", "names_no_upload", "read_event", "replayed"]

EVENTS: Final = frozenset({"/gradio_api/queue/join", "/gradio_api/run/predict"})
"""Where events come in, as JSON."""
FILES: Final = "/gradio_api/file="
LARGEST_EVENT: Final = 1_000_000
"""Bytes: a message has 20,000 characters at most, and files are uploaded by themselves."""


async def read_event(receive: Receive) -> bytes | None:
    """The request's body; None as soon as it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)  # the client left
        body += message.get("body", b"")
        if len(body) > LARGEST_EVENT:
            return None
        if not message.get("more_body"):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, then whatever else comes: that the client leaves."""
    left = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again


def names_no_upload(body: bytes) -> bool:
    """Whether a file of this event is named by anything but an absolute path, as every upload is; also for no JSON."""
    try:
        left: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return True
    while left:
        value = left.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and not path.startswith("/"):
                return True
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False
