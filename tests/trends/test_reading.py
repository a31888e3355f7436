"""Rows into points: every form of file, what is left out and counted, and who may not be read where."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from affectgpt.errors import AffectError, InputError, MediaNotFound, OptionError
from affectgpt.trends.analysis import refuse_forbidden
from affectgpt.trends.columns import Columns, parse_columns
from affectgpt.trends.reading import ReadingOptions, read_points


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A row as `affectgpt batch` writes it, of what is read here."""
    fused = {"valence": number / 10, "arousal": -0.1, "dominance": 0.0}
    return {
        "id": f"clip {number}",
        "number": number,
        "status": "ok",
        "appraisal": {
            "fused": fused,
            "by_modality": {"face": {**fused, "valence": -0.5}, "speech": {**fused, "valence": 0.5}},
            "course": [{"start_s": 2.0 * k, "end_s": 2.0 * k + 2, "fused": {**fused, "arousal": k}} for k in range(3)],
        },
        "decision": {"label": "joy"},
        "extra": {"person": "Ann" if number % 2 else "Bob", "time": f"2026-07-01T22:{number:02d}:00"},
        **changes,
    }


def lines(folder: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def test_batch_rows_give_their_points_and_the_rest_is_counted(tmp_path: Path) -> None:
    failed = row(4, status="failed", appraisal=None)
    late = row(2, appraisal={"fused": {"valence": 0.9}, "by_modality": {"speech": {}}})
    timeless = row(6, extra={"person": "Ann"})
    empty = row(7, appraisal=None, decision={"label": None})
    path = lines(tmp_path, [row(1), row(2), failed, "{half a li", late, '"text"', timeless, empty])
    points = read_points([path], ReadingOptions(("person", "day"), timezone="Asia/Tokyo"))
    found = points.intake
    assert (found.n_rows, found.n_failed, found.n_unreadable, found.n_repeated) == (8, 1, 2, 1)
    assert (found.n_without_time, found.n_without_value, found.n_points) == (1, 1, 2)
    assert found.unreadable_at == "rows.jsonl, row 4"
    assert sorted(points.channels["valence"].tolist()) == [0.1, 0.9]
    assert set(points.evidence) == {"face+speech", "speech"}
    assert set(points.keys["person"]) == {"Ann", "Bob"}
    assert set(points.keys["day"]) == {"2026-07-01"}
    assert set(points.labels) == {"joy"}
    assert points.offsets_s is not None
    assert set(points.offsets_s) == {9 * 3600}


def test_the_same_rows_give_the_same_points_from_every_kind_of_file(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [row(n) for n in range(1, 6)]
    flat = [{"id": r["id"], "t": r["extra"]["time"], "v": r["appraisal"]["fused"]["valence"],
             "who": r["extra"]["person"], "extra": "x"} for r in rows]  # fmt: skip
    with (tmp_path / "flat.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    parquet.write_table(arrow.Table.from_pylist(flat), tmp_path / "flat.parquet")
    texts = [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in r.items()} for r in rows]
    shards = tmp_path / "shards"
    shards.mkdir()
    parquet.write_table(arrow.Table.from_pylist(texts[:2]), shards / "rows-00001.parquet")
    parquet.write_table(arrow.Table.from_pylist(texts[2:]), shards / "rows-00002.parquet")
    (shards / "_rows.jsonl.part").write_text("not yet")
    own = Columns({"time": "t", "valence": "v", "person": "who"})
    given_ = [
        read_points([lines(tmp_path, rows)], ReadingOptions(("person",))),
        read_points([shards], ReadingOptions(("person",))),
        read_points([tmp_path / "flat.csv"], ReadingOptions(("person",), own)),
        read_points([tmp_path / "flat.parquet"], ReadingOptions(("person",), own)),
    ]
    for points in given_:
        order = np.argsort(points.times_s)
        np.testing.assert_array_equal(points.times_s[order], given_[0].times_s[np.argsort(given_[0].times_s)])
        np.testing.assert_allclose(points.channels["valence"][order], [0.1, 0.2, 0.3, 0.4, 0.5])
        assert points.keys["person"][order].tolist() == ["Ann", "Bob", "Ann", "Bob", "Ann"]


def test_moments_are_points_of_their_own_and_a_clip_without_a_course_is_one(tmp_path: Path) -> None:
    short = row(2)
    short["appraisal"]["course"] = []
    points = read_points([lines(tmp_path, [row(1), short])], ReadingOptions(each="moment"))
    assert points.n == 4
    of_first = points.ids == "clip 1"
    assert np.diff(points.times_s[of_first]).tolist() == [2.0, 2.0]
    assert points.channels["arousal"][of_first].tolist() == [0.0, 1.0, 2.0]


def test_one_modality_can_be_read_alone_and_brings_no_label_of_all(tmp_path: Path) -> None:
    points = read_points([lines(tmp_path, [row(1)])], ReadingOptions(columns=Columns(reading="speech")))
    assert points.channels["valence"].tolist() == [0.5]
    assert points.evidence.tolist() == ["speech"]
    assert points.labels.tolist() == [""]


@pytest.mark.parametrize("setting", ["workplace", "education"])
def test_face_and_voice_are_refused_at_work_and_in_education(tmp_path: Path, setting: Any) -> None:
    path = lines(tmp_path, [row(1), row(2)])
    with pytest.raises(OptionError, match=r"2 points read from the face or the voice, the first 'clip 1'.*Art\. 5"):
        refuse_forbidden(read_points([path], ReadingOptions()), setting)
    refuse_forbidden(read_points([path], ReadingOptions(columns=Columns(reading="speech"))), setting)
    refuse_forbidden(read_points([path], ReadingOptions()), None)


def test_what_does_not_say_where_it_comes_from_is_refused_until_it_is_said(tmp_path: Path) -> None:
    path = lines(tmp_path, [{"time": 1, "valence": 0.1}, {"time": 2, "valence": 0.2, "evidence": ["speech", "voice"]}])
    with pytest.raises(OptionError, match="1 points read from the face or the voice"):
        refuse_forbidden(read_points([path], ReadingOptions(evidence="self-report")), "workplace")
    plain = lines(tmp_path, [{"time": 1, "valence": 0.1}], "plain.jsonl")
    with pytest.raises(OptionError, match="do not say what they were read from"):
        refuse_forbidden(read_points([plain], ReadingOptions()), "workplace")
    refuse_forbidden(read_points([plain], ReadingOptions(evidence="self-report")), "workplace")


def test_times_are_what_they_say(tmp_path: Path) -> None:
    said = ["2026-03-29T00:30:00+00:00", "2026-03-29 01:30:00", "2026-03-29T03:30:00", "2026-03-29"]
    path = lines(tmp_path, [{"time": t, "valence": 0} for t in said])
    points = read_points([path], ReadingOptions(("day", "hour", "week", "weekday"), timezone="Europe/Berlin"))
    at = dict(zip(points.times_s - 1774742400, points.offsets_s, strict=True))  # since 29 March, 00:00 UTC
    assert at == {1800.0: 3600.0, 5400.0: 7200.0, -3600.0: 3600.0}  # clocks go forward at 01:00 UTC
    assert set(points.keys["week"]) == {"2026-W13"}
    assert set(points.keys["weekday"]) == {"7 Sun"}
    numbers = lines(tmp_path, [{"time": t, "valence": 0} for t in (1774742400, "1774742401.5")], "numbers.jsonl")
    assert read_points([numbers], ReadingOptions(("day",))).keys["day"].tolist() == ["2026-03-29"] * 2
    thousandths = lines(tmp_path, [{"time": 1774742400000, "valence": 0}], "ms.jsonl")
    with pytest.raises(OptionError, match="--time-unit ms"):
        read_points([thousandths], ReadingOptions())
    assert read_points([thousandths], ReadingOptions(time_unit="ms")).times_s.tolist() == [1774742400]
    clip = lines(tmp_path, [{"time": 0.5, "valence": 0}, {"time": 90, "valence": 0}], "clip.jsonl")
    assert read_points([clip], ReadingOptions()).offsets_s is None
    with pytest.raises(OptionError, match="the times are no dates"):
        read_points([clip], ReadingOptions(("day",)))
    mixed = lines(tmp_path, [{"time": 5, "valence": 0}, {"time": "2026-03-29", "valence": 0}], "mixed.jsonl")
    with pytest.raises(OptionError, match="one form"):
        read_points([mixed], ReadingOptions())


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("a.parquet", b"no", InputError, "cannot be read as parquet"),
        ("a.csv", b"", InputError, "a.csv"),
        ("a.jsonl", b"", InputError, "nothing to measure"),
        ("a.jsonl", b'{"time": 1, "mood": 2}\n', InputError, "rows have mood, time"),
        ("a.jsonl", b'{"mood": 2, "valence": 0.5}\n', InputError, "no row has a time"),
        ("a.jsonl", b'{"id": "a", "status": "failed"}\n', InputError, "every row of it failed"),
        ("a.txt", b"", OptionError, "of no kind that is read"),
    ],
)
def test_a_file_that_gives_nothing_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, kind: type[AffectError], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=said) as caught:
        read_points([tmp_path / name], ReadingOptions())
    assert caught.value.exit_code == 2


