"""Every row has an id of its own, is in one shard, and stays there whatever happens to the other rows."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.selection import LONGEST_ID, Shard, select, with_sound_ids
from affectgpt.errors import OptionError


def items(ids: Iterable[str | None]) -> list[Item | BadItem]:
    """An item an id, and a bad one where there is none."""
    return [
        BadItem(n, None, "no JSON") if id is None else Item(id, n, transcript="words") for n, id in enumerate(ids, 1)
    ]


any_ids = st.lists(st.none() | st.sampled_from(["a", "a#2", "row-2", "b"]) | st.text(max_size=6), max_size=12)


@given(any_ids)
def test_every_row_has_an_id_of_its_own_that_can_be_written(ids: list[str | None]) -> None:
    rows = list(with_sound_ids(iter(items(ids))))
    assert [r.number for r in rows] == list(range(1, len(ids) + 1))
    named = [str(r.id) for r in rows]
    assert len(set(named)) == len(named)
    for id in named:
        id.encode()
        assert id.strip()
        assert not any(c < " " for c in id)
    for given_id, row in zip(ids, rows, strict=True):
        if isinstance(row, Item):
            assert row.id == given_id or "\ufffd" in row.id or "\\x" in row.id
    assert list(with_sound_ids(iter(items(ids)))) == rows


def test_a_repeated_id_is_told_of_with_the_row_that_has_it() -> None:
    first, second, third = with_sound_ids(iter(items(["a", "a", "a"])))
    assert isinstance(first, Item)
    assert isinstance(second, BadItem)
    assert isinstance(third, BadItem)
    assert (second.id, third.id) == ("a#2", "a#3")
    assert "row 1" in second.reason


def test_an_id_that_is_none_is_told_of() -> None:
    for id, word in (("", "empty"), ("  ", "empty"), ("a\nb", "control"), ("x" * (LONGEST_ID + 1), "characters")):
        (row,) = with_sound_ids(iter(items([id])))
        assert isinstance(row, BadItem)
        assert word in row.reason
        assert 0 < len(str(row.id)) <= LONGEST_ID


def test_ids_of_every_script_and_of_300_letters_are_fine() -> None:
    ids = ["日本語", "نمونه\u200cها", "👩‍👩‍👧", "e\u0301", "a" * 300, "с#1", " padded "]
    rows = list(with_sound_ids(iter(items(ids))))
    assert [r.id for r in rows if isinstance(r, Item)] == ids


@given(st.integers(1, 7), st.integers(0, 2**32))
def test_shards_part_the_rows_and_keep_them(n: int, seed: int) -> None:
    ids = [f"clip {k}" for k in range(60)]
    shards = [Shard(k, n) for k in range(1, n + 1)]
    parts = [{str(r.id) for r in select(iter(items(ids)), shard)} for shard in shards]
    assert sum(map(len, parts)) == len(ids)
    assert set().union(*parts) == set(ids)
    shuffled = [*ids, *(f"new {k}" for k in range(9))]
    random.Random(seed).shuffle(shuffled)
    again = [{str(r.id) for r in select(iter(items(shuffled)), shard)} for shard in shards]
    assert all(part <= later for part, later in zip(parts, again, strict=True))


def test_shards_are_about_equal() -> None:
    rows = items(f"clip {k}.mp4" for k in range(4_000))
    sizes = [sum(1 for _ in select(iter(rows), Shard(k, 4))) for k in (1, 2, 3, 4)]
    assert min(sizes) > 850  # 1000 expected, 27 a standard deviation


def test_a_shard_is_the_same_on_every_machine() -> None:
    # By the first 8 bytes of SHA-256, as printed by `printf a | sha256sum`: ca978112ca1bbdca and so on.
    assert [k for id in "abcdefg" for k in (1, 2, 3, 4) if Shard(k, 4).holds(id)] == [3, 3, 3, 2, 3, 3, 2]


def test_an_id_is_repeated_in_whichever_shard_it_is() -> None:
    rows = items(["a", "b", "a", "b"])
    found = [r for k in (1, 2, 3) for r in select(iter(rows), Shard(k, 3))]
    assert sorted(str(r.id) for r in found) == ["a", "a#2", "b", "b#2"]
    assert sum(isinstance(r, BadItem) for r in found) == 2


def test_the_limit_counts_rows_of_the_shard() -> None:
    rows = items(f"clip {k}" for k in range(50))
    assert [r.number for r in select(iter(rows), limit=3)] == [1, 2, 3]
    whole = list(select(iter(rows), Shard(2, 3)))
    assert list(select(iter(rows), Shard(2, 3), 4)) == whole[:4]
    assert list(select(iter(rows), limit=0)) == []
    with pytest.raises(OptionError, match="limit"):
        list(select(iter(rows), limit=-1))


def test_a_limit_reads_no_further_than_it_must() -> None:
    def endless() -> Iterable[Item]:
        n = 0
        while True:
            n += 1
            assert n <= 5
            yield Item(str(n), n, transcript="x")

    assert len(list(select(iter(endless()), limit=5))) == 5


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/0", "a/b", "1/-4", "１/４", "1/4/2", "1.5/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="K/N"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_said() -> None:
    assert Shard.parse(" 2/4 ") == Shard(2, 4)
    assert Shard(2, 4).name == "2-of-4"
