"""The same job here or on a Ray cluster, and a cluster of two nodes on this machine to do it on.

    python tests/ray_jobs.py FOLDER OUT [--address HOST:PORT] [--limit N] [--pause S]

does the rows of FOLDER into OUT with readers that only pretend, and notes in FOLDER/readers which node and process read
each. Prints what there is to tell of it, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["Nodes", "begin", "done", "ended", "readers", "rows_of", "two_nodes"]

TESTS = Path(__file__).parent
N_CLIPS = 40
STORE_BYTES = 200_000_000
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_worker_register_timeout_seconds": "600",  # a crowded machine is slow to start a process
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "OMP_NUM_THREADS": "1",
}


# ---------------------------------------------------------------- a cluster


@dataclass
class Nodes:
    """A cluster of two nodes, each of one core. `second` may be killed."""

    address: str
    second: subprocess.Popen[bytes]


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """A head and a worker until the block ends, each a `ray start` of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # a socket's path has 107 characters at most: pytest's are longer
    address = f"127.0.0.1:{free_port()}"
    head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false", "--disable-usage-stats"]
    try:
        with _node(folder, *head, f"--temp-dir={folder}"):
            wait_for(address, 1)
            with _node(folder, f"--address={address}") as second:
                wait_for(address, 2)
                yield Nodes(address, second)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _node(folder: Path, *how: str) -> Iterator[subprocess.Popen[bytes]]:
    ray = str(Path(sys.executable).with_name("ray"))
    means = ["--num-cpus=1", f"--object-store-memory={STORE_BYTES}", "--node-ip-address=127.0.0.1", "--block"]
    # Ports that are known need not be waited for: on a crowded machine Ray gives up after a quarter of a minute.
    agents = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export", "runtime-env-agent")
    means += [f"--{agent}-port={free_port()}" for agent in agents]
    with (folder / "said").open("ab") as said:
        node = subprocess.Popen(
            [ray, "start", *how, *means], env=ENVIRONMENT, stdout=said, stderr=said, start_new_session=True
        )
        try:
            yield node
        finally:
            end(node)


def end(node: subprocess.Popen[bytes]) -> None:
    """End a node's processes: asked to, and killed where that is not enough."""
    node.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        node.wait(60)
    with suppress(ProcessLookupError):
        os.killpg(node.pid, signal.SIGKILL)
    node.wait(60)


def kill(node: subprocess.Popen[bytes]) -> None:
    """What a power cut does to a node: every process of it is gone at once."""
    os.killpg(node.pid, signal.SIGKILL)
    node.wait(60)


def wait_for(address: str, n_nodes: int) -> None:
    """Wait until so many nodes of the cluster live."""
    look = (
        "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR');"
        "print(sum(n['Alive'] for n in ray.nodes()))"
    )
    until = time.monotonic() + 600
    while True:
        told = subprocess.run([sys.executable, "-c", look, address], env=ENVIRONMENT, capture_output=True, text=True)
        if told.stdout.strip() == str(n_nodes):
            return
        assert time.monotonic() < until, told.stderr
        time.sleep(1)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ---------------------------------------------------------------- a job, from outside


def begin(folder: Path, out: Path, *more: object) -> subprocess.Popen[str]:
    """The job, in a process of its own."""
    command = [sys.executable, str(Path(__file__)), str(folder), str(out), *map(str, more)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes)


def done(folder: Path, out: Path, *more: object) -> dict[str, Any]:
    """What a job told that came to its end."""
    return ended(begin(folder, out, *more))


def ended(job: subprocess.Popen[str]) -> dict[str, Any]:
    """What a job tells at its end, which is a good one."""
    told, said = job.communicate(timeout=900)
    assert job.returncode == 0, said
    document: dict[str, Any] = json.loads(told.splitlines()[-1])
    return document


def rows_of(out: Path) -> list[str]:
    """The rows as they stand in the output, by id, without their timings."""
    rows = sorted(map(json.loads, out.read_text("utf-8").splitlines()), key=lambda row: str(row["id"]))
    for row in rows:
        row.pop("timings_s")
    return [json.dumps(row) for row in rows]