def test_a_folder_without_tables_a_missing_file_and_an_unknown_zone_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFound, match="no table in"):
        read_points([tmp_path], ReadingOptions())
    with pytest.raises(MediaNotFound, match="no file at"):
        read_points([tmp_path / "x.jsonl"], ReadingOptions())
    with pytest.raises(OptionError, match="no time zone 'Mars'"):
        read_points([lines(tmp_path, [row(1)])], ReadingOptions(timezone="Mars"))


@pytest.mark.parametrize("name", ["a'b [1]*?.jsonl", "ä \u202e{}.jsonl", "$(x).jsonl"])
def test_a_path_is_a_path_and_no_pattern_or_sql(tmp_path: Path, name: str) -> None:
    lines(tmp_path, [row(3), row(4)], "a'b 1.jsonl")
    assert read_points([lines(tmp_path, [row(1)], name)], ReadingOptions()).n == 1


@pytest.mark.parametrize("parts", [["valence"], ["=x"], ["a=b", "a=c"], ["valence="], [""]])
def test_a_column_map_of_another_form_is_refused(parts: list[str]) -> None:
    with pytest.raises(OptionError, match="--column"):
        parse_columns(parts)


names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12).filter(
    lambda name: not set(name) & set('"\\.')
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, names, st.text(max_size=20), st.booleans())
def test_any_name_and_any_text_goes_through_as_it_is(tmp_path: Path, a: str, b: str, who: str, deep: bool) -> None:
    rows = [{"time": 5, "valence": 0.5, **({a: {b: who}} if deep else {a: who})}]
    assume(a not in ("time", "valence"))
    path = lines(tmp_path, rows)
    try:
        points = read_points([path], ReadingOptions(("person",), Columns({"person": f"{a}.{b}" if deep else a})))
    except OptionError:
        assert "" in f"{a}.{b}".split(".")  # no name at all
        return
    assert points.keys["person"].tolist() == [who]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("nan")
anything = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)

keys = st.sampled_from(["id", "status", "time", "valence", "label", "appraisal", "extra", "evidence", "decision"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(keys, anything, max_size=6) | anything, max_size=5), st.sampled_from(["row", "moment"]))
def test_no_row_brings_the_reader_down(tmp_path: Path, rows: list[Any], each: Any) -> None:
    path = lines(tmp_path, rows)
    try:
        points = read_points([path], ReadingOptions(("person",), each=each))
    except InputError:
        return
    assert np.all(np.isfinite(points.times_s))
    assert points.n == points.intake.n_points > 0
