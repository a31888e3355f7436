"""Stages, how far each is, and when it will be over: on stderr, so that stdout holds nothing but the result."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from affectgpt.cli.plain import plain

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["StageDisplay", "open_display"]

STAGE_WORDS = {
    "open": "opening",
    "face": "reading the face",
    "voice": "reading the voice",
    "speech": "finding the words",
    "encode": "encoding face and voice",
    "tell": "telling",
    "appraise": "appraising",
    "fuse": "making soft tokens",
    "model": "loading the model",
    "answer": "asking the model",
    "check": "checking claims",
    "revise": "asking the model again",
    "report": "writing the page",
}


class StageDisplay:
    """Bars with the time left on a terminal; elsewhere one line when a stage that took a while is over."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._lock = threading.Lock()
        self._begun: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> StageDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, stage: str, fraction: float | None, detail: str = "") -> None:
        """The agent's `Progress`: may be called from several threads."""
        words = STAGE_WORDS.get(stage, stage) + (f" ({plain(detail)})" if detail else "")
        with self._lock:
            begun = self._begun.setdefault(stage, time.monotonic())
            if self._bars.disable:
                if fraction == 1.0 and (took_s := time.monotonic() - begun) >= 0.1:
                    sys.stderr.write(f"{words}: {took_s:.1f} s\n")
                return
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(words, total=None)
            total = None if fraction is None else 1.0
            self._bars.update(self._tasks[stage], total=total, completed=fraction or 0.0, description=words)


class _Silence:
    """A display that shows nothing."""

    def __enter__(self) -> _Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def __call__(self, stage: str, fraction: float | None, detail: str = "") -> None:
        """Says nothing."""


def open_display(*, silent: bool) -> StageDisplay | _Silence:
    """What shows the stages, or hides them."""
    return _Silence() if silent else StageDisplay()
