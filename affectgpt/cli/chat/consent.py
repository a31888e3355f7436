"""The notice before the first word, and that one agreed to it: the page's own words (`serve.web.notice`)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from affectgpt.cli.plain import plain
from affectgpt.engines.embedded import cache_root
from affectgpt.errors import OptionError
from affectgpt.report.parts import write_page
from serve.web.notice import CONSENT_SECONDS, consent_version, terminal_notice
from serve.web.texts import say

__all__ = ["ask_consent", "consent_file"]


def consent_file() -> Path:
    """Where it is remembered that one agreed: which notice, and when."""
    return cache_root() / "chat-consent.json"


def ask_consent(server: str, *, is_given: bool, read: Callable[[str], str] | None) -> None:
    """Return once the notice was agreed to: before, by `is_given` (`--yes`), or now at a terminal, by `read`.

    `server` is the host that what is written goes to, empty where it stays on this machine.

    Raises:
        OptionError: nobody is there to be asked. typer.Exit: they declined.
    """
    file = consent_file()
    lines = terminal_notice(server=server, remembered=str(file))
    version = consent_version(lines)
    if is_given or _is_remembered(file, version):
        return
    _show(lines)
    if read is None:
        raise OptionError("nobody agreed to the notice above", "read it, and say so with --yes")
    answer = read(f"{say('consent.agree')} [y/N] ").strip().lower()
    if answer not in ("y", "yes"):
        sys.stderr.write("Nothing was read and nothing is kept.\n")
        raise typer.Exit
    with suppress(OSError):  # a folder that cannot be written only means that one is asked again
        file.parent.mkdir(parents=True, exist_ok=True)
        write_page(file, json.dumps({"version": version, "agreed": int(time.time())}))


def _show(lines: Sequence[str]) -> None:
    sys.stderr.write(f"{say('consent.title')}\n\n" + "".join(f"{plain(line)}\n" for line in lines) + "\n")
    sys.stderr.flush()


def _is_remembered(file: Path, version: str) -> bool:
    try:
        kept: Any = json.loads(file.read_text("utf-8"))
        return bool(kept["version"] == version and 0 <= time.time() - kept["agreed"] < CONSENT_SECONDS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
