"""Clips and drawings that the page can still show: for a while, in this process, and nowhere else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from serve.events import Attachment

__all__ = ["Shelf", "Shown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to show of a turn: its files, its timelines, and how many people were seen in it."""

    owner: str
    attachments: tuple[Attachment, ...] = ()
    figure: dict[str, Any] | None = None
    n_people: int = 0
    until: float = field(default=0.0, compare=False)


class Shelf:
    """Files and drawings by revision id. Each goes `seconds` after it was put; safe from many threads.

    A file is linked (or copied) here, because whoever answers a turn deletes the upload when it is answered.
    """

    def __init__(self, folder: Path, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        self._shown: dict[str, Shown] = {}

    def put(self, revision_id: str, owner: str, attachments: Sequence[Attachment]) -> tuple[Attachment, ...]:
        """Keep a turn's files; gives them as they lie here."""
        self.sweep()
        here = self._folder / revision_id
        kept = []
        for number, attachment in enumerate(attachments):
            here.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = here / f"{number}{attachment.path.suffix.lower()}"
            _link(attachment.path, path)
            kept.append(replace(attachment, path=path))
        with self._lock:
            self._shown[revision_id] = Shown(owner, tuple(kept), until=self._clock() + self.seconds)
        return tuple(kept)

    def draw(self, revision_id: str, figure: dict[str, Any] | None, n_people: int) -> None:
        """Add a turn's timelines to it."""
        with self._lock:
            if (shown := self._shown.get(revision_id)) is not None:
                drawn = replace(shown, figure=figure, n_people=n_people)
                self._shown[revision_id] = drawn

    def get(self, revision_id: str, owner: str) -> Shown | None:
        """What there is, to its owner; None where it is gone, was never there, or is another's."""
        self.sweep()
        with self._lock:
            shown = self._shown.get(revision_id)
        return shown if shown is not None and shown.owner == owner else None

    def drop(self, revision_ids: Sequence[str]) -> None:
        """Take these away now."""
        for revision_id in revision_ids:
            with self._lock:
                self._shown.pop(revision_id, None)
            shutil.rmtree(self._folder / revision_id, ignore_errors=True)

    def drop_owner(self, owner: str) -> None:
        """Take away everything of an owner."""
        with self._lock:
            gone = [key for key, shown in self._shown.items() if shown.owner == owner]
        self.drop(gone)

    def sweep(self) -> None:
        """Take away what is over its time."""
        with self._lock:
            now = self._clock()
            gone = [key for key, shown in self._shown.items() if shown.until <= now]
        self.drop(gone)

    def close(self) -> None:
        """Take everything away."""
        with self._lock:
            gone = list(self._shown)
        self.drop(gone)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
