"""A real server on loopback that would love to be asked, and names that lead wherever a test wants."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from serve.incoming.remote import Remote

MB = 1_000_000
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the authorities takes longer than most of these tests."""

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "2001::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
    "ff0e::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:808:808",
    "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "", "media.test", "8.8.8.8 ", "8.8.8.8/32",
]  # fmt: skip


class Media(BaseHTTPRequestHandler):
    """A server that would love to be asked."""

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path, dict(self.headers)))  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"_{path.strip('/') or 'ok'}", self._missing)(query)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _ok(self, query: str) -> None:
        self._answer(200, b"media", Content_Length="5")

    def _missing(self, query: str) -> None:
        self._answer(404)

    def _to(self, query: str) -> None:
        self._answer(302, Location=unquote(query))

    def _hops(self, query: str) -> None:
        n = int(query)
        self._answer(307, Location=f"/hops?{n - 1}" if n > 1 else "/ok")

    def _nowhere(self, query: str) -> None:
        self._answer(302)

    def _told(self, query: str) -> None:
        self._answer(200, b"x", Content_Length=query)

    def _endless(self, query: str) -> None:
        self._answer(200)
        for _ in range(10_000):
            self.wfile.write(bytes(10_000))

    def _slow(self, query: str) -> None:
        self._answer(200)
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _zipped(self, query: str) -> None:
        self._answer(200, b"\x1f\x8b", Content_Encoding="gzip")

    def log_message(self, *_: Any) -> None:
        """Silence."""


class Names:
    """A resolver of our own: each name's addresses, one answer after the other, the last again and again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(rows) for name, rows in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        rows = self.answers.get(host)
        if rows is None:
            raise OSError(f"no {host}")
        return rows.pop(0) if len(rows) > 1 else rows[0]


def fetch(remote: Remote, url: str, max_bytes: int = MB) -> bytes:
    async def whole() -> bytes:
        return b"".join([block async for block in remote.fetch(url, max_bytes)])

    return asyncio.run(whole())
