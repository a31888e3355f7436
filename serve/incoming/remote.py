"""Media that a client names instead of sending: http(s) URLs of hosts that the operator allows.

A host's name is resolved once; every address that it has must be a public one; the connection goes to one of these
and nowhere else, so a name that changes its address in between (DNS rebinding) gains nothing. Redirects are followed by
hand and held to all of it again. No proxy, cookie or credential of this machine is used.

safehttpx, which comes with Gradio, was read (0.1.7) and not taken: it lets an allowed host skip every check of its
address, asks a public resolver about names that the local one does not know, passes shared address space (RFC 6598) and
NAT64, and leaves redirects, sizes and time to its caller.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

import httpx

from affectgpt.errors import OptionError, UploadTooLarge, UrlRefused
from serve.incoming.addresses import Resolver, is_public, resolve

__all__ = ["Remote"]

MAX_REDIRECTS: Final = 3
MAX_URL: Final = 2048

# Printable ASCII without space, quote and backslash, which parsers of URLs disagree about.
_URL: Final = re.compile(
    r"https?://(?P<authority>[\w.~%:@\[\]!$&'()*+,;=-]+)(?:[/?#][!#-\[\]^_`a-z{|}~]*)?", re.I | re.A
)
_HOST: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ENTRY: Final = re.compile(r"(?P<wild>\*\.)?(?P<host>[^\s/\\@:?#\[\]*%]+)(?::(?P<port>\d{1,5}))?")
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be asked, its host in ASCII and its port."""

    url: httpx.URL
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the allow list: `host`, `*.host` for every name below it, either with a port."""

    host: str
    is_wild: bool
    port: int | None

    def allows(self, host: str, port: int, scheme: str) -> bool:
        is_host = host.endswith("." + self.host) if self.is_wild else host == self.host
        return is_host and port == (_PORTS[scheme] if self.port is None else self.port)


class Remote:
    """Fetches from the hosts of `allow`, and from no other: `media.example.org`, `*.example.org`, `example.org:8443`.

    Without a port in its line a host is asked on 80 and 443 only. `networks` are addresses that allowed hosts may have
    although they are not public: a media store of one's own. `seconds` bounds a fetch as a whole, `connect_s` each
    connection. `tls` replaces the system's certificate authorities.
    """

    def __init__(
        self,
        allow: Iterable[str],
        *,
        networks: Iterable[str] = (),
        resolver: Resolver = resolve,
        seconds: float = 60.0,
        connect_s: float = 5.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._entries = tuple(map(_entry, allow))
        try:
            self._networks = tuple(map(ip_network, networks))
        except ValueError as error:
            raise OptionError(f"an allowed network: {error}", "write it like 10.0.0.0/8") from None
        self._resolver = resolver
        self._seconds, self._connect_s = seconds, connect_s
        self._tls = tls or httpx.create_ssl_context()

    async def fetch(self, url: str, max_bytes: int) -> AsyncIterator[bytes]:
        """The content of a URL, in blocks.

        Raises:
            UrlRefused: its form, host, port, address, a redirect, or the answer is not as it must be.
            UploadTooLarge: more than `max_bytes`.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._seconds
        target = self._check(url)
        timeout = httpx.Timeout(self._seconds, connect=self._connect_s)
        async with httpx.AsyncClient(trust_env=False, timeout=timeout, verify=self._tls) as client:
            try:
                for _ in range(MAX_REDIRECTS + 1):
                    async with asyncio.timeout_at(end_s):
                        response = await self._ask(client, target)
                    try:
                        if response.status_code not in _REDIRECTS:
                            async with aclosing(_body(response, target, max_bytes, end_s)) as blocks:
                                async for block in blocks:
                                    yield block
                            return
                        target = self._follow(target, response)
                    finally:
                        await response.aclose()
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
                raise UrlRefused(f"{target.host}: it could not be fetched ({type(error).__name__})", _SEND) from None
            except TimeoutError:
                raise UrlRefused(f"{target.host}: it took longer than {self._seconds:g} s", _SEND) from None
        raise UrlRefused(f"{target.host}: more than {MAX_REDIRECTS} redirects", _SEND)

    def _check(self, text: str) -> _Target:
        """The URL, if its form, its host and its port are allowed; nothing is asked yet."""
        form = _URL.fullmatch(text) if len(text) <= MAX_URL else None
        try:
            url = httpx.URL(text if form else "")
            host = url.raw_host.decode("ascii").lower().removesuffix(".")
            port = _PORTS[url.scheme] if url.port is None else url.port
        except (httpx.InvalidURL, UnicodeError, ValueError, KeyError):
            host = ""
        if form is None or not host:
            raise UrlRefused("a URL that is no plain http(s) URL", "write it like https://media.example.org/clip.mp4")
        if "@" in form["authority"]:
            raise UrlRefused(f"{host}: a URL with a name or a password in it", "leave them out")
        if not any(entry.allows(host, port, url.scheme) for entry in self._entries):
            raise UrlRefused(f"{host[:80]}: no host that is allowed here (port {port})", _SEND)
        return _Target(url, host, port)

    async def _ask(self, client: httpx.AsyncClient, target: _Target) -> httpx.Response:
        """Send the request to an address that was checked, in the host's name."""
        try:
            addresses = list(dict.fromkeys(await self._resolver(target.host, target.port)))
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise UrlRefused(f"{target.host}: no address is known for it", "check the name")
        if not all(is_public(address, self._networks) for address in addresses):
            raise UrlRefused(f"{target.host}: it leads to an address that is not public", _SEND)
        headers = {"Host": target.url.netloc.decode("ascii"), "Accept": "*/*", "Accept-Encoding": "identity"}
        for n, address in enumerate(addresses, 1):
            pinned = target.url.copy_with(host=address, fragment=None)
            names = {"sni_hostname": target.host}
            try:
                request = client.build_request("GET", pinned, headers=headers, extensions=names)
                return await client.send(request, stream=True, follow_redirects=False)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if n == len(addresses):
                    raise
        raise AssertionError("there is at least one address")

    def _follow(self, target: _Target, response: httpx.Response) -> _Target:
        location = response.headers.get("location", "")
        try:
            joined = str(target.url.join(location))
        except (httpx.InvalidURL, ValueError):
            joined = ""
        moved = self._check(joined)
        if target.url.scheme == "https" and moved.url.scheme != "https":
            raise UrlRefused(f"{moved.host}: a redirect from https to http", _SEND)
        return moved


