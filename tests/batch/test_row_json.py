"""A row comes back from its line as it was, whatever it holds; what is no row is refused by name."""

from __future__ import annotations

import json

import pytest
from batch_rows import failed_row, outcome_document, row, rows
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.openai_results import OpenAIResults
from affectgpt.batch.parquet_columns import OBSERVATION_FIELDS, row_of, to_columns
from affectgpt.batch.plain import plain, sound
from affectgpt.batch.records import Done, Row
from affectgpt.batch.row_json import OUTCOME_KEYS, dump_row, load_row, read_head


@given(rows())
def test_a_row_comes_back_from_every_form(some: Row) -> None:
    done = Done(some.status, some.fingerprints, some.media_stamp)
    line = dump_row(some)
    assert line.count(b"\n") == 1
    assert load_row(line) == some
    assert read_head(line) == (some.id, done)
    result = OpenAIResults().dump(some)
    assert result.count(b"\n") == 1
    assert OpenAIResults().load(result) == some
    assert OpenAIResults().head(result) == (some.id, done)
    assert row_of(to_columns(some)) == some


def test_a_row_holds_all_that_is_promised() -> None:
    document = json.loads(dump_row(row("a")))
    assert set(OUTCOME_KEYS) == outcome_document().keys()
    assert document.keys() > {"id", "explanation", "appraisal", "observations", "grounding", "timings_s", "versions"}
    assert document["ai_generated"] is True
    assert document["explanation"]["parsed"] is True
    assert {k: v for k, v in document.items() if k in OUTCOME_KEYS} == {
        k: v for k, v in outcome_document().items() if k != "answer"
    }
    failed = json.loads(dump_row(failed_row("a")))
    assert failed.keys() == document.keys()
    assert failed["ai_generated"] is False
    assert failed["error"] == {
        "stage": "perception",
        "type": "UnreadableMedia",
        "message": "a: nothing in it can be decoded",
        "attempts": 1,
    }


def test_the_table_has_a_field_for_all_that_an_observation_holds() -> None:
    assert {key for o in outcome_document()["observations"] for key in o} == OBSERVATION_FIELDS.keys()


def test_a_line_with_the_end_of_its_own_head_inside_a_text_is_read_right() -> None:
    id = '", "media": "x'
    assert read_head(dump_row(row(id)))[0] == id
    assert OpenAIResults().head(OpenAIResults().dump(row(id)))[0] == id


@given(st.binary(max_size=60) | st.sampled_from(['{"id": "a"}', "[]", '{"id": 1}', "[" * 100_000]).map(str.encode))
def test_what_is_no_row_is_refused(line: bytes) -> None:
    for read in (load_row, read_head, OpenAIResults().load, OpenAIResults().head):
        with pytest.raises(ValueError):  # noqa: PT011 - any words will do
            read(line)


@given(st.text(max_size=20))
def test_texts_become_sound_and_stay_apart(text: str) -> None:
    sound(text).encode("utf-8")
    assert sound(sound(text)) == sound(text)
    assert json.loads(json.dumps(plain({"a": text}))) == {"a": sound(text)}


def test_names_that_are_no_unicode_stay_apart() -> None:
    names = [b"a\xff.mp4", b"a\xfe.mp4", "aé.mp4".encode()]
    assert len({sound(name.decode("utf-8", "surrogateescape")) for name in names}) == 3
    assert sound("\ud800") == "�"
