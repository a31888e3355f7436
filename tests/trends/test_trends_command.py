"""`affectgpt trends`: what it prints and writes, and what a mistake costs."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affect_courses import START_S, autoregressive, coupled
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.trends.catalogue import catalogue
from affectgpt.trends.reading import open_duckdb

STEP_S = 1800


def batch_rows(n: int = 160) -> list[dict[str, Any]]:
    """Rows of three people, the first of whom takes over what the others feel."""
    people = np.clip(coupled(n, 3, 0.4, 0.6, 1), -1, 1)
    rows = []
    for name, course in zip(("Ann", "Bob", "Cem <b>"), people, strict=True):
        for k, valence in enumerate(course):
            time = datetime.fromtimestamp(START_S + STEP_S * k, UTC).isoformat()
            fused = {"valence": float(valence), "arousal": float(valence) / 2, "dominance": None}
            rows.append({"id": f"{name} {k}", "number": len(rows) + 1, "status": "ok",
                         "appraisal": {"fused": fused, "by_modality": {"face": fused}},
                         "decision": {"label": "joy" if valence > 0 else "anger"},
                         "extra": {"person": name, "time": time}})  # fmt: skip
    return rows


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, batch_rows())), encoding="utf-8")
    return path


def call(*arguments: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, ["trends", *map(str, arguments)])


def test_people_are_measured_and_written_in_three_forms(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(rows, "--by", "person", "--resamples", 100, "--pairs", "-o", out)
    assert result.exit_code == 0, result.output
    assert "480 rows, 480 points, 3 groups" in result.stdout
    assert "Recovery half-life" in result.stdout
    document = json.loads((out / "trends.json").read_text())
    assert [g["keys"]["person"] for g in document["groups"]] == ["Ann", "Bob", "Cem <b>"]
    of = {(g["keys"]["person"], e["channel"], e["metric"]): e for g in document["groups"] for e in g["estimates"]}
    assert of["Ann", "valence", "contagion"]["low"] > 0
    assert of["Ann", "valence", "contagion"]["p"] < 0.05
    assert of["Ann", "valence and arousal", "valence_arousal_correlation"]["value"] == pytest.approx(1)
    assert {e["metric"] for g in document["groups"] for e in g["estimates"]} == set(catalogue())
    assert len(document["influences"]) == 2 * 6
    assert set(document["metrics"]["rmssd"]) >= {"formula", "source", "least", "why_least", "interval"}
    page = (out / "trends.html").read_text()
    assert "Cem &lt;b&gt;" in page
    assert "Cem <b>" not in page
    own = html.unescape(page.split("<script>")[0])
    assert "default-src 'none'" in own
    assert not re.search(r"""(?:src|href)=["']https?:""", own)
    assert "Made by AI" in page


def test_the_parquet_file_is_tidy_and_agrees_with_the_document(rows: Path, tmp_path: Path) -> None:
    result = call(rows, "--by", "person,day", "--resamples", 100, "-o", tmp_path / "out", "--json", "-q")
    document = json.loads(result.stdout)
    with open_duckdb() as database:
        got = database.execute(f"SELECT * FROM '{tmp_path}/out/trends.parquet'")
        names = [column[0] for column in got.description]
        table = [dict(zip(names, values, strict=True)) for values in got.fetchall()]
    assert names[:2] == ["person", "day"]
    estimates = [(g["keys"], e) for g in document["groups"] for e in g["estimates"]]
    assert len(table) == len(estimates)
    for line, (keys, estimate) in zip(table, estimates, strict=True):
        assert {**keys, **estimate}.items() <= line.items()
        assert (line["value"] is None) <= bool(line["reason"])
    assert not list((tmp_path / "out").glob(".*"))


def test_the_same_seed_gives_the_same_document_whatever_the_order_of_the_rows(rows: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(rows.read_text().splitlines())), encoding="utf-8")
    one, two = (json.loads(call(p, "--by", "person", "--resamples", 100, "--json").stdout) for p in (rows, turned))
    assert one["groups"] == two["groups"]


def test_the_intervals_of_other_groups_do_not_change_with_who_else_is_there(rows: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.jsonl"
    alone.write_text("\n".join(line for line in rows.read_text().splitlines() if '"Bob"' in line), encoding="utf-8")
    both = [json.loads(call(p, "--by", "person", "--resamples", 100, "--json").stdout) for p in (rows, alone)]
    bobs = [next(g for g in d["groups"] if g["keys"]["person"] == "Bob") for d in both]
    for metric in ("mean", "sd", "inertia", "half_life", "dwell_negative"):
        one, other = (next(e for e in b["estimates"] if e["metric"] == metric) for b in bobs)
        assert one == other


def test_any_series_will_do(tmp_path: Path) -> None:
    values = autoregressive(300, 0.7, 3)
    table = tmp_path / "diary.csv"
    table.write_text("when,mood\n" + "".join(f"{60 * k},{v:.4f}\n" for k, v in enumerate(values)), encoding="utf-8")
    result = call(table, "--column", "time=when", "--column", "valence=mood", "--resamples", 100, "--json")
    assert result.exit_code == 0, result.output
    (group,) = json.loads(result.stdout)["groups"]
    found = {e["metric"]: e for e in group["estimates"]}
    assert found["inertia"]["low"] < 0.7 < found["inertia"]["high"]
    assert found["daily_peak"]["reason"] == "the times are no dates"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--context", "workplace"], "read from the face or the voice"),
        (["--context", "education", "--reading", "face"], "read from the face or the voice"),
        (["--by", "value"], "the result has a column of that name"),
        (["--resamples", "7"], "7 resamples"),
        (["--neutral", "1"], "a neutral zone of 1"),
        (["--step", "0"], "a step of 0 s"),
        (["--column", "valence"], "--column"),
        (["--each", "moment", "--reading", "speech"], "a clip's course is fused"),
        (["--timezone", "Mars"], "no time zone"),
    ],
)
def test_a_mistake_costs_a_line_and_exit_2(rows: Path, options: list[str], said: str) -> None:
    result = call(rows, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_that_cannot_be_written_is_named_and_leaves_nothing_half(rows: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("mine")
    result = call(rows, "--resamples", 100, "-o", taken)
    assert result.exit_code == 2
    assert "is a file" in result.stderr
    assert taken.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_an_error_of_output(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = call(rows, "--resamples", 100, "-o", tmp_path / "file" / "inner")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
