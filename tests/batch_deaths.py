"""A process that does a job and is killed in the middle of it, and what must be left then.

    python tests/batch_deaths.py FOLDER N_ROWS

does rows into FOLDER/rows.jsonl with readers that only pretend, and notes in FOLDER/asked which rows it asked about.
With `--lives` behind it, it loads everything once and does the job in a child for every line that it reads: what is
killed is then a process in the middle of its rows and not one that still loads libraries.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

__all__ = ["Lives", "ask_counts", "kept", "kill_a_job", "living", "start"]


def start(folder: Path, n_rows: int, *more: str, **pipes: int) -> subprocess.Popen[bytes]:
    """The job, in a process of its own."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, str(Path(__file__)), str(folder), str(n_rows), *more]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **pipes)


class Lives:
    """One job that is begun again and again."""

    def __init__(self, folder: Path, orders: IO[bytes], told: IO[bytes]) -> None:
        self._out, self._orders, self._told = folder / "rows.jsonl", orders, told

    def one(self, kill_after_s: float | None = None, *, once_it_keeps: bool = True) -> int:
        """How a life ended: 0, or -9 where it was killed so long after it began, or after it first kept a row."""
        before = size(self._out)
        self._orders.write(b"live\n")
        self._orders.flush()
        pid = int(self._told.readline())
        if kill_after_s is not None:
            until = time.monotonic() + 240
            while once_it_keeps and size(self._out) == before and Path(f"/proc/{pid}").exists():
                assert time.monotonic() < until, "the job keeps no row"
                time.sleep(0.002)
            time.sleep(kill_after_s)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self._told.readline())


@contextmanager
def living(folder: Path, n_rows: int) -> Iterator[Lives]:
    """The job with everything loaded, until the block ends."""
    with start(folder, n_rows, "--lives", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        yield Lives(folder, mother.stdin, mother.stdout)
        _, said = mother.communicate()
    assert mother.returncode == 0, said.decode()


def kill_a_job(folder: Path, n_rows: int, after_s: float) -> None:
    """Start the job and kill it that long after it first kept a row, or was seen to end."""
    out = folder / "rows.jsonl"
    child = start(folder, n_rows)
    before = size(out)
    until = time.monotonic() + 60
    while size(out) == before and child.poll() is None:
        assert time.monotonic() < until, "the job keeps no row"
        time.sleep(0.002)
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    child.communicate()


def size(path: Path) -> int:
    """Bytes of the output, in whichever of its files they are."""
    return sum(p.stat().st_size for p in path.parent.glob("rows*") if p.is_file())


def kept(folder: Path) -> Counter[str]:
    """How often each id stands in the output."""
    lines = (folder / "rows.jsonl").read_text("utf-8").splitlines()
    return Counter(json.loads(line)["id"] for line in lines)


def ask_counts(folder: Path) -> Counter[str]:
    """How often the engine was asked about each row."""
    return Counter((folder / "asked").read_text("utf-8").splitlines())


def main(folder: Path, n_rows: int) -> None:
    """Do the job; goes on where an earlier one stopped."""
    from batch_fakes import FakeReader, ListSource, clips
    from batch_rows import QuickAppraiser

    from affectgpt.batch.job import Job, Means, run
    from affectgpt.batch.ledger import open_ledger
    from affectgpt.engines.echo import EchoEngine
    from affectgpt.readers import AgentOptions
    from affectgpt.records import Completion, Prompt, Sampling

    class Noting(EchoEngine):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
            with (folder / "asked").open("a", encoding="utf-8") as file:
                for prompt in prompts:
                    said = prompt.messages[-1].content.partition("clip ")[2].partition(" says")[0]
                    file.write(f"clip{int(said):05}.mp4\n")
            time.sleep(0.002)
            return super().generate(prompts, sampling)

    job = Job(
        ListSource(clips(folder, n_rows)),
        open_ledger(folder / "rows.jsonl"),
        Noting(),
        Means(folder / "means", n_workers=2),
        AgentOptions(revisions=0),
        appraiser=QuickAppraiser(),
        reader=lambda: FakeReader(pause_s=0.002),
    )
    run(job)


def bear(folder: Path, n_rows: int) -> None:
    """A child that does the job for every line; its number is told, and then how it ended."""
    import batch_fakes  # noqa: F401 - what a child needs is loaded before it is born

    import affectgpt.batch.job
    import affectgpt.batch.ledger  # noqa: F401

    for _ in sys.stdin.buffer:
        if (pid := os.fork()) == 0:
            main(folder, n_rows)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    # Ctrl-C works as on a terminal, also where the tests themselves run in the background and ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    (bear if "--lives" in sys.argv else main)(Path(sys.argv[1]), int(sys.argv[2]))
