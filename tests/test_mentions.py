"""Which cues a sentence names."""

from __future__ import annotations

import pytest

from affectgpt.cues import load_cues
from affectgpt.mentions import find_mentions, find_quotes


def named(text: str) -> dict[str, tuple[frozenset[str], int, bool]]:
    return {m.cue: (m.levels, m.direction, m.negated) for m in find_mentions(text)}


@pytest.mark.parametrize("unit", sorted(load_cues().face))
def test_every_units_name_noun_movement_and_code_name_that_unit_alone(unit: int) -> None:
    cue = load_cues().face[unit]
    for words in (cue.name, cue.noun, cue.movement, cue.key, f"AU{unit:02d}", *cue.phrases):
        assert set(named(f"Here {words} shows.")) == {cue.key}, words


@pytest.mark.parametrize("key", sorted(load_cues().voice))
def test_every_measures_name_and_noun_name_that_measure_alone(key: str) -> None:
    cue = load_cues().voice[key]
    for words in (cue.name, cue.noun, *cue.phrases, *cue.up_words, *cue.down_words):
        assert set(named(f"Here {words} shows.")) == {key}, words


@pytest.mark.parametrize("key", sorted(load_cues().voice))
def test_our_own_wording_of_each_direction_is_read_back(key: str) -> None:
    cue = load_cues().voice[key]
    for level, direction in (("much higher", 1), ("higher", 1), ("lower", -1), ("much lower", -1), ("near", 0)):
        levels, read, _ = named(f"{cue.name} is {cue.adjective(level)}.")[key]
        assert read == direction, (cue.name, level)
        assert levels <= {level}


def test_an_intensity_word_belongs_to_its_clause() -> None:
    assert named("Slightly raised cheeks and a marked smile")["AU12"][0] == {"C"}
    assert named("Slightly raised cheeks and a marked smile")["AU6"][0] == {"B"}


def test_what_is_quoted_names_nothing() -> None:
    assert named('She said "what a smile" loudly.') == {"level_db": (frozenset(), 1, False)}
    assert find_quotes('She said "what a smile" and “no frown”.') == ["what a smile", "no frown"]


def test_a_denied_cue_is_marked() -> None:
    assert named("There is no smile.")["AU12"][2]
