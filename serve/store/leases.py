"""Which pending revisions this process is still writing: it says so every few seconds, so that a dead one is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from serve.store.database import StoreError
from serve.store.rows import now

__all__ = ["LEASE_S", "LONGEST_TURN_S", "Leases"]

LEASE_S = 30.0
"""Seconds after its last sign of life that a process counts as gone. Machines that share a store keep their clocks
closer together than this."""
LONGEST_TURN_S = 3600.0
"""Seconds after which a revision that was begun and never ended is given up, whatever its process does."""


class Leases:
    """The revisions in work. A thread renews them while there are any; without, nothing is written and none runs."""

    def __init__(self, renew: Callable[[Sequence[str], datetime], None], lease_s: float = LEASE_S) -> None:
        self._renew, self._lease_s = renew, lease_s
        self._held: dict[str, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def until(self) -> datetime:
        """Until when a lease that begins now holds."""
        return now() + timedelta(seconds=self._lease_s)

    def hold(self, revision_id: str) -> None:
        """This one is in work."""
        with self._changed:
            self._held[revision_id] = time.monotonic()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._work, name="store leases", daemon=True)
                self._thread.start()

    def release(self, revision_id: str) -> None:
        """This one has ended."""
        with self._changed:
            self._held.pop(revision_id, None)
            self._changed.notify_all()

    def close(self) -> list[str]:
        """Stop; what was still in work."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread, left = self._thread, list(self._held)
            self._held.clear()
        if thread is not None:
            thread.join(timeout=self._lease_s)
        return left

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or not self._held, timeout=self._lease_s / 3)
                old = time.monotonic() - LONGEST_TURN_S
                self._held = {name: since for name, since in self._held.items() if since > old}
                if self._is_closed or not self._held:
                    self._thread = None
                    return
                held = list(self._held)
            try:
                self._renew(held, self.until())
            except StoreError:  # tried again at the next turn; two tries fit into one lease
                continue
