"""The server that writes: one pool of connections to any OpenAI-compatible endpoint, without a client library.

The `openai` client builds a validated object for every token; a gateway in front of a fast server cannot afford that.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from affectgpt.errors import EngineError, EngineUnreachable
from serve.marks import trace_headers
from serve.settings import is_loopback

__all__ = ["Delta", "Upstream", "UpstreamError", "key_for", "read_chunk"]

OPENAI_HOST = "api.openai.com"
N_CONNECTIONS = 512
_CONNECT_S = 5.0
LISTED_FOR_S = 5.0
"""An adapter that was pushed into the server is known after this."""


class UpstreamError(EngineError):
    """The server refused a request: `status`, and `body`, its error in the OpenAI form."""

    def __init__(self, what: str, remedy: str = "", status: int = 502, body: Mapping[str, Any] | None = None) -> None:
        self.status = status
        self.body = dict(body or {})
        super().__init__(what, remedy)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one chunk of a stream adds. `n_tokens` counts the prompt's and the answer's, where the chunk says so.

    `calls` are pieces of tool calls: those of one `index` belong together, their arguments joined.
    """

    content: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    n_tokens: tuple[int, int] | None = None
    calls: tuple[Mapping[str, Any], ...] = ()


def read_chunk(chunk: Mapping[str, Any]) -> Delta:
    """The first choice of a streamed chunk; reasoning under either of its two names."""
    usage, choices = chunk.get("usage"), chunk.get("choices")
    n_tokens = (int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))) if usage else None
    if not choices:
        return Delta(n_tokens=n_tokens)
    delta = choices[0].get("delta") or {}
    thought = delta.get("reasoning") or delta.get("reasoning_content") or ""
    calls = tuple(piece for piece in delta.get("tool_calls") or () if isinstance(piece, dict))
    return Delta(delta.get("content") or "", thought, choices[0].get("finish_reason"), n_tokens, calls)


def key_for(base_url: str, given: str | None, env: Mapping[str, str] = os.environ) -> str | None:
    """The key to send: the one given, AFFECTGPT_API_KEY, or to api.openai.com over https alone OPENAI_API_KEY."""
    parts = urlsplit(base_url)
    own = given or env.get("AFFECTGPT_API_KEY")
    if not own and parts.hostname == OPENAI_HOST and parts.scheme == "https":
        own = env.get("OPENAI_API_KEY")
    return own or None


