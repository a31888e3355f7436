"""The server behind `affectgpt data show`: who may ask, and what is answered."""

from __future__ import annotations

import json
import secrets
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any, ClassVar, Protocol

from affectgpt.errors import InputError, OptionError

__all__ = ["Desk", "RowHandler"]

LONGEST_BODY = 10_000


class Desk(Protocol):
    """Rows by number, and decisions on them."""

    secret: str

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def row(self, i: int) -> dict[str, Any]:
        """One row as plain JSON. Raises InputError for a malformed one."""
        ...

    def decide(self, row_id: str, verdict: str) -> None:
        """Keep a decision. Raises OptionError for any but keep and drop."""
        ...

    def finish(self) -> None:
        """The person is done."""
        ...


class RowHandler(BaseHTTPRequestHandler):
    """Three paths under the secret: the page, a row, a decision."""

    desk: ClassVar[Desk]

    def do_GET(self) -> None:
        """The page, or one row."""
        parts = self._parts()
        if parts == []:
            self._send(200, "text/html; charset=utf-8", files("instruction_data").joinpath("browse.html").read_bytes())
        elif parts and len(parts) == 2 and parts[0] == "row" and parts[1].isascii() and parts[1].isdigit():
            self._row(int(parts[1]))
        else:
            self._send(404, "text/plain", b"no such page")

    def do_POST(self) -> None:
        """A decision, or the end."""
        parts = self._parts()
        is_json = self.headers.get("Content-Type", "") == "application/json"
        length = self.headers.get("Content-Length", "")
        if parts not in (["decide"], ["finish"]) or not is_json or not length.isdigit() or int(length) > LONGEST_BODY:
            self._send(400, "text/plain", b"not taken")
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
            if parts == ["decide"]:
                self.desk.decide(str(asked["id"]), str(asked["verdict"]))
            else:
                self.desk.finish()
        except (ValueError, KeyError, TypeError, OptionError):
            self._send(400, "text/plain", b"not taken")
            return
        self._send(200, "application/json", b"{}")

    def _row(self, i: int) -> None:
        if i >= len(self.desk):
            self._send(404, "text/plain", b"no such row")
            return
        try:
            body = json.dumps(self.desk.row(i)).encode()
        except InputError as error:
            body = json.dumps({"i": i, "n": len(self.desk), "fault": str(error)}).encode()
        self._send(200, "application/json", body)

    def _parts(self) -> list[str] | None:
        """The path behind the secret; None without it, or for another host than the one that was given out."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        first, *rest = self.path.lstrip("/").split("/")
        if host not in ("127.0.0.1", "localhost") or not secrets.compare_digest(
            first.encode(), self.desk.secret.encode()
        ):
            return None
        return [p for p in rest if p]

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is for the address."""
