"""A process that does a job and is killed in the middle of it, and what must be left then.

    python tests/ledger_deaths.py FOLDER N_ROWS

does rows into FOLDER/rows.jsonl with readers that only pretend, and notes in FOLDER/asked which rows it asked about.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ask_counts", "kept", "kill_a_job", "start"]


def start(folder: Path, n_rows: int) -> subprocess.Popen[bytes]:
    """The job, in a process of its own."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, str(Path(__file__)), str(folder), str(n_rows)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


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
    from page_fakes import KnownAppraiser

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
        appraiser=KnownAppraiser(),
        reader=lambda: FakeReader(pause_s=0.002),
    )
    run(job)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