class Upstream:
    """One server. Redirects are refused: they could carry a prompt elsewhere. Belongs to one event loop.

    `is_kept`: it is started again by itself where it ends, so that waiting is the remedy.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, *, timeout_s: float = 120.0, is_kept: bool = False
    ) -> None:
        self.base_url = base_url.rstrip("/")
        parts = urlsplit(base_url)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._key = api_key
        self._naming = _Named(self.shown, timeout_s, is_kept=is_kept)
        self._listed: frozenset[str] = frozenset()
        self._listed_s = -math.inf
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        is_near = is_loopback(parts.hostname or "")
        limits = httpx.Limits(max_connections=N_CONNECTIONS, max_keepalive_connections=N_CONNECTIONS)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
            follow_redirects=False,
            trust_env=not is_near,
            transport=httpx.AsyncHTTPTransport(retries=2, limits=limits) if is_near else None,
            limits=limits,
            event_hooks={"request": [_continue_trace]},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def models(self, timeout_s: float = _CONNECT_S) -> list[str]:
        """Names of the models that it lists. Raises EngineError, EngineUnreachable."""
        with self._naming:
            response = await self._client.get(f"{self.base_url}/models", timeout=timeout_s)
        return model_names(self._checked(response), self.shown)

    async def has(self, name: str) -> bool:
        """Whether it lists a model of this name; the list is asked for again at most every `LISTED_FOR_S`."""
        if time.monotonic() - self._listed_s > LISTED_FOR_S:
            self._listed = frozenset(await self.models())
            self._listed_s = time.monotonic()
        return name in self._listed

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One whole chat completion. Raises UpstreamError, EngineError, EngineUnreachable."""
        with self._naming:
            response = await self._client.post(f"{self.base_url}/chat/completions", json=body)
        answer = self._checked(response)
        if not answer.get("choices"):
            raise self._nonsense()
        return answer

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[dict[str, Any]], None]:
        """The chunks of one chat completion; leaving the block closes the connection, which stops the server's work.

        Raises:
            UpstreamError, EngineError, EngineUnreachable: also while the chunks come.
        """
        with self._naming:
            asking = self._client.stream("POST", f"{self.base_url}/chat/completions", json=body)
            async with asking as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    self._checked(response)
                yield self._chunks(response)

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        """Every chunk. Raises EngineError where the answer breaks off: a closed connection alone is no end of one."""
        is_whole = False
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            data = line[5:].strip()
            if data == "[DONE]":
                return
            try:
                chunk = json.loads(data)
            except ValueError:
                raise self._nonsense() from None
            if error := chunk.get("error"):
                raise self._refusal(502, error)
            is_whole = is_whole or any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
            yield chunk
        if not is_whole:
            raise self._naming.broken_off()

    def _checked(self, response: httpx.Response) -> dict[str, Any]:
        try:
            read = response.json()
        except ValueError:
            read = None
        if response.status_code != httpx.codes.OK:
            error = read.get("error", read) if isinstance(read, dict) else None
            raise self._refusal(response.status_code, error if isinstance(error, dict) else {"message": "no reason"})
        if not isinstance(read, dict):
            raise self._nonsense()
        return read

    def _refusal(self, status: int, error: Any) -> UpstreamError:
        body = error if isinstance(error, dict) else {"message": str(error)}
        said = "".join(c if c.isprintable() else " " for c in str(body.get("message", "")))[:500]
        said = said.replace(self._key, "[key]") if self._key else said
        if status in (401, 403):
            # Ours with the server, never the caller's with us.
            return UpstreamError(f"{self.shown} refused this gateway's key", "give it by --api-key", 502)
        if 300 <= status < 400:
            return UpstreamError(f"{self.shown} redirects", "name the server's final URL with --base-url", 502)
        shown = status if status in (400, 404, 413, 422, 429, 503) else 502
        return UpstreamError(f"the model's server answered {status}: {said}", "", shown, {**body, "message": said})

    def _nonsense(self) -> EngineError:
        return EngineError(f"{self.shown} did not answer in the OpenAI form", "see that --base-url is the server's /v1")


async def _continue_trace(request: httpx.Request) -> None:
    request.headers.update(trace_headers())


class _Named:
    """Turns what the connection raises into this package's errors."""

    def __init__(self, url: str, timeout_s: float, *, is_kept: bool) -> None:
        self._url, self._timeout_s, self._is_kept = url, timeout_s, is_kept

    def broken_off(self) -> EngineError:
        """What to tell of an answer that has no end."""
        if self._is_kept:
            return EngineUnreachable("the model server ended", "it is being started again: try in a minute or two")
        return EngineError(f"{self._url} broke off in the middle of an answer", "look into the server's log")

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._is_kept and isinstance(error, httpx.HTTPError) and not isinstance(error, httpx.TimeoutException):
            raise self.broken_off()
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise EngineUnreachable(f"nothing answers at {self._url}", "start the server, or correct --base-url")
        if isinstance(error, httpx.TimeoutException):
            what = f"{self._url} did not answer within {self._timeout_s:g} s"
            raise EngineError(what, "raise AFFECTGPT_SERVE_TIMEOUT_S")
        if isinstance(error, httpx.HTTPError):
            raise EngineUnreachable(f"{self._url} broke off: {type(error).__name__}", "look into the server's log")


def model_names(answer: Mapping[str, Any], shown: str) -> list[str]:
    """The ids in an answer of /models. Raises EngineError where it is none."""
    listed = answer.get("data")
    if not isinstance(listed, list) or not all(isinstance(m, dict) and isinstance(m.get("id"), str) for m in listed):
        raise EngineError(f"{shown} did not list its models", "see that --base-url is the server's /v1")
    return [m["id"] for m in listed]
