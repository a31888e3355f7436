"""A job that is killed at any moment goes on: no row is lost, none is there twice, and little is done again."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from batch_deaths import ask_counts, kept, kill_a_job, living, start

N_AHEAD = 2 * 16 + 4 * 2
"""Rows under way at once, as the job's means give it: twice its requests, and four a worker."""


def check(folder: Path, n_rows: int, n_deaths: int) -> None:
    """Let the job end, and look at what it left."""
    child = start(folder, n_rows)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said.decode()
    check_rows(folder, n_rows, n_deaths)


def check_rows(folder: Path, n_rows: int, n_deaths: int) -> None:
    """A job that came to its end lost nothing, doubled nothing and repeated little."""
    ids = [f"clip{k:05}.mp4" for k in range(n_rows)]
    assert kept(folder) == dict.fromkeys(ids, 1)
    asked = ask_counts(folder)
    assert asked.keys() == set(ids)
    assert asked.total() - n_rows <= n_deaths * N_AHEAD, "more was repeated than was under way"


def test_a_killed_job_loses_nothing_and_repeats_little(tmp_path: Path) -> None:
    kill_a_job(tmp_path, 120, 0.05)
    check(tmp_path, 120, 1)


@pytest.mark.slow
def test_twenty_deaths_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    moments = random.Random(20)
    n_rows, n_deaths = 800, 20
    with living(tmp_path, n_rows) as lives:
        for n in range(n_deaths):
            # Every fifth dies at any moment of its beginning, while what the one before left is mended.
            ended = lives.one(moments.uniform(0, 0.25), once_it_keeps=n % 5 > 0)
            assert ended == -signal.SIGKILL, "it came to its end: there was nothing left to be killed in"
        assert lives.one() == 0
    check_rows(tmp_path, n_rows, n_deaths)


def test_control_c_ends_it_at_once_and_it_goes_on(tmp_path: Path) -> None:
    child = start(tmp_path, 400)
    while not (tmp_path / "asked").exists():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    check(tmp_path, 400, 1)
