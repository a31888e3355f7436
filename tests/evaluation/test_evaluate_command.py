"""`affectgpt evaluate`: what it prints, what it writes, and what a mistake costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from affectgpt.cli import app

ROWS = [{"id": i, "s": ["I am happy", "this is sad"][i % 2], "e": ["happy", "sad"][i % 2]} for i in range(12)]
TASK = {
    "name": "t",
    "dataset": {"reader": "jsonl", "path": "x.jsonl", "columns": {"id": "id", "text": "s", "label": "e"}},
    "predictor": {"kind": "prototypes"},
    "scorers": ["classification"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"name": "s", "n_resamples": 100, "tasks": [TASK]}))
    return tmp_path


def call(*arguments: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_a_suite_prints_counts_figures_and_baselines(folder: Path) -> None:
    result = call(folder / "s.yaml", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "12 asked = 12 scored + 0 unparsed + 0 failed" in result.stdout
    assert "accuracy" in result.stdout
    assert "majority" in result.stdout
    assert (folder / "out" / "report.html").stat().st_size > 100_000
    document = json.loads(call(folder / "s.yaml", "--out", folder / "out", "--rescore", "--json").stdout)
    assert document["tasks"][0]["counts"]["asked"] == 12


def test_two_runs_are_compared(folder: Path) -> None:
    call(folder / "s.yaml", "--out", folder / "a")
    other = {**TASK, "predictor": {"kind": "majority"}}
    (folder / "m.yaml").write_text(yaml.safe_dump({"name": "m", "n_resamples": 100, "tasks": [other]}))
    call(folder / "m.yaml", "--out", folder / "b")
    result = call("--compare", folder / "a", folder / "b")
    assert result.exit_code == 0, result.output
    assert "12 samples in both" in result.stdout
    assert "accuracy" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "no suite at"),
        ([], "give either a suite or --compare"),
        (["s.yaml", "--fresh", "--rescore"], "--fresh and --rescore together"),
        (["s.yaml", "--rescore", "--out", "empty"], "no run at"),
        (["--compare", "empty", "empty"], "no task in common"),
        (["s.yaml", "--data", "empty", "--out", "o"], "no label file at"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    folder: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    result = call(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
