"""What people answered: replies by sides that never meet, and reactions with the writer's own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.corpora import read_emobank_difference, read_empathic_reactions, read_replies
from affectgpt.corpora.sides import place_of
from affectgpt.errors import InputError, MediaNotFound
from instruction_data.splits import Splitter

HEAD = "message_id,response_id,article_id,empathy,distress,empathy_bin,distress_bin,essay\n"


def dialogues(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    return path


def dialogue(name: str, *texts: str) -> dict[str, object]:
    turns = [{"role": ("speaker", "listener")[i % 2], "text": text} for i, text in enumerate(texts)]
    return {"conv_id": name, "emotion": "proud", "situation": "x", "turns": turns}


def test_each_turn_that_was_answered_is_a_row_with_its_reply(tmp_path: Path) -> None:
    path = dialogues(tmp_path / "ed.jsonl", dialogue("d", "I won.", "Well done!", "Thanks.", "What next?", "Sleep."))
    rows = read_replies(path)
    assert [(r.text, r.references, r.context) for r in rows] == [
        ("I won.", ("Well done!",), ()),
        ("Thanks.", ("What next?",), ("I won.", "Well done!")),
    ]
    assert {r.group["dialogue"] for r in rows} == {"d"}
    assert {r.label for r in rows} == {"proud"}


def test_what_is_no_dialogue_or_has_no_reply_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "ed.jsonl"
    path.write_text('{"conv_id": "a"}\nnot json\n' + json.dumps(dialogue("b", "Hi.", " ")), encoding="utf-8")
    assert read_replies(path).faults == {"a": "not a dialogue", "line2": "not a dialogue", "b:0": "no reply"}


def test_sides_divide_the_dialogues_as_the_recipes_divide_them(tmp_path: Path) -> None:
    path = dialogues(tmp_path / "ed.jsonl", *(dialogue(f"valid:{k}", "a", "b", "c", "d") for k in range(200)))
    train, dev, whole = (read_replies(path, side) for side in ("train", "dev", "all"))  # type: ignore[arg-type]
    assert {r.id for r in train} | {r.id for r in dev} == {r.id for r in whole}
    assert not {r.group["dialogue"] for r in train} & {r.group["dialogue"] for r in dev}
    assert 10 < len(dev) / 2 < 55
    splitter = Splitter({"train": 0.85, "dev": 0.15}, 7)
    assert {splitter.of_key(f"empathetic_dialogues:dialogue:{r.group['dialogue']}") for r in dev} == {"dev"}
    assert {splitter.of_key(f"empathetic_dialogues:dialogue:{r.group['dialogue']}") for r in train} == {"train"}


@given(st.text(), st.integers(0, 5))
def test_a_keys_place_is_its_own(key: str, seed: int) -> None:
    at = place_of(key, seed)
    assert 0 <= at < 1
    assert at == place_of(key, seed)
    assert at != place_of(key, seed + 1)


def test_reactions_carry_the_person_and_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "messages.csv"
    path.write_text(
        HEAD + 'p_1,p,67,5.667,4.375,1,1,"so sad, really"\np_2,p,68,9,1,1,0,x\nq_1,q,68,,1,1,0,x\nq_2,q,1,1,1,0,0,\n',
        encoding="utf-8",
    )
    rows = read_empathic_reactions(path)
    assert rows[0].values == {"empathy": 5.667, "distress": 4.375}
    assert rows[0].group == {"person": "p", "article": "67"}
    assert rows[0].text == "so sad, really"
    assert rows.faults == {
        "p_2": "a rating outside 1 to 7",
        "q_1": "empathy is not a finite number",
        "q_2": "neither text nor media",
    }


def test_what_parts_two_sides_is_the_readers_number_less_the_writers(tmp_path: Path) -> None:
    (tmp_path / "emobank.csv").write_text("id,split,V,A,D,text\na,dev,3,3,3,x\nb,dev,3,3,3,y\n", encoding="utf-8")
    (tmp_path / "reader.csv").write_text("id,V,A,D\na,1,3,4\nb,1,1,1\n", encoding="utf-8")
    (tmp_path / "writer.csv").write_text("id,V,A,D\na,2,5,3\n", encoding="utf-8")
    rows = read_emobank_difference(tmp_path / "emobank.csv")
    assert rows[0].values == {"valence": -0.5, "arousal": -1.0, "dominance": 0.5}
    assert rows[0].group == {"split": "dev"}
    assert rows.faults == {"b": "no writer's rating"}


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column"):
        read_empathic_reactions(tmp_path / "x.csv")
    with pytest.raises(MediaNotFound):
        read_replies(tmp_path / "absent.jsonl")


@pytest.mark.shared
def test_the_real_files_are_read_whole(shared_data: Path) -> None:
    reactions = read_empathic_reactions(shared_data / "text" / "empathic_reactions" / "messages.csv")
    assert len(reactions) == 1455
    assert not reactions.faults
    assert len({r.group["person"] for r in reactions}) == 291
    replies = read_replies(shared_data / "text" / "empathetic_dialogues" / "ed_valid.jsonl")
    assert len(replies.usable) > 4000
    assert len(replies.faults) < len(replies) / 100
