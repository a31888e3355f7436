"""No row lost, none twice, none cut, whatever ends the job: a full disk, a power cut, kill -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import ledger_deaths
import pyarrow.dataset
import pytest
from batch_rows import Opened, contents, kept, row
from full_disk import full_after

from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.row_json import dump_row
from affectgpt.errors import OutputError

# ---------------------------------------------------------------- a full disk


def test_a_full_disk_costs_no_row_that_was_kept(opened: Opened, out: Path, form: str) -> None:
    n_bytes = len(dump_row(row("a0")))
    ledger = opened()
    ledger.append([row("a0")])
    with full_after(int(n_bytes * 2.5)):
        ledger.append([row("a1", 1)])
        with pytest.raises(OutputError, match="cannot be written"):
            ledger.append([row("a2", 2)])
        assert kept(ledger).keys() == {"a0", "a1"}
    ledger.append([row("a2", 2)])
    with full_after(100):
        if form == "jsonl":
            ledger.close()  # nothing is written: the journal gets its name
        else:
            with pytest.raises(OutputError, match="cannot be written"):
                ledger.close()
            assert not [p for p in out.parent.rglob("*") if p.suffix == ".new"]
    ledger = opened()
    assert kept(ledger).keys() == {"a0", "a1", "a2"}
    ledger.append([row("a0", version=1)])
    before = contents(out.parent)
    with full_after(100), pytest.raises(OutputError):
        ledger.close()
    assert contents(out.parent) == before
    ledger = opened()
    ledger.close()
    assert kept(opened())["a0"] == row("a0", version=1)


# ---------------------------------------------------------------- cut, and damaged


def test_whatever_is_cut_off_the_end_only_that_row_is_gone(tmp_path: Path) -> None:
    lines = [dump_row(row(f"a{n}", n)) for n in range(3)]
    whole = b"".join(lines)
    for cut in {1, 9, len(lines[0]) // 2, *(len(lines[0]) + d for d in (-1, 0, 1)), len(whole) - 1, len(whole)}:
        part = tmp_path / f"{cut}.jsonl.part"
        part.write_bytes(whole[:cut])
        ledger = open_ledger(tmp_path / f"{cut}.jsonl")
        n_whole = whole[:cut].count(b"\n")
        assert list(kept(ledger)) == [f"a{n}" for n in range(n_whole)]
        ledger.append([row("b", 9)])
        ledger.close()
        assert (tmp_path / f"{cut}.jsonl").read_bytes() == b"".join([*lines[:n_whole], dump_row(row("b", 9))])


@pytest.mark.parametrize("hole", [b"\0" * 100, b"\0" * 100 + b"\n", b'{"id": "a9", "num\n'])
def test_a_hole_that_a_power_cut_left_costs_no_other_row(tmp_path: Path, hole: bytes) -> None:
    lines = [dump_row(row(f"a{n}", n)) for n in range(3)]
    (tmp_path / "rows.jsonl.part").write_bytes(lines[0] + hole + b"\n" + lines[1] + lines[2][:50])
    ledger = open_ledger(tmp_path / "rows.jsonl")
    assert list(kept(ledger)) == ["a0", "a1"]
    ledger.close()
    assert (tmp_path / "rows.jsonl").read_bytes() == lines[0] + lines[1]


def test_a_journal_that_is_only_a_hole_is_begun_anew(tmp_path: Path) -> None:
    for content in (b"\0" * 5000, b'{"i', b"\0\0\n"):
        (tmp_path / "rows.jsonl.part").write_bytes(content)
        ledger = open_ledger(tmp_path / "rows.jsonl")
        assert kept(ledger) == {}
        ledger.close(complete=False)


def test_what_a_killed_job_left_half_written_is_tidied_away(opened: Opened, out: Path, form: str) -> None:
    ledger = opened()
    ledger.append([row("a")])
    ledger.close()
    left = out / "rows-00002.parquet.new" if form == "parquet" else out.with_name(out.name + ".new")
    left.write_bytes(b"half")
    opened().close()
    assert not left.exists()


def test_a_shard_written_just_before_the_kill_is_no_double(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    ledger = open_ledger(out)
    ledger.append([row("a"), row("b", 2)])
    ledger.close()
    # The same rows still in the journal, and one of them newer: the kill came between the shard and the journal.
    (out / "_rows.jsonl.part").write_bytes(dump_row(row("a")) + dump_row(row("b", 2, version=1)))
    ledger = open_ledger(out)
    assert kept(ledger) == {"a": row("a"), "b": row("b", 2, version=1)}
    ledger.close()
    assert kept(open_ledger(out)) == {"a": row("a"), "b": row("b", 2, version=1)}
    ids = pyarrow.dataset.dataset(out, format="parquet").to_table()["id"].to_pylist()
    assert sorted(ids) == ["a", "b"]


def test_a_shard_whose_rows_stand_in_an_older_one_too_is_mended(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    for version in (0, 1):  # as a kill between the new file and the mending of the old one leaves it
        ledger = open_ledger(tmp_path / f"v{version}")
        ledger.append([row("a", version=version), row(f"only{version}", 2)])
        ledger.close()
        out.mkdir(exist_ok=True)
        (tmp_path / f"v{version}" / "rows-00001.parquet").rename(out / f"rows-0000{version + 1}.parquet")
    ledger = open_ledger(out)
    assert kept(ledger) == {"a": row("a", version=1), "only0": row("only0", 2), "only1": row("only1", 2)}
    ledger.close()
    ids = pyarrow.dataset.dataset(out, format="parquet").to_table()["id"].to_pylist()
    assert sorted(ids) == ["a", "only0", "only1"]


# ---------------------------------------------------------------- kill -9


def acknowledged_until_killed(out: Path, form: str, version: int, seconds: float) -> tuple[list[str], int, bool]:
    """(ids that were acknowledged, rows that it set out to do, whether it closed) of a run killed after `seconds`.

    The clock starts with the first row. A negative time kills at the close, so many milliseconds after the last row.
    """
    program = [sys.executable, ledger_deaths.__file__, str(out), form, "150", str(version)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        n_todo = int(job.stdout.readline().split()[1])
        timer = threading.Timer(max(seconds, 0), lambda: os.kill(job.pid, signal.SIGKILL))
        if seconds >= 0:
            timer.start()
        lines = []
        for line in job.stdout:
            lines.append(line)
            if seconds < 0 and len(lines) == n_todo:
                time.sleep(-seconds / 1000)
                os.kill(job.pid, signal.SIGKILL)
        timer.cancel()
    whole = [line.rstrip("\n") for line in lines if line.endswith("\n")]
    is_closed = whole[-1:] == ["closed"]
    return whole[: len(whole) - is_closed], n_todo, is_closed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_twenty_times_loses_nothing_and_doubles_nothing(out: Path, form: str) -> None:
    random_times = random.Random(form)
    known: set[str] = set()
    version, n_killed = 0, 0
    while n_killed < 20:
        ids, n_todo, is_closed = acknowledged_until_killed(out, form, version, random_times.uniform(-60, 0.35))
        assert n_todo == ledger_deaths.N_ROWS - len(known), "a row that was acknowledged was done again, or lost"
        assert not known & set(ids)
        known |= set(ids)
        ledger = open_ledger(out, form)  # type: ignore[arg-type]
        there = kept(ledger)
        current = {id for id, r in there.items() if r == ledger_deaths.made_row(r.number, version)}
        stale = {id for id, r in there.items() if r == ledger_deaths.made_row(r.number, version - 1)}
        assert current | stale == there.keys(), "a row is not what was kept"
        assert known <= current, "an acknowledged row is gone"
        assert version == 0 or len(there) == ledger_deaths.N_ROWS
        known = current
        ledger.close(complete=False)
        n_killed += not is_closed
        if len(known) == ledger_deaths.N_ROWS:
            version, known = version + 1, set()
    acknowledged_until_killed(out, form, version, 60)
    final = kept(open_ledger(out, form))  # type: ignore[arg-type]
    assert Counter(r.fingerprints.answer for r in final.values()) == {f"{version:032x}": ledger_deaths.N_ROWS}
    assert version > 0, "no job came to its end between the kills: the law was not tried on finished rows"
