"""What travels between machines arrives as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from batch_rows import any_hex, any_json, any_text, rows
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.agent import AffectAgent, Senses
from affectgpt.batch import parcels
from affectgpt.batch.cluster_stages import table_of
from affectgpt.batch.course import Weighed
from affectgpt.batch.plain import plain
from affectgpt.batch.records import Done, Fingerprints, Item, Row
from affectgpt.batch.row_json import dump_row
from affectgpt.batch.tally import Effort
from affectgpt.batch.wishes import read_wishes
from affectgpt.errors import EngineBusy, EngineError, EngineUnreachable
from affectgpt.readers import AgentOptions
from affectgpt.records import Modality, Outcome

wishes = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.integers(0, 9),
        "modalities": st.just(["face", "speech"]),
        "temperature": st.floats(0, 2),
        "stop": st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3),
        "transcript_file": st.just("said.srt"),
    },
)
efforts = st.builds(Effort, st.sampled_from(["read", "recalled", "words"]), st.floats(0, 1e4), st.floats(0, 1e4))


@st.composite
def items(draw: st.DrawFn) -> Item:
    """Any item, its wishes as a source reads them. File names that are no Unicode hold lone surrogates."""
    name = st.none() | st.text(st.characters(), max_size=30)
    extra = draw(st.dictionaries(any_text, any_json, max_size=3))
    return Item(
        draw(any_text),
        draw(st.integers(0, 10**9)),
        draw(name),
        draw(st.none() | st.binary(max_size=50)),
        draw(name),
        read_wishes(draw(wishes)),
        extra,
    )


def sent(columns: parcels.Columns) -> parcels.Columns:
    """The columns, through a table."""
    (arrived,) = table_of([columns]).to_pylist()
    return dict(arrived)


@given(items(), st.none() | st.builds(Done, st.sampled_from(["ok", "failed"]), st.just(Fingerprints("ab")), any_hex))
def test_an_item_that_is_to_be_done(item: Item, done: Done | None) -> None:
    assert parcels.load_order(sent(parcels.order(item, done))) == (replace(item, extra=plain(item.extra)), done)


@given(items(), any_hex, efforts)
def test_an_item_that_was_read(item: Item, stamp: str | None, effort: Effort) -> None:
    read = Weighed(item, Fingerprints("ab" * 32, stamp, stamp), stamp, said(), effort)
    arrived = parcels.load_weighed(sent(parcels.weighed(read)))
    assert arrived == replace(read, item=replace(item, content=None, extra=plain(item.extra)))


def said() -> Outcome:
    import fakes

    words = fakes.transcript("I got the job")
    options = AgentOptions(modalities=frozenset({Modality.SPEECH}))
    return Outcome(None, AffectAgent(None, options).observe(Senses(transcript=words)), None, words)


@given(rows(), st.none() | efforts)
def test_a_finished_row_and_what_is_told_of_its_failure(row: Row, effort: Effort | None) -> None:
    columns = sent(parcels.result(Item(row.id, row.number), row, effort))
    arrived = parcels.load_result(columns)
    assert arrived.row is not None
    assert dump_row(arrived.row) == dump_row(row)
    assert (arrived.id, arrived.effort) == (row.id, effort)
    assert (columns["state"], columns["type"]) == (row.status, row.error.type if row.error else None)


def test_a_row_that_need_not_be_done_and_an_end() -> None:
    item = Item("a", 1)
    assert parcels.load_result(sent(parcels.result(item, None))) == parcels.Result("a", None)
    for error in (EngineUnreachable("gone", "bring it back"), EngineBusy("full"), EngineError("answered 401", "a key")):
        arrived: Any = parcels.load_end(sent(parcels.end(item, error)))
        assert (type(arrived), arrived.what, arrived.remedy) == (type(error), error.what, error.remedy)


def test_what_was_not_read_is_not_taken_for_it() -> None:
    with pytest.raises(ValueError, match="no item that was read"):
        parcels.load_weighed({**sent(parcels.order(Item("a", 1), None)), "head": b'{"fingerprints": {}, "item": {}}'})