def readers(folder: Path) -> list[tuple[str, int]]:
    """(node, process) of each reading so far."""
    path = folder / "readers"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(node, int(pid)) for line in lines for node, _, pid in [line.partition(" ")]]


# ---------------------------------------------------------------- the job itself


def items(folder: Path) -> list[Any]:
    """Clips, some of which cannot be read, are not there, or are the same; words; wishes; a row that is none."""
    from batch_fakes import clips

    from affectgpt.batch.records import BadItem, Item

    said = ["broken" if k % 10 == 3 else f"clip {k} says hello" for k in range(N_CLIPS)]
    made: list[Any] = clips(folder, N_CLIPS, lambda k: said[k])
    for clip in made:
        os.utime(clip.media, (0, 0))  # made again, they are the same as far as anybody can see
    foreign = "Ω≈ç√ 漢字 🎬 e\N{COMBINING ACUTE ACCENT}"
    made[5] = replace(made[5], id=foreign, extra={"day": "Mon", "n": [1, None, {"a": 2.5}]})
    made[6] = replace(made[6], id="x" * 300, options={"modalities": ["speech"], "stop": ("\n\n",)})
    made[7] = replace(made[7], media=made[8].media)
    made[9] = replace(made[9], media=str(folder / "nowhere.mp4"))
    made[11] = replace(made[11], content=b"clip in its row", media="inside.mp4")
    made.append(Item("words", N_CLIPS + 1, transcript="I got the job"))
    made.append(Item("no words", N_CLIPS + 2, options={"transcript_file": str(folder / "nowhere.srt")}))
    made.append(BadItem(N_CLIPS + 3, "odd", "the line is no JSON"))
    return made


def open_reader(folder: Path, pause_s: float) -> Any:
    """A reader that pretends, and notes where it did."""
    from batch_fakes import FakeReader

    from affectgpt.errors import UnreadableMedia

    class Noting(FakeReader):
        async def read(self, path: Path, options: Any, label: str) -> bytes:
            with (folder / "readers").open("a", encoding="utf-8") as file:
                file.write(f"{node()} {os.getpid()}\n")
            return await super().read(path, options, label)

    return Noting(pause_s, {"broken": UnreadableMedia("clip: the stream breaks off")})


def node() -> str:
    """The Ray node of this process, or `here`."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else "here"


def open_echo() -> Sequence[Any]:
    """The servers of this job."""
    from affectgpt.engines.echo import EchoEngine

    return [EchoEngine()]


def main(folder: Path, out: Path, address: str | None, limit: int | None, pause_s: float) -> None:
    """Do the job; goes on where an earlier one stopped."""
    from batch_fakes import ListSource
    from batch_rows import QuickAppraiser

    from affectgpt.batch.cluster import Cluster, run_on_ray
    from affectgpt.batch.job import Job, Means, Selection, run
    from affectgpt.batch.ledger import open_ledger
    from affectgpt.batch.servers import Patience
    from affectgpt.readers import AgentOptions

    ledger = open_ledger(out)
    job = Job(
        Selection(ListSource(items(folder)), limit=limit),
        ledger,
        open_echo()[0],
        Means(folder / f"means of {out.stem}", n_workers=2, n_requests=8, patience=Patience(attempts=2, unit_s=0.01)),
        AgentOptions(revisions=0),
        appraiser=QuickAppraiser(),
        reader=partial(open_reader, folder, pause_s),
        rows=ledger.rows,
        n_bytes=ledger.n_bytes,
    )
    print(json.dumps(run_on_ray(job, Cluster(open_echo, address)) if address else run(job)))


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--address")
    asked.add_argument("--limit", type=int)
    asked.add_argument("--pause", type=float, default=0.0)
    given = asked.parse_args()
    import ray_jobs  # by its name and not as the main program, so that the cluster finds its functions too

    ray_jobs.main(given.folder, given.out, given.address, given.limit, given.pause)
