"""A process that keeps rows until it is killed: `python ledger_deaths.py OUT FORM JOURNAL_ROWS VERSION`.

It goes on where the ledger stands, in small groups, and prints an id a line once its row is acknowledged. A row of
another version than VERSION is done again. When all `N_ROWS` are there it closes and says so.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.records import Fingerprints, Row

N_ROWS = 400
GROUP = 7


def made_row(number: int, version: int = 0) -> Row:
    """A row of some kilobytes, as real ones have."""
    prints = Fingerprints("ab" * 32, f"{number:032x}", f"{version:032x}")
    return Row(f"clip {number}.mp4", number, "ok", prints, f"clip {number}.mp4", extra={"text": "word " * 600})


def keep(out: Path, form: str, journal_rows: int, version: int) -> None:
    """Keep every row that is not there in this version, in random order and groups."""
    ledger = open_ledger(out, form, journal_rows=journal_rows)  # type: ignore[arg-type]
    wanted = [made_row(n, version) for n in range(N_ROWS)]
    todo = [r for r in wanted if (done := ledger.done(r.id)) is None or done.fingerprints != r.fingerprints]
    random.shuffle(todo)
    print(f"todo {len(todo)}", flush=True)
    while todo:
        group = [todo.pop() for _ in range(min(len(todo), random.randint(1, GROUP)))]
        ledger.append(group)
        sys.stdout.write("".join(f"{row.id}\n" for row in group))
        sys.stdout.flush()
    ledger.close()
    print("closed", flush=True)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
