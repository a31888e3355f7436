"""A job's progress on stderr: bars by stage on a terminal, a line every half minute in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from affectgpt.cli.plain import plain

if TYPE_CHECKING:
    from affectgpt.batch.tally import Snapshot, StageState

__all__ = ["BatchDisplay", "describe", "open_batch_display"]

LINE_EVERY_S: Final = 30.0
_WORDS: Final = {"fetch": "fetching", "read": "reading", "answer": "answering", "write": "keeping"}


class BatchDisplay:
    """Called with snapshots; shows the latest. The last one, when the job is over, is always told."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._is_terminal = console.is_terminal
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._told_s = time.monotonic()
        self._last: Snapshot | None = None

    def __enter__(self) -> BatchDisplay:
        if self._is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._live.stop()
        if self._last is not None:
            sys.stderr.write(describe(self._last)[0] + "\n")

    def __call__(self, snapshot: Snapshot) -> None:
        """The job's `Watch`."""
        self._last = snapshot
        if self._is_terminal:
            from rich.text import Text

            self._live.update(Text("\n".join(describe(snapshot))))
        elif time.monotonic() - self._told_s >= LINE_EVERY_S:
            self._told_s = time.monotonic()
            sys.stderr.write(describe(snapshot)[0] + "\n")
            sys.stderr.flush()


class _Silence:
    """A display that shows nothing."""

    def __enter__(self) -> _Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Says nothing."""


def open_batch_display(*, silent: bool) -> BatchDisplay | _Silence:
    """What shows a job's progress, or hides it."""
    return _Silence() if silent else BatchDisplay()


def describe(snapshot: Snapshot) -> list[str]:
    """The job in one line, and a line for each of its stages."""
    total = "" if snapshot.n_total is None else f" of {snapshot.n_total}"
    recalled = snapshot.how.get("recalled", 0) + snapshot.how.get("shared", 0)
    parts = [
        f"{snapshot.n_done}{total} done",
        f"{snapshot.n_failed} failed",
        f"{snapshot.n_kept} were there already",
        f"{recalled} recalled",
        _rate(snapshot.rate),
        f"{_left(snapshot.eta_s)} left",
    ]
    if snapshot.is_away:
        parts.append("the model's server is away: waiting for it")
    lines = [plain(", ".join(parts))]
    for stage, state in snapshot.stages.items():
        limit = f" of {snapshot.limit}" if stage == "answer" and snapshot.limit else ""
        lines.append(f"  {_WORDS[stage]:10} {_stage(state, limit)}")
    return lines


def _stage(state: StageState, limit: str) -> str:
    return f"{state.n_inside:>4}{limit} now, {state.n_done:>7} done, {_rate(state.rate):>14}, {_left(state.eta_s)} left"


def _rate(rate: float | None) -> str:
    if rate is None:
        return "no rate yet"
    return f"{rate:.1f} rows/s" if rate >= 1 else f"{rate * 60:.1f} rows/min"


def _left(eta_s: float | None) -> str:
    """Seconds as people say them."""
    if eta_s is None:
        return "?"
    if eta_s < 100:
        return f"{eta_s:.0f} s"
    minutes = round(eta_s / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
