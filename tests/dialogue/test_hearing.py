"""The real encoder and heads behind a conversation; what is heard once is not read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.corpora import MELD
from affectgpt.dialogue import Asked, Companion, CompanionOptions, Line
from affectgpt.dialogue.hearing import LONGEST_HEARD, EncoderHearing, clipped, spelt


@given(st.text(max_size=3 * LONGEST_HEARD))
def test_what_is_read_of_a_line_is_bounded_and_was_said(text: str) -> None:
    found = clipped(text)
    assert len(found) <= LONGEST_HEARD
    assert clipped(found) == found
    assert found == text or (len(text) > LONGEST_HEARD and text.startswith(found[:10]) and text.endswith(found[-10:]))


def test_pictographs_are_spelt() -> None:
    assert spelt("ok 😭😭") == "ok loudly crying face loudly crying face"
    assert spelt("plain – text") == "plain – text"


@pytest.fixture(scope="module")
def hearing() -> EncoderHearing:
    return EncoderHearing()


@pytest.mark.slow
def test_lines_are_heard(hearing: EncoderHearing) -> None:
    sad = hearing.line("I feel so lonely since my wife died.")
    assert sum(sad.feelings.values()) == pytest.approx(1.0, abs=1e-4)
    assert max(sad.feelings, key=lambda k: sad.feelings[k]) in {"lonely", "sad", "devastated", "sentimental"}
    assert hearing.line("I feel so lonely since my wife died.") is sad
    rows = hearing.emissions(["Hello.", "I won the lottery, this is wonderful!"], 2)
    assert rows.shape == (2, len(MELD))
    assert rows.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert MELD[rows[1].argmax()] == "joy"
    assert hearing.emissions([], 0).shape == (0, len(MELD))


@pytest.mark.slow
def test_cause_words_have_their_places(hearing: EncoderHearing) -> None:
    text = "I am so sad because my dog died yesterday."
    found = hearing.causes(text)
    assert [text[a:b] for a, b, _ in found] == text.split()
    assert all(0 <= p <= 1 for _, _, p in found)
    assert hearing.causes("  ") == ()


@pytest.mark.slow
def test_a_long_lines_words_keep_their_places(hearing: EncoderHearing) -> None:
    text = "I am so tired. " + "We went on and on, day after day. " * 30 + "And then my dog died."
    found = hearing.causes(text)
    words = [text[a:b] for a, b, _ in found]
    assert words[:4] == ["I", "am", "so", "tired."]
    assert words[-1] in text.split()
    assert all(word in text.split() for word in words)


@pytest.mark.slow
def test_the_permissive_heads_hold_a_conversation_too() -> None:
    turn = Companion(CompanionOptions(permissive=True)).answer(Asked("I lost my job and I am scared."), None)
    assert turn.understanding is not None
    assert turn.understanding.feeling.label_set == "basic8"
    assert turn.understanding.cause is None
    said = (Line("you", "I lost my job and I am scared."), Line("agent", "I see.", is_agent=True))
    later = Companion(CompanionOptions(permissive=True)).answer(Asked("The train is late.", said), None)
    assert later.understanding is not None
    (state, *_) = later.understanding.speakers
    assert (state.inertia, state.contagion) == (0.0, 0.0), "counts of MELD are under the GPL"
