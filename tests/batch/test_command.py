"""`affectgpt batch`: what it prints, what a mistake costs, and that the same command goes on."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from affectgpt.cli import app


def run(*arguments: object) -> Any:
    """The command's result, run in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A list of words that were said."""
    path = tmp_path / "said.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["key", "words", "person"])
        rows.writerows([[f"row {n}", f"I got job number {n}!", "anna"] for n in range(5)])
        rows.writerow(["row 5", "", "bert"])
    return path


def columns() -> list[str]:
    return ["--column", "id=key", "--column", "transcript=words"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--shard", "5/3"], "shard 5/3"),
        (["--column", "media"], "--column media=clip_url"),
        (["--column", "colour=red"], "no column is needed as 'colour'"),
        (["--workers", "0"], "0 workers"),
        (["--attempts", "0"], "no attempt at all"),
        (["--prompts", "/nowhere"], "no prompts"),
        (["--report", "/nowhere/page.html"], "cannot be written there"),
        (["--modalities", "smell"], "no modality 'smell'"),
        (["--base-url", "http://127.0.0.1:9/v1"], "a base URL is of no use to the echo engine"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path: Path, table: Path, wrong: list[str], told: str) -> None:
    done = run("batch", table, "-o", tmp_path / "rows.jsonl", "--engine", "echo", *wrong)
    assert done.exit_code == 2, done.output
    assert told in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_cluster_cannot_ask_a_model_of_this_process() -> None:
    from affectgpt.cli.batch import cluster_of
    from affectgpt.cli.batch_flags import RunnerFlags
    from affectgpt.engines.echo import EchoEngine
    from affectgpt.engines.engine import EngineOptions
    from affectgpt.errors import OptionError

    class Embedded(EchoEngine):
        name = "local"

    flags = RunnerFlags(runner="ray", ray_address="127.0.0.1:6379")
    with pytest.raises(OptionError, match=r"of this process alone.*--base-url"):
        cluster_of(flags, EngineOptions(), (), Embedded())
    cluster = cluster_of(flags, EngineOptions(), (), EchoEngine())
    (opened,) = pickle.loads(pickle.dumps(cluster.open_engines))()
    assert (opened.name, cluster.address) == ("echo", "127.0.0.1:6379")


def test_a_source_that_is_not_there_and_an_output_that_is_a_clip_are_refused(tmp_path: Path, table: Path) -> None:
    assert run("batch", tmp_path / "nowhere", "-o", tmp_path / "rows.jsonl", "--engine", "echo").exit_code == 2
    assert run("batch", table, "-o", tmp_path / "rows.mp4", "--engine", "echo").exit_code == 2
    assert run("batch", table).exit_code == 2
    before = table.read_bytes()
    assert run("batch", table, "-o", table, "--engine", "echo").exit_code == 2
    assert table.read_bytes() == before


@pytest.mark.slow
def test_a_list_becomes_rows_and_the_same_command_goes_on(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTGPT_CACHE", str(tmp_path / "cache"))
    out, page = tmp_path / "rows.jsonl", tmp_path / "page.html"
    command = ["batch", table, "-o", out, "--engine", "echo", *columns()]
    planned = run(*command, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["rows"]["to_do"] == 5
    assert not out.exists() or out.read_bytes() == b""
    first = run(*command, "--limit", "2", "--json", "-q")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["run"]["ok"] == 2
    again = run(*command, "--report", page)
    assert again.exit_code == 0, again.output
    assert "3 rows explained, 1 failed, 2 were there already" in again.stdout
    assert "Made by AI" in again.stdout
    assert "6 of 6 done" in again.stderr
    assert "plot-0" in page.read_text("utf-8")
    rows = {row["id"]: row for row in map(json.loads, out.read_text("utf-8").splitlines())}
    assert sorted(rows) == [f"row {n}" for n in range(6)]
    assert rows["row 3"]["extra"] == {"person": "anna"}
    assert rows["row 3"]["explanation"]["parsed"]
    assert rows["row 3"]["versions"]["affectgpt"]
    assert rows["row 5"]["status"] == "failed"
