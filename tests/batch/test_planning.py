"""A plan follows from what was measured, and from nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from batch_fakes import FakeReader, ListSource, clips
from batch_rows import QuickAppraiser
from fakes import CountingEngine
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from affectgpt.batch.findings import Moments
from affectgpt.batch.job import Job, Means, run
from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.planning import Prices, Wanted, plan, plan_lines, read_report
from affectgpt.cli import app
from affectgpt.errors import OptionError
from affectgpt.readers import AgentOptions


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a finished job told."""
    folder = tmp_path_factory.mktemp("job")
    ledger = open_ledger(folder / "rows.jsonl")
    told = run(
        Job(
            ListSource([*clips(folder, 12, lambda k: f"clip {k} says hello" + "!" * k)]),
            ledger,
            CountingEngine(),
            Means(folder / "means", n_workers=2, n_requests=4),
            AgentOptions(revisions=0),
            appraiser=QuickAppraiser(),
            reader=FakeReader,
            rows=ledger.rows,
            n_bytes=ledger.n_bytes,
        )
    )
    document: dict[str, Any] = json.loads(json.dumps(told, allow_nan=False))
    assert document["measured"]["output_bytes"] == (folder / "rows.jsonl").stat().st_size
    return document


def test_a_job_measures_what_a_plan_needs(report: dict[str, Any]) -> None:
    measured = report["measured"]
    assert [measured[name]["n"] for name in ("read_s", "media_s", "media_bytes", "cache_bytes")] == [12] * 4
    assert measured["media_s"]["mean"] == 4.0
    assert measured["media_bytes"]["total"] == sum(len(f"clip {k} says hello") + k for k in range(12))
    assert 0 < measured["answering_s"] <= report["run"]["elapsed_s"]
    assert (measured["workers"], measured["servers"], measured["answered"]) == (2, 1, 12)
    assert measured["output_rows"] == 12


def test_planning_the_measured_job_gives_it_back(report: dict[str, Any]) -> None:
    made = plan(report, Wanted(clips=12))
    measured = report["measured"]
    assert made["reading"]["worker_hours"] * 3600 == pytest.approx(measured["read_s"]["total"])
    assert made["answering"]["hours"] * 3600 == pytest.approx(measured["answering_s"])
    assert made["answering"]["prompt_tokens"] == report["run"]["prompt_tokens"]
    assert made["answering"]["answer_tokens"] == report["run"]["completion_tokens"]
    assert made["disk_bytes"] == {"rows": measured["output_bytes"], "cache": round(measured["cache_bytes"]["total"])}
    assert made["network_bytes"]["media"] == measured["media_bytes"]["total"]
    assert made["failed"] == 0
    assert made["costs"] == {}


@given(st.integers(1, 10**9), st.integers(1, 500), st.integers(1, 64), st.floats(0.1, 3600.0))
def test_more_clips_take_more_and_more_machines_less(
    report: dict[str, Any], n: int, workers: int, servers: int, clip_s: float
) -> None:
    one = plan(report, Wanted(1, clip_s, 1, 1))
    made = plan(report, Wanted(n, clip_s, workers, servers, hours=7.0))
    assert made["reading"]["hours"] == pytest.approx(one["reading"]["hours"] * n / workers)
    assert made["answering"]["hours"] == pytest.approx(one["answering"]["hours"] * n / servers)
    assert made["hours"] == max(made["reading"]["hours"], made["answering"]["hours"])
    assert made["reading"]["worker_hours"] == pytest.approx(
        plan(report, Wanted(n))["reading"]["worker_hours"] * clip_s / 4.0
    )
    enough = made["needed"]
    again = plan(report, Wanted(n, clip_s, enough["workers"], enough["servers"]))
    assert again["hours"] <= 7.0 * (1 + 1e-9)
    for name in ("workers", "servers"):
        if enough[name] > 1:
            fewer = Wanted(n, clip_s, **{**{k: enough[k] for k in ("workers", "servers")}, name: enough[name] - 1})
            assert plan(report, fewer)["hours"] > 7.0 * (1 - 1e-9)


