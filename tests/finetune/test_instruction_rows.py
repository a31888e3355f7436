"""Rows: what is wrong with one is told with its number, and nothing wrong gets through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainings import row, write_rows

from affectgpt.errors import OptionError
from affectgpt.records import Message
from finetune.rows import IGNORED, BadRow, Encoded, Row, choose, fit, read_rows

Change = Callable[[dict[str, Any]], object]


def with_last(**change: str) -> Change:
    return lambda r: r["messages"][-1].update(change)


BROKEN: list[tuple[Change, str]] = [
    (lambda r: r.pop("messages"), "`messages` is missing"),
    (lambda r: r.update(messages="hello"), "`messages` is missing"),
    (lambda r: r["messages"].append({"role": "user", "content": "and?"}), "last message is not the assistant's"),
    (lambda r: r["messages"].insert(1, {"role": "user", "content": "hi"}), "turn 2 is by 'user'"),
    (lambda r: r["messages"].insert(1, {"role": "system", "content": "hi"}), "turn 1 is by 'system'"),
    (lambda r: r["messages"].pop(), "last message is not the assistant's"),
    (lambda r: r["messages"].append("text"), "message 4 is no object"),
    (lambda r: r["messages"][1].update(content=["text"]), "message 2 is no object with a role and a content"),
    (with_last(content="  "), "the answer is empty"),
    (lambda r: r.update(opening="Dear"), "does not begin with `opening`"),
    (lambda r: r.update(opening=r["messages"][-1]["content"]), "nothing is left to learn"),
    (lambda r: r.update(opening=7), "`opening` is not text"),
    (lambda r: r.update(images=["a.png"]), "0 <image> in the messages, 1 in `images`"),
    (lambda r: r["messages"][1].update(content="<video> <video>"), "2 <video> in the messages, 0 in `videos`"),
    (lambda r: (r["messages"][1].update(content="<audio>"), r.update(audios=["gone.wav"])), "no media file gone.wav"),
    (lambda r: (r["messages"][1].update(content="<image>"), r.update(images=["here.png"])), "trains on text"),
    (lambda r: r.update(videos="clip.mp4"), "`videos` is no list"),
]


@pytest.mark.parametrize(("change", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_row_is_named_with_its_number(tmp_path: Path, change: Change, told: str) -> None:
    (tmp_path / "here.png").write_bytes(b"x")
    rows = [row(i) for i in range(3)]
    change(rows[1])
    path = write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(BadRow, match=r"train\.jsonl row 2") as caught:
        list(read_rows(path))
    assert told in str(caught.value)
    problems: list[BadRow] = []
    assert [r.number for r in read_rows(path, problems)] == [1, 3]
    assert len(problems) == 1


@pytest.mark.parametrize("line", ["{", "[]", "null", '"x"', "[" * 10_000])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps(row(0)) + "\n\n" + line + "\n", "utf-8")
    with pytest.raises(BadRow, match="row 3"):
        list(read_rows(path))


def test_no_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no rows at"):
        list(read_rows(tmp_path / "train.jsonl"))


KEYS = st.sampled_from(["messages", "role", "content", "opening", "images", "user"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(KEYS, x, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(value=JSON)
def test_any_json_is_a_row_or_a_bad_row(tmp_path: Path, value: object) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(value) + "\n", "utf-8")
    problems: list[BadRow] = []
    rows = list(read_rows(path, problems))
    assert len(rows) + len(problems) == 1


def plain(number: int, task: str = "explain") -> Row:
    return Row(number, (Message("user", "q"), Message("assistant", "a")), task=task)


def test_rows_are_chosen_by_task_and_seed_and_keep_their_order() -> None:
    rows = [plain(i, "label" if i % 4 else "explain") for i in range(1, 101)]
    assert list(choose(rows, (), None, 1)) == rows
    assert {r.task for r in choose(rows, ("label",), None, 1)} == {"label"}
    once, again, other = (list(choose(rows, ("label",), 20, seed)) for seed in (1, 1, 2))
    assert once == again != other
    assert [r.number for r in once] == sorted({r.number for r in once})
    assert len(once) == 20
    assert list(choose(rows[:5], (), 20, 1)) == rows[:5]


def test_a_long_row_is_refused_dropped_or_cut() -> None:
    long = Encoded(list(range(10)), [IGNORED] * 6 + [6, 7, 8, 9])
    assert fit(long, plain(4), 10, "refuse") is long
    with pytest.raises(BadRow, match="row 4 has 10 tokens, 2 more"):
        fit(long, plain(4), 8, "refuse")
    assert fit(long, plain(4), 8, "drop") is None
    cut = fit(long, plain(4), 8, "cut")
    assert cut == Encoded(list(range(8)), [IGNORED] * 6 + [6, 7])
    # Nothing that takes a loss would be left of it.
    assert fit(long, plain(4), 6, "cut") is None
