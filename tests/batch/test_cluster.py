"""A job on a Ray cluster of two nodes gives the rows that it gives here, whichever of its processes dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import ray_jobs
from ray_jobs import N_CLIPS, Nodes, begin, done, ended, readers, rows_of, two_nodes

N_ROWS = N_CLIPS + 3


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the job's clips, done by a local job into `local.jsonl`."""
    folder = tmp_path_factory.mktemp("job")
    told = done(folder, folder / "local.jsonl")
    # 4 broken clips, one that is not there, words that are not there, and a row that is none.
    assert (told["run"]["ok"], told["run"]["failed"]) == (N_ROWS - 7, 7)
    return folder


def test_ray_is_imported_when_a_job_asks_for_it_and_its_absence_is_told_with_the_remedy() -> None:
    program = (
        "import sys, affectgpt.cli.batch, affectgpt.batch.cluster as cluster\n"
        "assert 'ray' not in sys.modules\n"
        "sys.modules['ray'] = None\n"
        "from affectgpt.batch.ray_data import connected\n"
        "from affectgpt.errors import MissingDependency\n"
        "try:\n    connected(None).__enter__()\n"
        "except MissingDependency as error:\n    print(error)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "pip install 'affectgpt[ray]'" in told.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_rows_are_those_of_a_local_job_byte_for_byte(here: Path, nodes: Nodes) -> None:
    told = done(here, here / "far.jsonl", "--address", nodes.address, "--pause", 1.5)
    assert (told["run"]["ok"], told["run"]["failed"]) == (N_ROWS - 7, 7)
    assert rows_of(here / "far.jsonl") == rows_of(here / "local.jsonl")
    assert len({node for node, _ in readers(here)} - {"here"}) == 2, "both nodes read"
    measured = told["measured"]
    assert measured["read_s"]["n"] == told["run"]["readings"]["read"] > 30
    assert measured["media_bytes"]["total"] > 0
    assert told["rows"]["rows"] == N_ROWS


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_goes_on_there_and_here(here: Path, nodes: Nodes) -> None:
    out = here / "both.jsonl"
    assert done(here, out, "--limit", 15)["run"]["kept"] == 0
    there = done(here, out, "--address", nodes.address)["run"]
    assert (there["kept"], there["ok"] + there["failed"]) == (15, N_ROWS - 15)
    assert rows_of(out) == rows_of(here / "local.jsonl")
    n_read = len(readers(here))
    again = done(here, out)["run"]
    assert (again["kept"], again["ok"], again["failed"]) == (N_ROWS, 0, 0)
    far = done(here, out, "--address", nodes.address)["run"]
    assert (far["kept"], far["ok"], far["failed"]) == (N_ROWS, 0, 0)
    assert len(readers(here)) == n_read, "nothing was read again"


def underway(here: Path, out: Path, nodes: Nodes, n_kept: int = 3) -> tuple[subprocess.Popen[str], list[int]]:
    """A job in the middle of its rows, and the processes that read for it."""
    n_before = len(readers(here))
    job = begin(here, out, "--address", nodes.address, "--pause", 0.4)
    part = out.with_name(out.name + ".part")
    until = time.monotonic() + 900
    while not part.exists() or part.read_bytes().count(b"\n") < n_kept:
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < until, "the job keeps no row"
        time.sleep(0.02)
    return job, sorted({pid for _, pid in readers(here)[n_before:]})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_worker_that_is_killed_costs_no_row(here: Path, nodes: Nodes) -> None:
    out = here / "killed.jsonl"
    job, pids = underway(here, out, nodes)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended(job)
    assert rows_of(out) == rows_of(here / "local.jsonl")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_driver_that_is_killed_goes_on(here: Path, nodes: Nodes) -> None:
    out = here / "driven.jsonl"
    job, _ = underway(here, out, nodes)
    job.kill()
    job.communicate()
    kept = out.with_name(out.name + ".part").read_bytes().count(b"\n")
    told = done(here, out, "--address", nodes.address)["run"]
    assert told["kept"] >= kept > 0
    assert rows_of(out) == rows_of(here / "local.jsonl")


def test_nobody_at_the_address_is_told_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    job = begin(tmp_path, tmp_path / "rows.jsonl", "--address", f"127.0.0.1:{ray_jobs.free_port()}")
    _, said = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "OptionError: no Ray cluster answers at 127.0.0.1" in said.strip().splitlines()[-1]


def command(*arguments: object) -> None:
    """`affectgpt`, as it is called."""
    program = [sys.executable, "-c", "from affectgpt.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(program, env=ray_jobs.ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_reads_there_what_it_reads_here(tmp_path: Path, nodes: Nodes) -> None:
    """The real readers in their own processes, over sounds, one of them damaged, and words."""
    from clips import speech_wav

    folder = tmp_path / "media"
    folder.mkdir()
    whole = speech_wav("I got the job").read_bytes()
    for name, content in {"said é.wav": whole, "again.wav": whole + b"\0\0", "broken.wav": whole[:20]}.items():
        (folder / name).write_bytes(content)
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nI lost my keys again.\n")
    asked = ["batch", folder, "--engine", "echo", "-q"]
    command(*asked, "-o", tmp_path / "here.jsonl", "--cache", tmp_path / "cache here")
    there = ["--runner", "ray", "--ray-address", nodes.address, "--cache", tmp_path / "cache there"]
    command(*asked, "-o", tmp_path / "there.jsonl", *there)
    rows = rows_of(tmp_path / "here.jsonl")
    assert len(rows) >= 3
    assert sum('"status": "ok"' in row for row in rows) >= 2
    assert rows_of(tmp_path / "there.jsonl") == rows


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_node_that_is_lost_costs_no_row(here: Path, nodes: Nodes) -> None:
    """The last one: the cluster has one node afterwards."""
    out = here / "lost.jsonl"
    job, _ = underway(here, out, nodes)
    ray_jobs.kill(nodes.second)
    ended(job)
    assert rows_of(out) == rows_of(here / "local.jsonl")