def test_costs_are_amounts_times_prices_and_only_what_has_one(report: dict[str, Any]) -> None:
    prices = Prices(worker_hour=0.05, server_hour=2.0, gb_month=0.02, gb_moved=0.09, prompt_mtok=0.1, answer_mtok=0.4)
    made = plan(report, Wanted(10**6, prices=prices))
    costs = made["costs"]
    assert costs["worker_hour"] == pytest.approx(made["reading"]["worker_hours"] * 0.05)
    assert costs["server_hour"] == pytest.approx(made["answering"]["server_hours"] * 2.0)
    assert costs["answer_mtok"] == pytest.approx(made["answering"]["answer_tokens"] / 1e6 * 0.4)
    assert plan(report, Wanted(10**6, prices=Prices(server_hour=0.0)))["costs"] == {"server_hour": 0.0}
    text = "\n".join(plan_lines(made))
    assert "1,000,000 clips of 4.0 s" in text
    assert f"all of it: {sum(costs.values()):,.2f}" in text


def test_without_a_model_there_is_nothing_to_answer(report: dict[str, Any]) -> None:
    bare = copy.deepcopy(report)
    bare["measured"] |= {"answered": 0, "servers": 0, "answering_s": None}
    made = plan(bare, Wanted(100, hours=1.0))
    assert made["answering"] is None
    assert made["hours"] == made["reading"]["hours"]
    assert made["needed"]["servers"] == 0
    assert not any("answers:" in line for line in plan_lines(made))


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": 0},
        {"clips": 1, "clip_s": 0.0},
        {"clips": 1, "hours": float("nan")},
        {"clips": 1, "workers": -1},
    ],
)
def test_what_cannot_be_planned_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Wanted(**wrong)
    with pytest.raises(OptionError):
        Prices(worker_hour=-1.0)


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"run": 1, "measured": 2}', '{"run": {}, "measured": {}}', "\0"])
def test_what_is_no_report_is_one_line(tmp_path: Path, told: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(told)
    done = CliRunner().invoke(app, ["plan", "--rates", str(path), "--clips", "10"])
    assert done.exit_code == 2, done.output
    assert "affectgpt batch" in done.output
    assert "Traceback" not in done.output


def test_a_report_without_a_reading_says_what_to_do(report: dict[str, Any], tmp_path: Path) -> None:
    recalled = copy.deepcopy(report)
    recalled["measured"]["read_s"] = Moments().to_json()
    with pytest.raises(OptionError, match=r"read anew.*--json"):
        plan(recalled, Wanted(10))
    with pytest.raises(OptionError, match="cannot be read"):
        read_report(tmp_path / "nowhere.json")


def test_the_command_prints_the_plan(report: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    asked = ["plan", "--rates", str(path), "--clips", "1000000", "--workers", "64", "--servers", "4", "--hours", "24"]
    shown = CliRunner().invoke(app, [*asked, "--price-server-hour", "2.5"])
    assert shown.exit_code == 0, shown.output
    assert "on 64 workers" in shown.stdout
    assert "within 24 h" in shown.stdout
    made = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert made == plan(report, Wanted(10**6, workers=64, servers=4, hours=24.0))


@given(st.lists(st.floats(0.0, 1e3), min_size=2, max_size=40))
def test_the_interval_of_a_mean_is_the_textbooks(values: list[float]) -> None:
    import statistics

    moments = Moments()
    for value in values:
        moments.add(value)
    told = moments.to_json()
    assert told["mean"] == pytest.approx(statistics.fmean(values), abs=1e-9)
    exact = statistics.NormalDist().inv_cdf(0.975) * statistics.stdev(values) / len(values) ** 0.5
    assert told["half_width"] == pytest.approx(exact, rel=1e-3, abs=1e-3)
