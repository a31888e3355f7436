"""What a ledger promises: no row lost, none twice, none cut, whatever ends the job; and the same in every form."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ledger_deaths
import pyarrow.dataset
import pytest
from batch_rows import failed_row, outcome_document, row

from affectgpt.batch.ledger import FileLedger, open_ledger
from affectgpt.batch.records import Done, Row
from affectgpt.batch.row_json import dump_row
from affectgpt.batch.selection import Shard
from affectgpt.errors import OptionError, OutputError

FORMS = {"jsonl": "rows.jsonl", "openai": "results.jsonl", "parquet": "rows"}

Opened = Callable[..., FileLedger]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def out(tmp_path: Path, form: str) -> Path:
    return tmp_path / "out" / FORMS[form]


@pytest.fixture
def opened(out: Path, form: str) -> Opened:
    def open_(**options: Any) -> FileLedger:
        return open_ledger(out, form, **options)  # type: ignore[arg-type]

    return open_


def kept(ledger: FileLedger) -> dict[str, Row]:
    """What the ledger holds, by id; fails where an id stands twice."""
    listed = list(ledger.rows())
    assert len(listed) == len({r.id for r in listed})
    return {r.id: r for r in listed}


def done_of(row: Row) -> Done:
    return Done(row.status, row.fingerprints, row.media_stamp)


# ---------------------------------------------------------------- one run after another


def test_rows_are_there_at_once_and_in_every_later_run(opened: Opened) -> None:
    first, second = [row(f"a{n}", n) for n in range(5)], [row("b", 7), failed_row("c", 8)]
    ledger = opened()
    ledger.append(first)
    assert kept(ledger) == {r.id: r for r in first}
    ledger.close()
    ledger = opened()
    assert ledger.done("a3") == done_of(first[3])
    assert ledger.done("b") is None
    ledger.append(second)
    assert kept(ledger) == {r.id: r for r in first + second}
    ledger.close()
    ledger = opened()
    assert kept(ledger) == {r.id: r for r in first + second}
    assert (ledger.n_ok, ledger.n_failed) == (6, 1)
    assert ledger.done("c") == done_of(second[1])
    ledger.close()


def test_a_row_done_again_takes_the_place_of_the_earlier(opened: Opened) -> None:
    ledger = opened()
    ledger.append([failed_row("a"), row("b", 2, version=1)])
    ledger.append([row("a")])
    assert (ledger.n_ok, ledger.n_failed) == (2, 0)
    assert kept(ledger) == {"a": row("a"), "b": row("b", 2, version=1)}
    ledger.close()
    ledger = opened()
    ledger.append([row("b", 2, version=2)])
    ledger.append([row("b", 2, version=3), failed_row("d", 4)])
    assert kept(ledger) == {"a": row("a"), "b": row("b", 2, version=3), "d": failed_row("d", 4)}
    ledger.close()
    assert kept(opened()) == {"a": row("a"), "b": row("b", 2, version=3), "d": failed_row("d", 4)}


def test_a_run_that_adds_nothing_changes_nothing(opened: Opened, out: Path) -> None:
    ledger = opened()
    ledger.append([row("a"), row("b", 2)])
    ledger.close()
    before = contents(out.parent)
    opened().close()
    assert contents(out.parent) == before
    assert not list(out.parent.rglob("*.part"))


def test_a_job_that_is_broken_off_in_good_order_is_gone_on_with(opened: Opened, out: Path, form: str) -> None:
    ledger = opened()
    ledger.append([row("a")])
    ledger.close(complete=False)
    assert form == "parquet" or not out.exists()
    ledger = opened()
    assert ledger.done("a") == done_of(row("a"))
    ledger.close()
    assert kept(opened()) == {"a": row("a")}


def test_the_old_output_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    ledger = open_ledger(out)
    ledger.append([row("a"), row("b", 2)])
    ledger.close()
    before = out.read_bytes()
    ledger = open_ledger(out)
    ledger.append([row("a", version=5), row("c", 3)])
    assert out.read_bytes() == before
    ledger.close()
    assert [json.loads(line)["id"] for line in out.read_bytes().splitlines()] == ["b", "a", "c"]


def test_an_empty_job_leaves_an_empty_output(opened: Opened) -> None:
    opened().close()
    assert kept(opened()) == {}


def test_rows_may_be_asked_for_while_others_are_kept(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "rows", journal_rows=20)
    there: list[str] = []

    def keep() -> None:
        for n in range(100):
            ledger.append([row(f"a{n}", n)])
            there.append(f"a{n}")

    writer = threading.Thread(target=keep)
    writer.start()
    while writer.is_alive():
        for id in tuple(there):
            assert ledger.done(id) is not None
        assert ledger.done("b") is None
    writer.join()
    assert (ledger.n_ok, len(there)) == (100, 100)
    ledger.close()


# ---------------------------------------------------------------- forms


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size}


def test_failed_rows_are_also_listed_apart(opened: Opened, out: Path) -> None:
    ledger = opened()
    ledger.append([row("a"), failed_row("b", 2), failed_row("c", 3, attempts=4)])
    ledger.close()
    (listed,) = out.parent.rglob("*.failures.jsonl")
    rows = [json.loads(line) for line in listed.read_bytes().splitlines()]
    assert [(r["id"], r["stage"], r["type"], r["attempts"]) for r in rows] == [
        ("b", "perception", "UnreadableMedia", 1),
        ("c", "perception", "UnreadableMedia", 4),
    ]
    ledger = opened()
    ledger.append([row("b", 2), row("c", 3)])
    ledger.close()
    assert not list(out.parent.rglob("*.failures.jsonl"))


def test_a_folder_of_parquet_is_read_by_anyone(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "rows", journal_rows=3)
    ledger.append([row(f"a{n}", n) for n in range(7)])
    ledger.append([failed_row("bad", 8)])
    ledger.close()
    table = pyarrow.dataset.dataset(tmp_path / "rows", format="parquet").to_table()
    assert sorted(table["id"].to_pylist()) == [*(f"a{n}" for n in range(7)), "bad"]
    read = {r["id"]: r for r in table.to_pylist()}
    assert read["a1"]["label"] == "angry"
    assert (read["a1"]["valence"], read["a1"]["arousal"]) == (-0.5, 0.4)
    assert read["a1"]["observations"][0]["text"] == outcome_document()["observations"][0]["text"]
    assert read["bad"]["error_type"] == "UnreadableMedia"
    assert read["bad"]["label"] is None


def test_results_have_the_form_of_openai(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "results.jsonl", "openai")
    ledger.append([row("request-1"), failed_row("request-2", 2)])
    ledger.close()
    good, bad = map(json.loads, (tmp_path / "results.jsonl").read_bytes().splitlines())
    assert good["custom_id"] == "request-1"
    assert good["error"] is None
    assert good["response"]["status_code"] == 200
    body = good["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == outcome_document()["answer"]["raw"]
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["affect"] == outcome_document()
    assert bad["response"] is None
    assert bad["error"] == {"code": "UnreadableMedia", "message": "request-2: nothing in it can be decoded"}
    from openai.types.chat import ChatCompletion

    assert ChatCompletion.model_validate(body).choices[0].message.role == "assistant"


def test_the_form_is_known_by_the_name(tmp_path: Path) -> None:
    for name, expected in (("a.jsonl", "a.jsonl"), ("b.NDJSON", "b.NDJSON"), ("c", "c/rows-00001.parquet")):
        ledger = open_ledger(tmp_path / name)
        ledger.append([row("a")])
        ledger.close()
        assert (tmp_path / expected).is_file()
    with pytest.raises(OptionError, match=r"c\.csv"):
        open_ledger(tmp_path / "c.csv")
    with pytest.raises(OptionError, match="folder"):
        open_ledger(tmp_path / "c", "jsonl")
    with pytest.raises(OptionError, match="is a file"):
        open_ledger(tmp_path / "a.jsonl", "parquet")
    with pytest.raises(OptionError, match="sqlite"):
        open_ledger(tmp_path / "d", "sqlite")  # type: ignore[arg-type]


# ---------------------------------------------------------------- shards


def test_shards_write_side_by_side_under_one_name(opened: Opened, out: Path, form: str) -> None:
    ledgers = [opened(shard=Shard(k, 3)) for k in (1, 2, 3)]
    for n, ledger in enumerate(ledgers):
        ledger.append([row(f"a{n}", n)])
    for ledger in ledgers:
        ledger.close()
    for n in range(3):
        assert kept(opened(shard=Shard(n + 1, 3))).keys() == {f"a{n}"}
    if form == "parquet":
        with pytest.raises(OptionError, match="shards of 3"):
            opened(shard=Shard(1, 4))
        with pytest.raises(OptionError, match="shards of 3"):
            opened()


# ---------------------------------------------------------------- what must not be written over


def test_somebody_elses_file_is_left_alone(out: Path, form: str, opened: Opened) -> None:
    theirs = {"rows.jsonl": b'{"id": "a", "text": "hello"}\n', "rows": b"PAR1 not really"}
    path = out / "rows-00001.parquet" if form == "parquet" else out
    path.parent.mkdir(parents=True)
    path.write_bytes(theirs.get(out.name, b'{"custom_id": "a", "method": "POST"}\n'))
    before = path.read_bytes()
    with pytest.raises(OptionError, match="choose another output"):
        opened()
    assert path.read_bytes() == before
    if form != "parquet":
        path.rename(path.with_name(path.name + ".part"))
        with pytest.raises(OptionError, match="choose another output"):
            opened()
        assert path.with_name(path.name + ".part").read_bytes() == before


def test_rows_of_one_form_are_not_gone_on_with_in_another(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "rows.jsonl")
    ledger.append([row("a")])
    ledger.close()
    with pytest.raises(OptionError, match="form"):
        open_ledger(tmp_path / "rows.jsonl", "openai")


def test_two_jobs_never_write_one_output(opened: Opened) -> None:
    ledger = opened()
    with pytest.raises(OptionError, match="another job"):
        opened()
    ledger.close()
    opened().close()


def test_a_place_that_cannot_be_written_is_told_of_at_once(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OptionError, match=r"choose another output|name a folder"):
        open_ledger(tmp_path / "file" / FORMS[form], form)  # type: ignore[arg-type]
    closed = Path("/proc/nowhere") / FORMS[form]  # nobody can write there, root neither
    with pytest.raises(OptionError, match="another output"):
        open_ledger(closed, form)  # type: ignore[arg-type]
    for url in ("s3://bucket/rows.jsonl", "memory://rows"):
        with pytest.raises(OptionError, match="this machine"):
            open_ledger(Path(url), form)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"shorter|another output"):
        open_ledger(tmp_path / ("x" * 300 + ".jsonl"), "jsonl")


# ---------------------------------------------------------------- a full disk


@contextmanager
def full_after(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: EFBIG, as a full disk gives ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


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
