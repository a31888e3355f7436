"""Load an adapter into a running vLLM and see that it is really there.

vLLM's `/v1/load_lora_adapter` has answered 200 for a path that does not exist (its issue 18372), so the answer proves
nothing: the adapter counts as loaded when `/v1/models` lists it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from affectgpt.engines import adapter
from affectgpt.errors import EngineError, EngineUnreachable, OptionError

__all__ = ["push"]

LISTED_WITHIN_S = 10.0
LARGEST_ANSWER = 4_000_000
REMEDY = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and see that it can read this folder"


class _NoRedirect(HTTPRedirectHandler):
    """A redirect could carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def push(
    folder: Path, base_url: str, *, name: str | None = None, api_key: str | None = None, timeout_s: float = 60.0
) -> str:
    """Load the adapter under `name` (its id by default) and verify it; the name that requests give as `model`.

    `base_url` is the server's, with or without `/v1`. The server reads `folder` from its own disk.

    Raises:
        ModelError: the folder is not a whole adapter. EngineUnreachable: nothing answers.
        EngineError: the server refused, or says yes and does not list the adapter, or lists it with another base.
    """
    manifest = adapter.read_manifest(folder)
    server = _Server(_checked(base_url), api_key, timeout_s)
    name = name or manifest.id
    if name in server.listed():
        server.post("/v1/unload_lora_adapter", {"lora_name": name})
        _wait(server, name, wanted=False)
    server.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder.resolve())})
    _wait(server, name, wanted=True)
    return name


def _wait(server: _Server, name: str, *, wanted: bool) -> None:
    until = time.monotonic() + min(LISTED_WITHIN_S, server.timeout_s)
    while (name in server.listed()) is not wanted:
        if time.monotonic() > until:
            told = "does not list it" if wanted else "still lists the older one"
            raise EngineError(f"{server.url} took adapter {name!r} and {told} in /v1/models", REMEDY)
        time.sleep(0.2)


class _Server:
    """An OpenAI-compatible server's JSON routes."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        self.url, self.timeout_s = url, timeout_s
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {api_key}"} if api_key else {}
        )
        self._opener = build_opener(_NoRedirect)

    def listed(self) -> set[str]:
        """Names of the models and adapters that it serves."""
        try:
            rows = json.loads(self._ask("/v1/models", None))["data"]
            return {str(row["id"]) for row in rows}
        except (ValueError, KeyError, TypeError) as e:
            raise EngineError(f"{self.url}/v1/models is no list of models", "see that this is an OpenAI server") from e

    def post(self, route: str, body: dict[str, str]) -> None:
        """Ask, and take whatever it says as long as it is no error."""
        self._ask(route, json.dumps(body).encode())

    def _ask(self, route: str, body: bytes | None) -> str:
        request = Request(self.url + route, data=body, headers=self._headers)  # noqa: S310 - http(s), checked
        try:
            with self._opener.open(request, timeout=self.timeout_s) as reply:
                return str(reply.read(LARGEST_ANSWER).decode("utf-8", "replace"))
        except HTTPError as e:
            said = " ".join(e.read(2000).decode("utf-8", "replace").split())[:300]
            remedy = "give the server's key" if e.code in (401, 403) else REMEDY
            raise EngineError(f"{self.url}{route} answered {e.code}: {said}", remedy) from None
        except (URLError, TimeoutError, OSError) as e:
            reason = getattr(e, "reason", e)
            raise EngineUnreachable(f"nothing answers at {self.url}: {reason}", "start the server") from None


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise OptionError(f"{parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()!r} is no server's URL",
                          "write for example http://127.0.0.1:8000")  # fmt: skip
    return base_url.rstrip("/").removesuffix("/v1")
