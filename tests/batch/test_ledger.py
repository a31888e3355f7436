"""What a ledger promises of rows, forms and places, the same in every form."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pyarrow.dataset
import pytest
from batch_rows import Opened, contents, failed_row, kept, outcome_document, row

from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.records import Done, Row
from affectgpt.batch.selection import Shard
from affectgpt.errors import OptionError


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


def test_a_row_that_is_done_again_in_vain_stays_and_its_failure_is_listed(opened: Opened, out: Path) -> None:
    ledger = opened()
    ledger.append([row("a"), row("b", 2)])
    ledger.close()
    ledger = opened()
    ledger.append([failed_row("a"), failed_row("c", 3)])
    assert kept(ledger) == {"a": row("a"), "b": row("b", 2), "c": failed_row("c", 3)}
    assert ledger.done("a") == done_of(row("a"))
    assert (ledger.n_ok, ledger.n_failed) == (2, 1)
    ledger.close()
    (listed,) = out.parent.rglob("*.failures.jsonl")
    failures = {f["id"]: f for f in map(json.loads, listed.read_bytes().splitlines())}
    assert {id: f["earlier_stays"] for id, f in failures.items()} == {"a": True, "c": False}
    assert failures["a"]["message"] == "a: nothing in it can be decoded"
    ledger = opened()
    assert kept(ledger) == {"a": row("a"), "b": row("b", 2), "c": failed_row("c", 3)}
    ledger.append([failed_row("a")])
    ledger.append([row("a", version=1), row("c", 3)])
    ledger.close()
    assert kept(opened()) == {"a": row("a", version=1), "b": row("b", 2), "c": row("c", 3)}
    assert not list(out.parent.rglob("*.failures.jsonl"))


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


def test_a_place_that_cannot_be_written_is_told_of_at_once(tmp_path: Path, form: str, out: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OptionError, match=r"choose another output|name a folder"):
        open_ledger(tmp_path / "file" / out.name, form)  # type: ignore[arg-type]
    closed = Path("/proc/nowhere") / out.name  # nobody can write there, root neither
    with pytest.raises(OptionError, match="another output"):
        open_ledger(closed, form)  # type: ignore[arg-type]
    for url in ("s3://bucket/rows.jsonl", "memory://rows"):
        with pytest.raises(OptionError, match="this machine"):
            open_ledger(Path(url), form)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"shorter|another output"):
        open_ledger(tmp_path / ("x" * 300 + ".jsonl"), "jsonl")
