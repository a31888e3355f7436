"""Readers keep every row of a file, and name what is wrong with the bad ones."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt import corpora
from affectgpt.corpora.archive import read_archive
from affectgpt.errors import InputError, OptionError

MELD_HEAD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"


def meld(tmp_path: Path, *rows: str) -> corpora.Corpus:
    path = tmp_path / "x.csv"
    path.write_text(MELD_HEAD + "\n".join(rows), encoding="utf-8")
    return corpora.read_meld(path)


def test_context_is_the_earlier_turns_of_the_same_dialogue(tmp_path: Path) -> None:
    read = meld(tmp_path, "1,a,A,joy,positive,0,0", "2,b,B,anger,negative,1,0", "3,c,A,neutral,neutral,0,1")
    assert [r.context for r in read] == [(), (), ("a",)]
    assert [r.values["sentiment"] for r in read] == [1, -1, 0]


def test_every_bad_row_is_kept_and_named(tmp_path: Path) -> None:
    twice = "4,d,A,joy,positive,0,0"
    read = meld(tmp_path, "1,a,A,joy,positive,0,0", "2,b,B,boredom,negative,0,1", "3,,A,joy,positive,0,2", twice)
    assert len(read) == 4
    assert read.faults == {
        "dia0_utt1": "unknown label 'boredom'",
        "dia0_utt2": "neither text nor media",
        "dia0_utt0#2": "repeats the id dia0_utt0",
    }
    assert [r.id for r in read.usable] == ["dia0_utt0"]


def test_a_table_of_another_kind_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column Utterance"):
        corpora.read_meld(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        corpora.read_meld(path)


def test_goemotions_ids_become_names(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("yes\t17\ta\nboth\t4,27\tb\nbad\t4,99\tc\nshort\t3\n", encoding="utf-8")
    read = corpora.read_goemotions(path)
    assert [r.label for r in read] == ["joy", None, "approval", "annoyance"]
    assert read[1].labels == ("approval", "neutral")
    assert set(read.faults) == {"c", "line4"}


def test_emobank_is_brought_to_one_scale_and_keeps_its_perspectives_apart(tmp_path: Path) -> None:
    (tmp_path / "emobank.csv").write_text(
        "id,split,V,A,D,text\na,train,5,1,3,x\nb,dev,,3,3,y\nc,dev,9,3,3,z\n", encoding="utf-8"
    )
    (tmp_path / "reader.csv").write_text("id,V,A,D\na,1,3,3\n", encoding="utf-8")
    both = corpora.read_emobank(tmp_path / "emobank.csv")
    assert both[0].values == {"valence": 1, "arousal": -1, "dominance": 0}
    assert both.faults == {"b": "valence is not a finite number", "c": "a rating outside 1 to 5"}
    reader = corpora.read_emobank(tmp_path / "emobank.csv", "reader")
    assert reader[0].values["valence"] == -1
    assert reader.faults["b"] == "no reader's rating"


def test_jsonl_takes_a_column_map(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{"n": 1, "s": "hello", "v": 0.5}, {"n": 2, "s": "no number", "v": None}, {"n": 3, "s": "no key"}]
    path.write_text("\n".join([*map(json.dumps, rows), "{broken"]), encoding="utf-8")
    read = corpora.read_jsonl(path, {"id": "n", "text": "s", "values.valence": "v"})
    assert read[0].values == {"valence": 0.5}
    assert list(read.faults.values()) == ["valence is not a finite number", "no 'v'", "not a JSON object"]
    with pytest.raises(OptionError, match="no field 'txt'"):
        corpora.read_jsonl(path, {"txt": "s"})


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tsv"
        path.write_text(text, encoding="utf-8")
        assert len(corpora.read_goemotions(path)) == len([x for x in path.read_text("utf-8-sig").split("\n") if x])
        corpora.read_jsonl(path, {"text": "t"})
        try:
            corpora.read_reccon(path)
            corpora.read_meld(path)
        except InputError:
            pass


def test_media_is_looked_for_inside_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"x")
    (folder / "empty.png").touch()
    (tmp_path / "out.png").write_bytes(b"x")
    (folder / "labels.csv").write_text(
        "image,emotion,who\na.png,joy,1\nb.png,joy,2\n../out.png,joy,3\nempty.png,joy,4\n"
    )
    read = corpora.read_image_folder(folder, folder / "labels.csv")
    assert read[0].group == {"who": "1"}
    assert list(read.faults.values()) == [
        "missing media file 'b.png'",
        "'../out.png' lies outside the folder",
        "empty media file 'empty.png'",
    ]


def test_folders_may_be_the_labels(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "1.png").write_bytes(b"x")
    (tmp_path / "loose.png").write_bytes(b"x")
    read = corpora.read_image_folder(tmp_path)
    assert [(r.label, r.fault) for r in read] == [("happy", ""), (None, "lies in no label's folder")]


def test_ravdess_names_are_decoded(tmp_path: Path) -> None:
    for name in ("03-01-06-02-01-01-12", "03-01-09-01-01-01-01", "notes"):
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    read = corpora.read_ravdess(tmp_path)
    assert read[0].label == "fearful"
    assert read[0].group["sex"] == "female"
    assert list(read.faults.values()) == ["unknown emotion code 09", "not a RAVDESS file name"]


# ---------------------------------------------------------------- label archives


def unibench(tmp_path: Path, corpus: object) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    np.savez_compressed(folder / "label-6way.npz", train_corpus={}, test_corpus=corpus)  # type: ignore[arg-type]
    (folder / "transcription.csv").write_text("name,chinese,english\na,好,good\n", encoding="utf-8")
    return folder


def test_a_label_archive_is_read_as_numpy_itself_writes_it(tmp_path: Path) -> None:
    gold = {"a": {"emo": "happy", "val": np.float64(1.5)}, "b": {"emo": "", "val": -2}, "c": {"emo": "sad", "val": ""}}
    read = corpora.read_mer_unibench(unibench(tmp_path, gold))
    assert [(r.label, dict(r.values)) for r in read] == [
        ("happy", {"valence": 1.5}),
        (None, {"valence": -2}),
        ("sad", {}),
    ]
    assert read[0].text == "good"
    assert read.faults == {"b": "neither text nor media", "c": "neither text nor media"}


def test_missing_media_is_named_where_the_set_has_media(tmp_path: Path) -> None:
    folder = unibench(tmp_path, {"a": {"emo": "happy", "val": 1}})
    (folder / "video").mkdir()
    assert corpora.read_mer_unibench(folder).faults == {"a": "missing media file 'a'"}
    (folder / "video" / "a.mp4").write_bytes(b"x")
    assert corpora.read_mer_unibench(folder).faults == {}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("affectgpt_was_here",)


def _npz(tmp_path: Path, pickled: bytes) -> Path:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    path = tmp_path / "label.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("test_corpus.npy", head.getvalue() + pickled)
    return path


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps(Evil()),
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"cnumpy\nload\n.",
        pickle.dumps({"a": {1, 2}}),
        b"\x80\x04",
        b"",
    ],
)
def test_nothing_in_an_archive_can_run(tmp_path: Path, pickled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="holds what no label archive holds"):
        read_archive(_npz(tmp_path, pickled))
    assert not (tmp_path / "affectgpt_was_here").exists()


@given(st.binary(max_size=300))
def test_any_pickle_is_a_value_or_an_input_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        read_archive(_npz(Path(folder), data))


# ---------------------------------------------------------------- the real sets


@pytest.mark.shared
def test_the_real_sets_have_the_sizes_that_their_authors_state(shared_data: Path) -> None:
    text = shared_data / "text"
    read = {
        "meld": corpora.read_meld(text / "meld" / "dev_sent_emo.csv"),
        "goemotions": corpora.read_goemotions(text / "goemotions" / "dev.tsv"),
        "emobank": corpora.read_emobank(text / "emobank" / "emobank.csv", "writer"),
        "ed": corpora.read_empathetic_dialogues(text / "empathetic_dialogues" / "ed_valid.jsonl"),
        "reccon": corpora.read_reccon(text / "reccon" / "dailydialog_valid.json"),
        "ravdess": corpora.read_ravdess(shared_data / "speech" / "ravdess"),
    }
    assert {k: (len(c), len(c.faults)) for k, c in read.items()} == {
        "meld": (1109, 0), "goemotions": (5426, 0), "emobank": (9062, 0), "ed": (2615, 0),
        "reccon": (493, 0), "ravdess": (1200, 0),
    }  # fmt: skip
    faces = corpora.read_image_folder(
        shared_data / "faces" / "muxspace", shared_data / "faces" / "muxspace" / "labels.csv"
    )
    assert faces.faults == {"Avinash_30.jpg#2": "repeats the id Avinash_30.jpg"}
