"""Rows in a browser, one at a time, with what they were made from: keep, drop, saved back. To this machine alone.

Decisions are appended to `review.jsonl` as they are made, so that nothing is lost when the browser or the program ends;
`save` takes the dropped rows out of the file. The address holds a secret, the host is checked, and only JSON from the
page itself is taken: another site open in the same browser can neither read rows nor drop them.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from affectgpt.errors import InputError, OptionError
from instruction_data.exports import split_files
from instruction_data.row_json import load_row, to_row
from instruction_data.row_server import RowHandler
from instruction_data.store import replacing

__all__ = ["REVIEW", "Browser"]

REVIEW = "review.jsonl"
VERDICTS = ("keep", "drop")


class Browser:
    """One file of rows, by number. Rows are read from the disk when they are looked at; only their places are held."""

    def __init__(self, data: Path, split: str = "train") -> None:
        found = split_files(data)
        if split not in found and data.is_dir():
            raise OptionError(f"no {split} rows in {data}", f"there are {', '.join(found)}")
        self.path = found.get(split, data)
        self._review = self.path.parent / REVIEW
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._places = _line_starts(self.path)
        self.decisions = self._decided()
        self.secret = secrets.token_urlsafe(16)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, i: int) -> dict[str, Any]:
        """One row as plain JSON, with the decision on it. Raises InputError for a malformed one."""
        with self.path.open("rb") as file:
            file.seek(self._places[i])
            line = file.readline().decode("utf-8")
        try:
            row = to_row(load_row(line))
        except InputError as error:
            raise InputError(f"{self.path} row {i + 1}: {error.what}", error.remedy) from None
        return {"i": i, "n": len(self), "verdict": self.decisions.get(row["id"], ""), "row": row}

    def decide(self, row_id: str, verdict: str) -> None:
        """Keep a decision; it is on the disk when this returns. Raises OptionError for any but keep and drop."""
        if verdict not in VERDICTS:
            raise OptionError(f"no verdict {verdict!r}", "keep or drop")
        with self._lock:
            self.decisions[row_id] = verdict
            with self._review.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"file": self.path.name, "id": row_id, "verdict": verdict}) + "\n")

    def save(self) -> int:
        """Take the dropped rows out of the file, whole or not at all, and count them in the card; returns how many."""
        dropped = {i for i, verdict in self.decisions.items() if verdict == "drop"}
        n = 0
        with self._lock, replacing(self.path) as out, self.path.open(encoding="utf-8") as rows:
            for line in rows:
                if line.strip() and load_row(line).id in dropped:
                    n += 1
                else:
                    out.write(line)
        if n:
            self._places = _line_starts(self.path)
            self._count(n)
        return n

    @contextmanager
    def serve(self, port: int = 0) -> Iterator[str]:
        """Serve the page on the loopback address; gives its URL."""
        server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (RowHandler,), {"desk": self}))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{self.secret}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def wait(self) -> None:
        """Until the page says that it is done, or KeyboardInterrupt."""
        while not self._over.wait(0.5):
            pass

    def finish(self) -> None:
        """End `wait`."""
        self._over.set()

    def _decided(self) -> dict[str, str]:
        """Earlier decisions on this file; a line that was cut is passed over."""
        found = {}
        for line in self._review.read_text("utf-8").splitlines() if self._review.is_file() else ():
            try:
                row = json.loads(line)
                if row["file"] == self.path.name and row["verdict"] in VERDICTS:
                    found[str(row["id"])] = str(row["verdict"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _count(self, n: int) -> None:
        from instruction_data.card import COUNTS, read_counts, write_card
        from instruction_data.store import write_json

        counts = read_counts(self.path.parent)
        if counts:
            dropped = counts.setdefault("dropped", {}).setdefault(self.path.stem, {})
            dropped["by hand"] = dropped.get("by hand", 0) + n
            write_json(self.path.parent / COUNTS, counts)
            write_card(self.path.parent)


def _line_starts(path: Path) -> list[int]:
    starts, at = [], 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                starts.append(at)
            at += len(line)
    if not starts:
        raise InputError(f"{path} holds no rows", "build it: affectgpt data build")
    return starts
