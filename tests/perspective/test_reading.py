"""Sentences from both sides: spans are the text's own, what reaches the cut is flagged, and words carry their share."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perspective_fakes import FakeSides

from affectgpt.errors import InputError
from affectgpt.perspective import LONGEST_TEXT, find_differences
from affectgpt.perspective.reading import LONGEST_SENTENCE

TEXT = "The dog was fine. The dog was beaten badly!  So it goes."


def test_a_sentence_is_flagged_where_its_difference_reaches_the_cut() -> None:
    sides = FakeSides()
    calm, loud, plain = find_differences(TEXT, sides)
    assert (calm.text, loud.text, plain.text) == ("The dog was fine.", "The dog was beaten badly!", "So it goes.")
    assert [bool(s.flagged) for s in (calm, loud, plain)] == [False, True, False]
    assert [d.dimension for d in loud.flagged] == ["valence", "arousal"]
    assert loud.told == "more unpleasant, more stirring"
    assert calm.told == plain.told == ""
    valence = loud.differences[0]
    assert valence.reader - valence.writer == pytest.approx(valence.value) == pytest.approx(-0.4)
    assert (valence.writer + valence.reader) / 2 == pytest.approx(0.1)


def test_the_words_that_part_the_sides_are_found_in_one_batch() -> None:
    sides = FakeSides()
    found = find_differences("The fine dog was beaten, whatever. Whatever, he was beaten.", sides)
    assert len(sides.asked) == 2
    first = {w.word: w.share for w in found[0].words}
    # The whole is beaten + whatever + fine on valence, and beaten on arousal: -0.5 and 0.3 in spreads of 0.1.
    assert first == pytest.approx({"The": 0, "fine": -2 / 8, "dog": 0, "was": 0, "beaten,": 7 / 8, "whatever.": 3 / 8})
    assert [w.word for w in found[0].words][:2] == ["beaten,", "whatever."]
    assert sum(w.share for w in found[1].words) == pytest.approx(1)
    assert found[0].words[0].word == "beaten,"


def test_a_dimension_that_cannot_be_told_is_never_flagged() -> None:
    (sentence,) = find_differences("The dog was ordered about.", FakeSides())
    assert sentence.differences[2].value == pytest.approx(-0.9)
    assert not sentence.flagged
    assert not sentence.words


def test_a_single_word_carries_it_all() -> None:
    sides = FakeSides()
    (only,) = find_differences("Beaten!", sides)
    assert [(w.word, w.share) for w in only.words] == [("Beaten!", 1.0)]


@given(text=st.text(alphabet=st.sampled_from("beaten whatever fine dog. !?\n\t  \u200b😀é"), max_size=300))
def test_spans_are_the_texts_own_and_no_word_is_lost(text: str) -> None:
    found = find_differences(text, FakeSides())
    assert [text[s.start : s.end] for s in found] == [s.text for s in found]
    assert " ".join(s.text for s in found).split() == text.split()
    assert all(a.end <= b.start for a, b in pairwise(found))
    for sentence in found:
        assert len(sentence.text.split()) <= LONGEST_SENTENCE
        assert bool(sentence.words) == bool(sentence.flagged)
        assert all(text[w.start : w.end] == w.word for w in sentence.words)


@pytest.mark.parametrize("nothing", ["", "   ", "\n\n\t"])
def test_nothing_said_is_nothing_found(nothing: str) -> None:
    sides = FakeSides()
    assert find_differences(nothing, sides) == ()
    assert sides.asked == []


def test_a_giant_is_read_in_parts_or_refused() -> None:
    sides = FakeSides()
    found = find_differences("dog " * 50_000, sides)
    assert sum(len(s.text.split()) for s in found) == 50_000
    assert len(sides.asked) == 1
    with pytest.raises(InputError, match="characters"):
        find_differences("a" * (LONGEST_TEXT + 1), sides)
