"""What is told of a job, while it goes on and afterwards, adds up."""

from __future__ import annotations

import json
import re
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from batch_fakes import Bench, FakeReader, ListSource, clips
from batch_rows import QuickAppraiser
from fakes import CountingEngine
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.account import account, lines
from affectgpt.batch.estimate import estimate, estimate_lines
from affectgpt.batch.findings import Findings, Spread
from affectgpt.batch.job import Job, Means, Selection, run
from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.selection import Shard
from affectgpt.batch.tally import Snapshot, Tally
from affectgpt.cli.batch_progress import describe
from affectgpt.errors import OptionError, UnreadableMedia
from affectgpt.readers import AgentOptions
from affectgpt.records import Sampling
from affectgpt.report.batch_page import render


def job(folder: Path, rows: list[Item | BadItem], **more: Any) -> Job:
    errors = {"broken": UnreadableMedia("clip: the stream breaks off")}
    ledger = open_ledger(folder / "rows.jsonl")
    more = {"engine": CountingEngine(), "appraiser": QuickAppraiser(), **more}
    return Job(
        ListSource(rows),
        ledger,
        means=Means(folder / "means", n_workers=2, n_requests=4),
        options=AgentOptions(revisions=0),
        reader=lambda: FakeReader(errors=errors),
        rows=ledger.rows,
        **more,
    )


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_quantile_is_within_six_per_cent_of_one_of_the_numbers(values: list[float], share: float) -> None:
    spread = Spread()
    for value in values:
        spread.add(value)
    ranked = sorted(values)
    exact = ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]
    assert exact / 1.061 <= spread.quantile(share) <= exact * 1.061
    assert spread.to_json()["n"] == sum(n for _, n in spread.to_json()["bins"]) == len(values)
    assert spread.most == max(values)


def test_nothing_at_all_is_told_as_nothing() -> None:
    assert Spread().quantile(0.5) == 0.0
    told = account("nowhere", Tally(0), Findings(), None)
    assert json.loads(json.dumps(told))["rows"]["rows"] == 0
    assert any("0 rows" in line for line in lines(told))


def test_the_report_counts_every_row_once_and_names_what_failed(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 20, lambda k: "broken" if k % 5 == 0 else f"clip {k} says hello")]
    rows.append(BadItem(21, "odd", "no such column"))
    told = run(job(tmp_path, rows))
    document = json.loads(json.dumps(told, allow_nan=False))
    assert (document["run"]["ok"], document["run"]["failed"], document["run"]["kept"]) == (16, 5, 0)
    held = document["rows"]
    assert held["rows"] == 21
    assert sum(held["labels"].values()) == sum(n for *_, n in held["plane"]) == held["rows"] - held["failed"] == 16
    assert {(f["stage"], f["type"], f["n"]) for f in held["failures"]} == {
        ("read", "UnreadableMedia", 4),
        ("source", "BadItem", 1),
    }
    assert len(held["slowest"]) == 10
    assert held["slowest"] == sorted(held["slowest"], key=lambda row: -row["total_s"])
    assert held["completion_tokens"] == document["run"]["completion_tokens"] > 0
    text = "\n".join(lines(told))
    assert "16 rows explained, 5 failed" in text
    assert "4 x UnreadableMedia at read, such as clip000" in text


def test_a_job_that_went_on_is_told_as_a_whole(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 12)]
    first = run(job(tmp_path, rows[:8]))
    both = run(job(tmp_path, rows))
    assert (both["run"]["kept"], both["run"]["ok"]) == (8, 4)
    assert both["rows"]["rows"] == 12
    assert both["rows"]["completion_tokens"] > first["rows"]["completion_tokens"] > both["run"]["completion_tokens"]
    assert not both["this_run_only"]


def test_what_failed_in_vain_is_told_beside_the_answers_that_stay(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 6)]
    first = run(job(tmp_path, rows))
    for item in rows[:2]:
        Path(str(getattr(item, "media", None))).write_text("broken")
    again = run(job(tmp_path, rows))
    assert (again["run"]["kept"], again["run"]["ok"], again["run"]["failed"]) == (4, 0, 2)
    assert again["rows"]["failed"] == 0
    assert again["rows"]["labels"] == first["rows"]["labels"]
    assert again["run"]["in_vain"]["rows"] == 2
    assert [f["type"] for f in again["run"]["in_vain"]["failures"]] == ["UnreadableMedia"]
    text = "\n".join(lines(again))
    assert "2 of the failed were answered before; those answers stay" in text
    assert "2 x UnreadableMedia at read, such as clip000" in text
    rest = run(job(tmp_path, rows))
    assert rest["run"]["failed"] == 2, "what stands there was made of another medium: it is tried again"


