"""Whatever lists them, the same clips come out as the same items; what is no item is told of and stops nothing."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from batch_sources import items, read
from hypothesis import given, settings
from hypothesis import strategies as st

from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.sources import SourceOptions, open_source
from affectgpt.errors import InputError, MediaNotFound, MissingDependency, OptionError

ROWS: list[dict[str, Any]] = [
    {"id": "one", "media": "clips/a.mp4", "transcript": "", "person": "Ana"},
    {"id": "two", "media": "", "transcript": "Nobody told me, and that hurt.", "person": "Ben, jr."},
    {"id": "三 ü", "media": "clips/b c.wav", "transcript": 'She said "no".\nTwice.', "person": ""},
]


# ---------------------------------------------------------------- the same rows in every form


def as_jsonl(path: Path) -> Path:
    target = path / "list.jsonl"
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in ROWS), "utf-8-sig")
    return target


def as_packed(path: Path) -> Path:
    target = path / "list.jsonl.gz"
    target.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in ROWS).encode()))
    return target


def as_csv(path: Path, delimiter: str = ",", name: str = "list.csv") -> Path:
    target = path / name
    with target.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [*ROWS[0]], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return target


def as_parquet(path: Path) -> Path:
    target = path / "list.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), target, row_group_size=2)
    return target


def as_dataset(path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    target = path / "dataset"
    datasets.Dataset.from_list(ROWS).save_to_disk(target)
    return target


FORMS: dict[str, Callable[[Path], Path]] = {
    "jsonl": as_jsonl,
    "packed": as_packed,
    "csv": as_csv,
    "semicolons": lambda path: as_csv(path, ";"),
    "tsv": lambda path: as_csv(path, "\t", "list.TSV"),
    "parquet": as_parquet,
    "hugging face": as_dataset,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_come_from_every_form(form: str, tmp_path: Path) -> None:
    where = FORMS[form](tmp_path)
    base = where.parent if form != "hugging face" else where
    assert items(read(where)) == [
        Item("one", 1, f"{base}/clips/a.mp4", extra={"transcript": "", "person": "Ana"}),
        Item("two", 2, None, None, "Nobody told me, and that hurt.", extra={"media": "", "person": "Ben, jr."}),
        Item("三 ü", 3, f"{base}/clips/b c.wav", None, 'She said "no".\nTwice.', extra={"person": ""}),
    ]


def test_several_lists_are_one_source(tmp_path: Path) -> None:
    for part in ("p1", "p2"):
        (tmp_path / part).mkdir()
        as_parquet(tmp_path / part)
    rows = items(read(tmp_path / "p*" / "*.parquet"))
    assert [r.number for r in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[3].media == f"{tmp_path}/p2/clips/a.mp4"
    assert [r.number for r in items(read(tmp_path))] == [1, 2, 3, 4, 5, 6]  # a folder of Parquet files
    (tmp_path / "p1" / "x.csv").write_text("id\n")
    with pytest.raises(InputError, match="several kinds"):
        read(tmp_path / "p1" / "*")


def test_the_splits_of_a_dataset_are_one_source(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    split = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "d")
    rows = items(read(tmp_path / "d"))
    assert [(r.number, r.extra["split"]) for r in rows] == [
        *((n, "train") for n in (1, 2, 3)),
        *((n, "test") for n in (4, 5, 6)),
    ]


def test_media_may_stand_in_the_row(tmp_path: Path) -> None:
    rows = [
        {"id": "x", "audio": {"bytes": b"RIFF", "path": "x.wav"}},
        {"id": "y", "audio": {"bytes": None, "path": "y.wav"}},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "list.parquet")
    assert items(read(tmp_path / "list.parquet")) == [
        Item("x", 1, "x.wav", b"RIFF"),
        Item("y", 2, f"{tmp_path}/y.wav"),
    ]
    url = "data:video/mp4;base64," + base64.b64encode(b"film").decode()
    (tmp_path / "list.jsonl").write_text(json.dumps({"media": url}) + "\n" + json.dumps({"media": url[:-3]}))
    good, bad = read(tmp_path / "list.jsonl")
    assert good == Item("row-1", 1, "medium.mp4", b"film")
    assert isinstance(bad, BadItem)
    assert "base64" in bad.reason


def test_the_columns_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Utterance,Video_File,Dialogue\nhello,a.mp4,7\n")
    rows = items(read(tmp_path / "a.csv", columns={"transcript": "Utterance", "media": "Video_File", "id": "Dialogue"}))
    assert rows == [Item("7", 1, f"{tmp_path}/a.mp4", None, "hello")]
    (fault,) = read(tmp_path / "a.csv", columns={"media": "Video_Flie", "transcript": "Words"})
    assert isinstance(fault, BadItem)
    assert "no column 'Video_Flie'; its columns are Utterance, Video_File, Dialogue" in fault.reason
    with pytest.raises(OptionError, match="colour"):
        read(tmp_path / "a.csv", columns={"colour": "x"})


def test_a_row_without_an_id_is_known_by_its_medium(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Path,Text\nsub/a.mp4,\n,words\n")
    assert [r.id for r in items(read(tmp_path / "a.csv"))] == ["sub/a.mp4", "row-2"]


def test_wishes_stand_in_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("media,subject,modalities,seed,transcript_file\na.mp4,1,face,,a.srt\nb.mp4,x,,,\n")
    good, bad = read(tmp_path / "a.csv")
    assert isinstance(good, Item)
    assert good.options == {"subject": 1, "modalities": ["face"], "transcript_file": f"{tmp_path}/a.srt"}
    assert isinstance(bad, BadItem)
    assert "subject" in bad.reason


# ---------------------------------------------------------------- folders and patterns


def media_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_a_folder_gives_its_media_in_order_by_their_paths(tmp_path: Path) -> None:
    names = ["b.MP4", "a.wav", "z/deep/c.mkv", "z/d.jpg", "café 😀.mov"]
    others = [".hidden.mp4", ".git/x.mp4", "notes.md", "b.srt", "b.de.vtt", "a.txt", "rows.jsonl"]
    folder = media_folder(tmp_path, *names, *others, "alone.srt", "z/said.txt")
    rows = items(read(folder))
    assert [r.id for r in rows] == [
        "a.wav",
        "alone.srt",
        "b.MP4",
        "café 😀.mov",
        "z/d.jpg",
        "z/said.txt",
        "z/deep/c.mkv",
    ]
    assert [r.number for r in rows] == list(range(1, 8))
    assert all(r.media == f"{folder}/{r.id}" for r in rows)


def test_names_of_any_length_and_bytes_are_kept_apart(tmp_path: Path) -> None:
    long = "n" * 120 + "/" + "m" * 251 + ".mp4"
    raw = [b"\xff.mp4", b"\xfe.mp4"]
    media_folder(tmp_path, long)
    for name in raw:
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(b"x")
    rows = items(read(tmp_path))
    assert len({r.id for r in rows}) == 3
    assert all(Path(str(r.media)).is_file() for r in rows)
    assert all(r.id.encode() for r in rows)


def test_a_link_that_leads_in_a_circle_is_not_followed(tmp_path: Path) -> None:
    media_folder(tmp_path, "a/x.mp4")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [r.id for r in items(read(tmp_path))] == ["a/x.mp4"]


def test_a_pattern_gives_what_it_matches(tmp_path: Path) -> None:
    media_folder(tmp_path, "s1/a.mp4", "s1/b.mp4", "s2/c.mp4", "s2/d.raw")
    assert [r.id for r in items(read(tmp_path / "**" / "*.mp4"))] == ["s1/a.mp4", "s1/b.mp4", "s2/c.mp4"]
    assert [r.id for r in items(read(tmp_path / "s2" / "*"))] == ["c.mp4", "d.raw"]
    assert [r.id for r in items(read(tmp_path / "s1" / "a.mp4"))] == ["a.mp4"]
    with pytest.raises(InputError, match="no file matches"):
        read(tmp_path / "*.mov")


def test_a_name_with_brackets_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    media_folder(tmp_path, "[1].mp4")
    assert [r.id for r in items(read(tmp_path / "[1].mp4"))] == ["[1].mp4"]


def test_a_list_beside_the_media_goes_before_the_media(tmp_path: Path) -> None:
    media_folder(tmp_path, "a.wav", "b.wav")
    (tmp_path / "metadata.csv").write_text("file_name,transcription\nb.wav,hello\n")
    assert items(read(tmp_path)) == [Item("b.wav", 1, f"{tmp_path}/b.wav", None, "hello")]
    assert len(read(tmp_path, form="media")) == 2


def test_what_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    for where in (tmp_path / "no", tmp_path / "no.csv", ""):
        with pytest.raises((InputError, MediaNotFound, OptionError)):
            read(where)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no media"):
        open_source(str(tmp_path / "empty"))
    with pytest.raises(OptionError, match="excel"):
        SourceOptions(form="excel")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="state"):
        read(tmp_path / "empty", form="hf")
    with pytest.raises((MissingDependency, InputError)):
        read("nosuchplace://bucket/list.csv")


# ---------------------------------------------------------------- bad rows


def test_a_bad_row_is_told_of_and_the_next_is_read(tmp_path: Path) -> None:
    lines = [
        b'{"id": "a", "text": "x"}',
        b"{",
        b"[1]",
        b"\xff\xfe",
        b'{"id": "b"}',
        b"[" * 99_999,
        b'{"id": "c", "text": "y"}',
    ]
    (tmp_path / "l.jsonl").write_bytes(b"\n".join(lines))
    rows = read(tmp_path / "l.jsonl")
    assert [r.id if isinstance(r, Item) else None for r in rows] == ["a", None, None, None, None, None, "c"]
    assert [r.number for r in rows] == [1, 2, 3, 4, 5, 6, 7]
    reasons = [r.reason for r in rows if isinstance(r, BadItem)]
    assert [
        word in reason for word, reason in zip(("JSON", "list", "UTF-8", "neither", "JSON"), reasons, strict=True)
    ] == [True] * 5
    assert rows[4].id == "b"


def test_a_bad_row_of_a_table_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'id,text\na,x\nb,y,z\nc\nd,\xff\ne,"v\nw"\n\nf,last\n')
    rows = read(tmp_path / "t.csv")
    assert [(r.number, r.id, isinstance(r, Item)) for r in rows] == [
        (1, "a", True),
        (2, None, False),
        (3, "c", False),
        (4, None, False),
        (5, "e", True),
        (6, "f", True),
    ]
    for header in ("", "a,a\n1,2\n", " , \n"):
        (tmp_path / "h.csv").write_text(header)
        with pytest.raises(InputError, match="header"):
            open_source(str(tmp_path / "h.csv"))


def test_a_damaged_part_of_a_table_costs_its_rows_alone(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": f"words of {n} " * 50} for n in range(40)]
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=10, use_dictionary=False)
    column = pyarrow.parquet.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    at = column.data_page_offset
    data[at : at + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    found = read(path)
    assert [r.number for r in found] == list(range(1, 41))
    assert [r.number for r in found if isinstance(r, BadItem)] == list(range(11, 21))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="Parquet"):
        open_source(str(path))


def test_a_packed_list_that_breaks_off_gives_what_it_holds_and_says_so(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps({"text": f"{n} {n**60}"}) + "\n" for n in range(2000)).encode())
    (tmp_path / "l.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    rows: list[object] = []
    with pytest.raises(InputError, match="cannot be read"):
        rows.extend(open_source(str(tmp_path / "l.jsonl.gz")).iterate())
    assert rows


# ---------------------------------------------------------------- anything at all

any_value = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.lists(st.text(max_size=3), max_size=2)
)
any_keys = st.sampled_from(
    ["id", "media", "text", "subject", "modalities", "custom_id", "body", "messages", "x"]
) | st.text(max_size=5)


@given(
    st.lists(
        st.dictionaries(any_keys, any_value | st.dictionaries(any_keys, any_value, max_size=3), max_size=5), max_size=5
    )
)
@settings(max_examples=80)
def test_any_json_gives_a_row_a_line(tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = list(open_source(str(path)).iterate())
    assert [r.number for r in rows] == list(range(1, len(lines) + 1))
    json.dumps([r.extra for r in rows], allow_nan=False)


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz"]))
@settings(max_examples=150)
def test_any_bytes_give_rows_or_a_plain_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{kind}"
    path.write_bytes(data)
    try:
        rows = list(open_source(str(path)).iterate())
    except InputError:
        return
    assert [r.number for r in rows] == list(range(1, len(rows) + 1))


def test_a_table_of_many_rows_is_read_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    text = io.StringIO()
    csv.writer(text).writerows([["id", "text"], *([f"r{n}", "word " * 20] for n in range(8_000))])
    (tmp_path / "t.csv").write_text(text.getvalue())
    tracemalloc.start()
    try:
        n = sum(1 for _ in open_source(str(tmp_path / "t.csv")).iterate())
        assert n == 8_000
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
