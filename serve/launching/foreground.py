"""vLLM in the foreground: `python -m serve.launching.foreground`, which is what `make vllm` runs.

Once it is ready, the lines that point other programs at it are printed on stdout; all else goes to stderr. SIGINT and
SIGTERM stop it in order, a second one at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from affectgpt.errors import AffectError
from serve.launching.command import LaunchOptions, command_for
from serve.launching.launch import Limits, ModelServer, progress_line

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Start, wait, stop; the exit code."""
    args = _parser().parse_args(words)
    adapters = None if args.adapter is None else tuple(Path(name) for name in args.adapter if name != "none")
    options = LaunchOptions(
        model=args.model,
        adapters=adapters,
        merge=args.merge,
        spare_adapters=args.spare_adapters,
        flags=tuple(args.flags),
    )
    try:
        server = ModelServer(
            command_for(options),
            Limits(start_within_s=args.start_within),
            port=args.port,
            key=os.environ.get("AFFECTGPT_API_KEY") or None,
            log=args.log,
            tell=progress_line(),
        )
        return _run(server)
    except AffectError as error:
        sys.stderr.write(f"\n{error}\n")
        return error.exit_code


def _run(server: ModelServer) -> int:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, lambda *_: server.kill())
        signal.signal(signal.SIGTERM, lambda *_: server.kill())
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    try:
        with server:
            sys.stdout.write(_pointers(server))
            sys.stdout.flush()
            server.wait()
            server.check()
    except KeyboardInterrupt:
        sys.stderr.write("vllm: stopped\n")
    return 0


def _pointers(server: ModelServer) -> str:
    """Lines for a shell that point `affectgpt` and other OpenAI clients at this server."""
    model = (*server.adapters, server.base)[0]
    told = {"OPENAI_BASE_URL": server.base_url, "AFFECTGPT_API_KEY": server.key, "AFFECTGPT_MODEL": model}
    return "".join(f"export {name}={value}\n" for name, value in told.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve.launching.foreground", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", help="a Hugging Face id or a folder; the embedded model if left out")
    parser.add_argument("--adapter", action="append", metavar="FOLDER|none", help="again for each; the shipped one")
    parser.add_argument("--merge", action="store_true", help="put the one adapter into the weights")
    parser.add_argument("--spare-adapters", type=int, metavar="N", help="how many can be pushed later (1)")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes any (8000)")
    parser.add_argument("--start-within", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--log", type=Path, help="keep all that vLLM says in this file")
    parser.add_argument("flags", nargs="*", metavar="-- FLAG", help="further flags for `vllm serve`; they win")
    return parser


if __name__ == "__main__":
    sys.exit(main())