def test_an_estimate_asks_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    engine = CountingEngine()
    rows: list[Item | BadItem] = [*clips(tmp_path, 30), BadItem(31, "odd", "no"), Item("gone", 32, "/nowhere/x.mp4")]
    run(job(tmp_path, rows[:10], engine=engine))
    n_asked, size = len(engine.asked), (tmp_path / "rows.jsonl").stat().st_size
    planned = job(tmp_path, rows, engine=engine)
    told = estimate(planned)
    planned.ledger.close(complete=False)
    assert told["rows"] == {"items": 31, "bad": 1, "kept": 10, "again": 0, "missing": 1, "to_do": 20}
    assert (len(engine.asked), (tmp_path / "rows.jsonl").stat().st_size) == (n_asked, size)
    # A row of these clips is like the next: what is told of twenty is what ten took, twice.
    assert size * 2 * 0.8 <= told["row_bytes"] <= size * 2 * 1.2
    assert told["most_completion_tokens"] == 20 * Sampling().max_tokens
    assert told["prompt_tokens"] > 20 * 100
    assert told["answering_s"] is not None
    assert "20 rows to do" in next(estimate_lines(told))
    others = CountingEngine(), CountingEngine()
    changed = job(tmp_path, rows, engine=CountingEngine(["other words"]), others=others)
    shared = estimate(changed)
    assert shared["rows"]["again"] == 10
    assert shared["at_once"] == 3 * told["at_once"]
    assert [other.asked for other in others] == [[], []]
    changed.ledger.close(complete=False)


def test_progress_adds_up_and_ends_with_nothing_left(tmp_path: Path) -> None:
    seen: list[Snapshot] = []
    bench = Bench(tmp_path, ListSource(clips(tmp_path, 50)), CountingEngine(), reader=FakeReader(pause_s=0.02))
    bench.run(seen.append)
    for before, after in pairwise(seen):
        assert before.n_done <= after.n_done <= 50
    last = seen[-1]
    assert (last.n_done, last.eta_s) == (50, 0.0)
    assert all(state.n_inside == 0 and state.n_done == 50 for state in last.stages.values())
    assert describe(last)[0].startswith("50 of 50 done, 0 failed")


@pytest.mark.parametrize("knows_count", [True, False])
def test_time_left_is_told_by_stage_or_not_at_all(knows_count: bool) -> None:
    now = [0.0]
    tally = Tally(100 if knows_count else None, clock=lambda: now[0])
    for _ in range(20):
        now[0] += 0.5
        for stage in ("fetch", "read"):
            tally.enter(stage)
            tally.leave(stage, is_through=True)
        tally.n_ok += 1
        tally.enter("write")
        tally.leave("write", is_through=True)
    snapshot = tally.snapshot()
    assert snapshot.rate == pytest.approx(2.0, rel=0.1)
    assert snapshot.eta_s == (pytest.approx(40.0, rel=0.1) if knows_count else None)
    now[0] += 600
    assert tally.snapshot().rate == pytest.approx(0.0, abs=0.05), "a server that hangs shows"


def test_progress_shows_no_control_characters_and_says_when_it_waits() -> None:
    tally = Tally(None)
    text = "\n".join(describe(tally.snapshot(limit=8, is_away=True)))
    assert "the model's server is away" in text
    assert "0 done, 0 failed" in text


def test_a_selection_counts_what_it_gives(tmp_path: Path) -> None:
    source = ListSource([Item(f"id{n}", n, transcript="words") for n in range(1, 101)])
    shards = [Selection(source, Shard(k, 3)) for k in (1, 2, 3)]
    given_ids = [[row.id for row in shard.iterate()] for shard in shards]
    assert [len(ids) for ids in given_ids] == [shard.count() for shard in shards]
    assert sorted(chain.from_iterable(given_ids)) == sorted(row.id or "" for row in source.rows)
    assert Selection(source, None, 7).count() == len([*Selection(source, None, 7).iterate()]) == 7


@pytest.mark.parametrize("wrong", [{"n_workers": 0}, {"n_requests": 0}, {"cache_bytes": -1}])
def test_means_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        Means(tmp_path, **wrong)  # type: ignore[arg-type]


def test_the_page_holds_every_figure_and_lets_no_id_or_message_act(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = [*clips(tmp_path, 4)]
    hostile = "<script>alert(1)</script>"
    rows += [BadItem(5, hostile, f"{hostile} is no path"), BadItem(6, "lone \udcff surrogate", "bytes")]
    told = run(job(tmp_path, rows))
    page = render(told)
    assert hostile not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    drawn = json.loads(re.findall(r'id="plots">(.*?)</script>', page, re.DOTALL)[0])
    assert sorted(re.findall(r'<div id="(plot-\d)"', page)) == sorted(drawn)
    assert len(drawn) == 5
    assert sum(drawn["plot-0"]["data"][0]["x"]) == 4
    assert sum(n or 0 for line in drawn["plot-1"]["data"][0]["z"] for n in line) == 4
    assert "https://" not in page.split("<script>")[0]
    page.encode("utf-8")


def test_the_page_of_nothing_is_a_page() -> None:
    assert "<h2" in render(account("nowhere", Tally(None), Findings(), None))
