"""The server's life: its parts are opened, its port taken, its address told; signals end it in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn

from affectgpt.agent import Progress, quiet
from affectgpt.errors import AffectError, OptionError
from serve.api.keys import KeyRing
from serve.gateway import create_app
from serve.logs import set_up_logs
from serve.parts import open_parts
from serve.settings import ServeSettings, is_loopback

__all__ = ["open_server"]

GRACE_S: Final = 10
"""How long answers under way may go on once the server is told to stop."""
BACKLOG: Final = 512


def open_server(settings: ServeSettings, progress: Progress = quiet) -> tuple[str, Callable[[], None]]:
    """(address, what runs until a signal comes), with everything loaded and the port taken.

    What runs raises AffectError where it ended because a part was lost that nothing can be served without.

    Raises:
        OptionError: the address cannot be had, or nobody could call. AffectError: a part cannot be had.
    """
    if not is_loopback(settings.host) and (settings.keys is None or not _has_key(KeyRing(settings.keys))):
        raise OptionError(
            f"{settings.host} can be reached from other machines and {settings.keys or 'no file'} holds no key",
            "make one with `affectgpt serve keys add`",
        )
    listening = _listen(settings.host, settings.port)
    with _ended_in_order():
        try:
            parts = open_parts(settings, progress)
            try:
                parts.warm(progress)
                app = create_app(settings, parts)
            except BaseException:
                asyncio.run(parts.close())
                raise
        except BaseException:
            listening.close()
            raise
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        # Whoever stands before us is believed by nobody: keys, not addresses, say who calls.
        proxy_headers=False,
    )
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def run() -> None:
        set_up_logs(settings.log_level)
        server, faults = uvicorn.Server(config), list[AffectError]()

        def end(fault: AffectError) -> None:
            faults.append(fault)
            server.should_exit = True

        parts.on_fault = end
        server.run(sockets=[listening])
        if faults:
            raise faults[0]

    return f"http://{shown}:{port}", run


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM raises here, as Ctrl-C does: what was opened so far, a server that still loads above all, is closed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _has_key(keys: KeyRing) -> bool:
    return any(key.revoked is None for key in keys.all())


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        what = f"{host}:{port} cannot be listened on: {error.strerror or error}"
        raise OptionError(what, "choose another --port") from None
