"""Replies spoken aloud by espeak-ng, where it is installed; nothing is sent anywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress

__all__ = ["PROGRAM", "Speaker", "find_speaker"]

PROGRAM = "espeak-ng"
_MARKS = re.compile(r"[*_#>`\[\]|]+|\(https?://[^)]*\)")
"""Markdown's own marks, which nobody wants to hear."""


class Speaker:
    """Speaks one text after the other in a process of its own, and is silent as soon as it is told to be."""

    def __init__(self, program: str, language: str) -> None:
        self._command = [program, "-b", "1", "-v", language]  # 1: its input is UTF-8
        self._process: subprocess.Popen[bytes] | None = None

    def speak(self, text: str) -> None:
        """Speak this after what is being spoken. A voice that fails never stops the conversation."""
        words = " ".join(_MARKS.sub(" ", text).split())
        if not words:
            return
        if self._process is None or self._process.poll() is not None:
            # Without words or a file, espeak-ng speaks each line of its input as it comes.
            quiet = subprocess.DEVNULL
            with suppress(OSError):
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        with suppress(OSError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(words.encode("utf-8", "replace") + b"\n")
                self._process.stdin.flush()

    def hush(self) -> None:
        """Stop in the middle of a word."""
        if self._process is not None:
            with suppress(OSError):
                self._process.terminate()
            self._close()

    def finish(self) -> None:
        """Speak what is left, and end."""
        if self._process is not None:
            self._close()

    def _close(self) -> None:
        assert self._process is not None
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()
        self._process = None


def find_speaker(locale: str) -> Speaker | None:
    """One that speaks the locale's language; None where espeak-ng is not installed."""
    program = shutil.which(PROGRAM)
    return Speaker(program, re.split(r"[-_]", locale)[0].lower() or "en") if program else None
