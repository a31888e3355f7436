"""One run of the agent: its stages, their progress and timings, and how its reading threads end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from affectgpt.records import Frame, Transcript, Waveform

if TYPE_CHECKING:
    from affectgpt.perceive.speech import Transcriber

__all__ = ["STAGES", "Job", "Progress", "Stopped", "WatchedTranscriber", "quiet", "read_ahead"]

STAGES: Final = (
    "open", "face", "voice", "speech", "encode", "tell", "appraise", "fuse", "answer", "check", "revise",
)  # fmt: skip
"""Every stage that `Progress` may name, in order; face and voice run side by side, `revise` only where it is needed,
`encode` and `fuse` where soft tokens are asked for."""

FRAMES_AHEAD: Final = 4
"""Frames decoded before they are looked at: enough to even out a slow keyframe, and 11 MB at 720p."""

_T = TypeVar("_T", Frame, Waveform)


class Progress(Protocol):
    """Told how far a stage is: `fraction` in [0, 1], None while unknown, 1.0 when the stage is over."""

    def __call__(self, stage: str, fraction: float | None, detail: str = "") -> None:
        """Called from the reading threads too, some ten times a second at most a stage."""


def quiet(stage: str, fraction: float | None, detail: str = "") -> None:
    """A `Progress` that says nothing."""


class Stopped(Exception):
    """The job was given up: a reading thread must not outlive it."""


class Job:
    """One run's progress, timings and stop flag."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.timings_s: dict[str, float] = {}
        self._stop = threading.Event()
        self._begun = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Wall seconds since the job began."""
        return time.perf_counter() - self._begun

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and tell its beginning and end."""
        self.progress(name, None)
        start = time.perf_counter()
        yield
        self.timings_s[name] = time.perf_counter() - start
        self.progress(name, 1.0)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """End the reading threads when the body fails or is interrupted."""
        try:
            yield
        except BaseException:
            self._stop.set()
            raise

    def watch(self, stage: str, items: Iterable[_T], duration_s: float, when: Callable[[_T], float]) -> Iterator[_T]:
        """`items` as they come, telling how much of the clip they cover."""
        told = 0.0
        for item in items:
            if self._stop.is_set():
                raise Stopped
            if duration_s > 0 and time.monotonic() - told > 0.1:
                told = time.monotonic()
                self.progress(stage, min(when(item) / duration_s, 1.0))
            yield item


class WatchedTranscriber:
    """A transcriber that tells how much of the sound it has heard."""

    def __init__(self, transcriber: Transcriber, job: Job, duration_s: float) -> None:
        self.name = transcriber.name
        self._transcriber = transcriber
        self._job = job
        self._duration_s = duration_s

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        """See `Transcriber.transcribe`."""
        return self._transcriber.transcribe(self._job.watch("speech", blocks, self._duration_s, lambda w: w.start_s))


def read_ahead(items: Iterable[_T], n_ahead: int = FRAMES_AHEAD) -> Iterator[_T]:
    """`items`, produced by a thread of their own up to `n_ahead` before they are asked for.

    Decoding and face reading both leave Python's lock free, so the two run side by side. What `items` raises is
    raised here; closing this iterator ends the thread and closes `items`.
    """
    ready: Queue[_T | BaseException | None] = Queue(n_ahead)
    closed = threading.Event()

    def put(item: _T | BaseException | None) -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except Full:
                continue

    def produce() -> None:
        source = iter(items)
        try:
            for item in source:
                put(item)
                if closed.is_set():
                    break
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            put(error)
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
