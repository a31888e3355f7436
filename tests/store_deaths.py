"""A process that writes turns and is killed in the middle of it, and what must be left then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from store_laws import ask

from serve.store import Retention, Store
from serve.store.database import Database

__all__ = ["check_what_is_left", "kill_a_writer"]

WRITER = """
import sys
from store_laws import answer
from serve.store import Asked, Retention, Store
from serve.store.database import Database
store = Store(Database(sys.argv[1]), Retention(), lease_s=1.0)
made = store.create("anna")
print(made.id, flush=True)
n = 0
while True:
    begun = store.begin("anna", made.id, Asked(f"message {n} " + "m" * 3000))
    print("begun", begun.id, n, flush=True)
    store.finish("anna", begun.id, answer(f"reply {n} " + "r" * 3000))
    print("done", begun.id, n, flush=True)
    n += 1
"""


def kill_a_writer(url: str, repo: Path, after_s: float) -> tuple[str, list[list[str]]]:
    """Run the writer, kill it that long after its first word; the conversation, and what it said it had done."""
    environment = {**os.environ, "PYTHONPATH": f"{repo / 'tests'}{os.pathsep}{repo}"}
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, env=environment, cwd=repo
    )
    assert child.stdout is not None
    conversation = child.stdout.readline().strip()
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    said = [words.split() for words in child.stdout.read().splitlines(keepends=True) if words.endswith("\n")]
    child.wait()
    child.stdout.close()
    return conversation, said


def check_what_is_left(url: str, conversation: str, said: list[list[str]]) -> None:
    """Everything that was acknowledged is there; everything that is there is whole; only the last may be unfinished."""
    with Store(Database(url), Retention(), lease_s=1.0) as store:
        turns = store.get("anna", conversation).turns
        n_begun, n_done = (sum(words[0] == kind for words in said) for kind in ("begun", "done"))
        assert n_begun <= len(turns) <= n_begun + 1
        for n, turn in enumerate(turns):
            assert turn.revision.asked.text == f"message {n} " + "m" * 3000
            if turn.revision.answered is not None:
                assert turn.revision.answered.reply == f"reply {n} " + "r" * 3000
                assert turn.revision.observations
        states = [turn.revision.state for turn in turns]
        assert all(state == "done" for state in states[:-1])
        assert n_done <= states.count("done") <= n_done + 1
        if states and states[-1] != "done":
            until = time.monotonic() + 5
            while store.get("anna", conversation).turns[-1].revision.state != "interrupted":
                assert time.monotonic() < until, "a dead process's turn is still told as pending"
                time.sleep(0.05)
        ask(store, conversation, "it goes on")
