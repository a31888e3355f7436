"""What vLLM's log lines mean: the stage that one begins, and which of them tell why it died."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["blame", "stage_of"]

_STAGES = (
    (re.compile(r"Starting to load model|Loading (?:safetensors|weights)", re.IGNORECASE), "loading the weights"),
    (re.compile(r"Compiling a graph|Capturing CUDA graphs|Dynamo bytecode transform"), "compiling"),
    (re.compile(r"KV cache size|kv cache for|GPU KV cache"), "making room for the cache"),
    (
        re.compile(r"Starting vLLM (?:API )?server|Loaded new LoRA adapter|Application startup complete"),
        "opening the door",
    ),
)
"""As vLLM 0.32 words them. Where a later one words them otherwise, an earlier stage is shown for longer."""

_SETTINGS = re.compile(r"non-default args|with config: |compilation_config")
_PREFIX = re.compile(r"^(?:\([\w ]+pid=\d+\) )*(?:(?:ERROR|CRITICAL)\b[^\]]*\] ?)?")
_FAULT = re.compile(
    r"^(?:[\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|NotFound)\b.*|^(?:error|fatal)\b.*", re.IGNORECASE
)
N_LAST = 4
LONGEST = 300


def stage_of(line: str) -> str | None:
    """The stage that this line begins, None where it tells of none."""
    if _SETTINGS.search(line):
        return None
    return next((stage for pattern, stage in _STAGES if pattern.search(line)), None)


def blame(lines: Sequence[str]) -> str:
    """Why it died, in one line: the first faults that it named, else the last things that it said.

    vLLM's workers fail first and say why; what follows only says that somebody failed.
    """
    plain = [_plain(line) for line in lines]
    faults = list(dict.fromkeys(line for line in plain if _FAULT.match(line)))
    said = faults[:2] if faults else [line for line in plain if line][-N_LAST:]
    return " | ".join(line[:LONGEST] for line in said)


def _plain(line: str) -> str:
    """A line without vLLM's prefix and without control characters: its words reach the terminal."""
    shown = "".join(c if c.isprintable() else " " for c in line)
    return " ".join(_PREFIX.sub("", shown, count=1).split())
