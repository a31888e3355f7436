"""Who is calling, and whether they may: a key, or without keys a client on this machine; and how often.

gate = Gate(KeyRing(path))                                   # or Gate(None): this machine alone
@app.get("/v1/models")
async def models(caller: Caller = Depends(gate.caller)): ...
gate.spend_media(caller, attachment)                         # before anything of it is read
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

from serve.api.keys import KeyLimits, KeyRing
from serve.events import Attachment
from serve.marks import MARK

__all__ = ["LOCAL_OWNER", "Caller", "Gate"]

LOCAL_OWNER = "local"
"""Who owns what is kept where there are no keys."""

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip")
"""Headers that a proxy adds. Their values are never read, for anybody may write them; that one is there says enough."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `owner` is whose conversations these are; `key_id` None for a client on this machine without keys."""

    owner: str
    key_id: str | None = None
    name: str = ""
    limits: KeyLimits | None = None


class Gate:
    """Lets callers in. Limits are counted in moving windows, by key and exactly, however many calls come at once."""

    def __init__(self, keys: KeyRing | None, storage: str = "memory://") -> None:
        """`storage`: where the counts are, as the `limits` library names it; several processes want to share one."""
        self._keys = keys
        self._limiter = MovingWindowRateLimiter(storage_from_string(storage))
        self._lock = threading.Lock()

    async def caller(self, request: Request) -> Caller:
        """FastAPI's dependency: who calls, one request counted.

        Raises:
            HTTPException: 401 without a key that counts, 403 from elsewhere where there are none, 429 over the limit.
        """
        caller = self.identify(request.headers, request.client.host if request.client else None)
        if (mark := request.scope.get(MARK)) is not None:
            mark.key_id = caller.key_id
        self.spend_request(caller)
        return caller

    def identify(self, headers: Mapping[str, str], client: str | None) -> Caller:
        """Who calls, without counting: headers by lower-case name, and the address that the connection comes from.

        Raises:
            HTTPException: as `caller`, but for 429.
        """
        if self._keys is None:
            _demand_this_machine(headers, client)
            return Caller(LOCAL_OWNER)
        return self.holder(_presented(headers))

    def holder(self, secret: str | None) -> Caller:
        """Who holds this secret: for a page that was given it another way. Raises HTTPException 401."""
        key = self._keys.find(secret) if secret and self._keys is not None else None
        if key is None:
            raise HTTPException(401, "give an API key: Authorization: Bearer agpt_…", {"WWW-Authenticate": "Bearer"})
        return Caller(key.owner, key.id, key.name, key.limits)

    def spend_request(self, caller: Caller) -> None:
        """Count a request. Raises HTTPException 429 over the limit."""
        if caller.limits is not None:
            self._spend(RateLimitItemPerMinute(caller.limits.requests_per_minute), caller, 1)

    def spend_media(self, caller: Caller, attachment: Attachment) -> None:
        """Count a file's seconds; words cost none. Where nobody looked how long it plays, `spend_seconds` is to follow.

        Raises:
            HTTPException: as `spend_seconds`.
        """
        if attachment.kind != "transcript" and attachment.duration_s is not None:
            self.spend_seconds(caller, attachment.duration_s)

    def spend_seconds(self, caller: Caller, seconds: float) -> None:
        """Count seconds of media, each begun one whole, and at least one.

        Raises:
            HTTPException: 429 over the limit, 413 for more than any hour allows.
        """
        if caller.limits is None:
            return
        n_seconds, most = max(1, math.ceil(seconds)), caller.limits.media_s_per_hour
        if n_seconds > most:
            raise HTTPException(413, f"{n_seconds} s of media: this key may send {most} s an hour")
        self._spend(RateLimitItemPerHour(most), caller, n_seconds)

    def _spend(self, item: RateLimitItem, caller: Caller, cost: int) -> None:
        name = caller.key_id or caller.owner
        with self._lock:  # the memory storage drops locks of its own while others wait for them
            if self._limiter.hit(item, name, cost=cost):
                return
            reset = self._limiter.get_window_stats(item, name).reset_time
        wait_s = max(1, math.ceil(reset - time.time()))
        unit = "requests a minute" if isinstance(item, RateLimitItemPerMinute) else "seconds of media an hour"
        raise HTTPException(429, f"over {item.amount} {unit}; try again in {wait_s} s", {"Retry-After": str(wait_s)})


def _presented(headers: Mapping[str, str]) -> str | None:
    """The key of a request: `Authorization: Bearer`, as OpenAI's clients send it, or `X-API-Key`."""
    scheme, _, secret = headers.get("authorization", "")[:256].partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")[:256] or None


def _demand_this_machine(headers: Mapping[str, str], client: str | None) -> None:
    """Whether the client is a program of this machine and no page of a strange site in a browser on it.

    A page elsewhere can make a browser call 127.0.0.1: its `Origin` tells. One whose name was pointed at 127.0.0.1 (DNS
    rebinding) shows in `Host`.
    """
    is_forwarded = any(name in headers for name in _FORWARDED)
    host = _hostname(f"//{headers.get('host', '')}")
    origin = headers.get("origin")
    is_here = client is not None and _is_this_machine(client) and not is_forwarded
    if not is_here or not _is_this_machine(host) or (origin is not None and not _is_this_machine(_hostname(origin))):
        raise HTTPException(403, "without API keys only programs on this machine are served: see `serve keys add`")


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_this_machine(host: Any) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