_SEND: Final = "send the file itself"


async def _body(response: httpx.Response, target: _Target, max_bytes: int, end_s: float) -> AsyncGenerator[bytes, None]:
    if response.status_code != httpx.codes.OK:
        raise UrlRefused(f"{target.host}: it answered {response.status_code}", "check the URL")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UrlRefused(f"{target.host}: it answered in a compressed form", _SEND)
    large = UploadTooLarge(f"{target.host}: more than {max_bytes} bytes", "send a smaller file")
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise large
    n_bytes = 0
    blocks = aiter(response.aiter_raw())
    while True:
        async with asyncio.timeout_at(end_s):
            try:
                block = await anext(blocks)
            except StopAsyncIteration:
                return
        n_bytes += len(block)
        if n_bytes > max_bytes:
            raise large
        yield block


def _entry(text: str) -> _Entry:
    found = _ENTRY.fullmatch(text.strip().lower())
    try:
        host = httpx.URL(f"http://{found['host']}/").raw_host.decode("ascii") if found else ""
    except (httpx.InvalidURL, UnicodeError):
        host = ""
    port = int(found["port"]) if found and found["port"] else None
    if found is None or not _is_host(host) or port == 0 or (port or 0) > 65535:
        raise OptionError(f"{text!r} is no host to allow", "write it like media.example.org or *.example.org")
    return _Entry(host, bool(found["wild"]), port)


def _is_host(host: str) -> bool:
    """A name, or an IPv4 address in its one usual form: never 127.1 or 0x7f.1, which a resolver takes for one too."""
    last = host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        try:
            return str(ip_address(host)) == host
        except ValueError:
            return False
    return _HOST.fullmatch(host) is not None
