"""Rows on disk: there and back, every fault named, nothing half-written taken for whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import InputError, MediaNotFound, OptionError
from affectgpt.records import InstructionExample, Message, Provenance, Source
from instruction_data.exports import TAGS, TOOLS, export
from instruction_data.row_json import PLACES, dump_row, find_fault, load_row
from instruction_data.store import read_parquet, read_rows, write_parquet, write_rows

ROW = InstructionExample(
    id="explain/train/000001",
    task="explain",
    split="train",
    messages=(Message("system", "Explain."), Message("user", "[F1] a smile"), Message("assistant", "Key\nJoy [F1].")),
    opening="Key\n",
    provenance=Provenance((Source("goemotions", "Apache-2.0"),), ("F1",), "explain", "2", "composer", "1"),
)
SEEN = replace(
    ROW,
    id="seen",
    messages=(Message("user", "<image>\nWhat is shown?"), Message("assistant", "A smile.")),
    opening="",
    images=("face.jpg",),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
media = st.lists(st.sampled_from(["a.jpg", "b c.mp4", "é.wav"]), max_size=2)


@st.composite
def examples(draw: st.DrawFn) -> InstructionExample:
    files = {name: tuple(draw(media)) for name in PLACES}
    held = "".join(PLACES[name] * len(paths) for name, paths in files.items())
    clean = texts.filter(lambda t: not any(p in t for p in PLACES.values()))
    answer = draw(clean)
    turns = [Message("user", held + draw(clean)), Message("assistant", answer)]
    for _ in range(draw(st.integers(0, 2))):
        turns = [Message("user", draw(clean)), Message("assistant", draw(clean)), *turns]
    system = [Message("system", draw(clean))] if draw(st.booleans()) else []
    provenance = Provenance(observations=tuple(draw(st.lists(texts, max_size=3))), speaker=draw(st.text(max_size=3)))
    return InstructionExample("i", "t", "dev", (*system, *turns), "", provenance=provenance, **files)


@given(examples())
def test_a_row_comes_back_as_it_was(example: InstructionExample) -> None:
    assert load_row(dump_row(example)) == example
    assert "\n" not in dump_row(example)


@given(st.text(max_size=60) | st.builds(json.dumps, st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_any_other_line_is_refused_by_name(line: str) -> None:
    with pytest.raises(InputError):
        load_row(line)


@given(st.dictionaries(st.sampled_from(["id", "task", "split", "messages", "opening", "provenance", "x"]), st.none()))
def test_wrong_types_are_refused_by_name(changes: dict[str, Any]) -> None:
    row = json.loads(dump_row(ROW)) | changes
    if changes:
        with pytest.raises(InputError):
            load_row(json.dumps(row))


def test_faults_are_told_apart() -> None:
    answer = ROW.messages[-1]
    faults = {
        "by turns": replace(ROW, messages=(answer,)),
        "begin with its opening": replace(ROW, opening="Elsewhere"),
        "after the opening": replace(ROW, opening=answer.content),
        "empty user": replace(ROW, messages=(Message("user", " "), answer)),
        "1 images for 0": replace(ROW, images=("a.jpg",)),
    }
    assert all(words in find_fault(row) for words, row in faults.items())
    assert find_fault(ROW) == find_fault(SEEN) == ""


def test_a_malformed_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(dump_row(ROW) + "\n\n" + dump_row(ROW)[:50] + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl line 3: not JSON"):
        list(read_rows(path))
    with pytest.raises(MediaNotFound):
        list(read_rows(tmp_path / "none.jsonl"))


def test_json_lines_and_parquet_give_the_rows_back(tmp_path: Path) -> None:
    rows = [ROW, SEEN, replace(ROW, id="bare", provenance=Provenance())]
    assert write_rows(tmp_path / "a.jsonl", rows) == write_parquet(tmp_path / "a.parquet", rows) == 3
    assert list(read_rows(tmp_path / "a.jsonl")) == list(read_rows(tmp_path / "a.parquet")) == rows
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="no Parquet"):
        list(read_parquet(tmp_path / "b.parquet"))


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")

    def rows() -> Iterator[InstructionExample]:
        yield ROW
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_rows(path, rows())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- other tools


@pytest.fixture
def built(tmp_path: Path) -> Path:
    write_rows(tmp_path / "built" / "train.jsonl", [ROW, SEEN])
    write_rows(tmp_path / "built" / "dev.jsonl", [replace(ROW, split="dev")])
    return tmp_path / "built"


def load(path: Path) -> list[dict[str, Any]]:
    """As the other tools load it: through the reader of JSON lines in `datasets`, which wants one schema."""
    datasets = pytest.importorskip("datasets")
    return list(datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "hf")))


def test_llamafactory_finds_columns_and_tags_in_its_list(built: Path, tmp_path: Path) -> None:
    export("llamafactory", built, tmp_path / "lf")
    info = json.loads((tmp_path / "lf" / "dataset_info.json").read_text())
    assert set(info) == {"affectgpt_train", "affectgpt_dev"}
    told = info["affectgpt_train"]
    assert told["formatting"] == "sharegpt"
    assert told["tags"] == TAGS
    assert told["columns"] == {"messages": "messages", "images": "images"}
    assert info["affectgpt_dev"]["columns"] == {"messages": "messages"}
    rows = load(tmp_path / "lf" / told["file_name"])
    for row, example in zip(rows, (ROW, SEEN), strict=True):
        said = [(m[told["tags"]["role_tag"]], m[told["tags"]["content_tag"]]) for m in row["messages"]]
        assert said == [(m.role, m.content) for m in example.messages]
        assert tuple(row["images"]) == example.images


def test_ms_swift_gets_its_standard_keys_only(built: Path, tmp_path: Path) -> None:
    export("ms-swift", built, tmp_path / "out")
    rows = load(tmp_path / "out" / "affectgpt_train.jsonl")
    assert all(set(row) <= {"messages", "images", "videos", "audios"} for row in rows)
    assert rows[1]["messages"][0]["content"].count("<image>") == len(rows[1]["images"]) == 1


def test_trl_gets_prompt_and_completion_messages(built: Path, tmp_path: Path) -> None:
    export("trl", built, tmp_path / "out")
    rows = load(tmp_path / "out" / "affectgpt_dev.jsonl")
    assert set(rows[0]) == {"prompt", "completion"}
    assert [m["role"] for m in rows[0]["prompt"]] == ["system", "user"]
    assert rows[0]["completion"] == [{"role": "assistant", "content": ROW.answer}]


def test_axolotl_gets_typed_parts_and_its_yaml(built: Path, tmp_path: Path) -> None:
    export("axolotl", built, tmp_path / "out")
    told = yaml.safe_load((tmp_path / "out" / "datasets.yaml").read_text())
    assert told["datasets"][0]["type"] == "chat_template"
    assert told["datasets"][0]["path"] == "affectgpt_train.jsonl"
    rows = load(tmp_path / "out" / told["datasets"][0]["path"])
    assert [p["text"] for p in rows[0]["messages"][0]["content"]] == ["Explain."]
    image, text = rows[1]["messages"][0]["content"]
    assert (image["type"], image["path"]) == ("image", "face.jpg")
    assert (text["type"], text["text"]) == ("text", "What is shown?")
    dev = load(tmp_path / "out" / told["test_datasets"][0]["path"])
    assert dev[0]["messages"][0] == {"role": "system", "content": "Explain."}


def test_parquet_and_unknown_tools(built: Path, tmp_path: Path) -> None:
    export("parquet", built, tmp_path / "out")
    assert list(read_rows(tmp_path / "out" / "affectgpt_train.parquet")) == [ROW, SEEN]
    with pytest.raises(OptionError, match="no export"):
        export("word", built, tmp_path / "out")
    with pytest.raises(OptionError, match="no train"):
        export(next(iter(TOOLS)), tmp_path, tmp_path / "out")
