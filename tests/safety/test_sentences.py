"""The gate: what comes out is the reply, sentence by sentence, and nothing after what must not be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.safety import Finding, Screen, SentenceGate, split_sentences
from affectgpt.safety.findings import Side
from affectgpt.safety.sentences import LONGEST_HELD

SCREEN = Screen()


@dataclass(frozen=True)
class Forbidden:
    """A layer that stops one text."""

    words: str

    def find(self, text: str, side: Side) -> Sequence[Finding]:
        at = text.find(self.words)
        return [Finding("diagnosis", "urgent", "test", at, at + len(self.words))] if at >= 0 else []


def released(gate: SentenceGate, pieces: Sequence[str]) -> list[str]:
    out = [sentence for piece in pieces for sentence in gate.feed(piece)]
    return out + gate.finish()


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = [0, *sorted({p % (len(text) + 1) for p in places}), len(text)]
    return [text[a:b] for a, b in pairwise(bounds)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)
PROSE = st.lists(
    st.sampled_from(
        ["Dr. Kim ", "was here. ", "Really?! ", "z. B. so ", "am 3. Mai. ", "\n", "He said: \"No.\" ", "…", "3.5 ",
         "ok ", "why? ", "。", "A ", "1. ", "— ", "etc. ", "¿Qué? ", "word " * 30]
    )
)  # fmt: skip


@given(PROSE, PLACES)
def test_joined_sentences_are_the_text(parts: list[str], places: list[int]) -> None:
    text = "".join(parts)
    gate = SentenceGate(Screen(layers=[]))
    assert "".join(released(gate, cut(text, places))) == text
    assert gate.held is None
    assert "".join(split_sentences(text)) == text


@given(st.text(max_size=1500), PLACES)
def test_any_text_comes_out_whole_however_it_is_cut(text: str, places: list[int]) -> None:
    assert "".join(released(SentenceGate(Screen(layers=[])), cut(text, places))) == text


@given(PROSE, PROSE, PLACES)
def test_what_is_forbidden_never_comes_out(before: list[str], after: list[str], at: list[int]) -> None:
    text = "".join(before) + "You are ill. Quite ill." + "".join(after)
    gate = SentenceGate(Screen(layers=[Forbidden("ill. Quite")]))
    out = "".join(released(gate, cut(text, at)))
    assert gate.held is not None
    assert text.startswith(out)
    assert "ill. Quite" not in out
    assert gate.feed("More.") == [] == gate.finish()


def test_sentences_before_a_hit_are_out_and_those_after_it_are_not() -> None:
    gate = SentenceGate(SCREEN)
    out = released(gate, ["I hear you. You clearly ha", "ve a bipolar disorder. Be", " well."])
    assert out == ["I hear you. "]
    assert gate.held is not None
    assert gate.held.risk == "diagnosis"


def test_a_phrase_across_sentences_is_caught() -> None:
    gate = SentenceGate(Screen(layers=[Forbidden("alone. You are")]))
    assert released(gate, ["You are alone. ", "You are lost."]) == ["You are alone. "]
    assert gate.held is not None


def test_a_reply_without_an_end_goes_out_in_parts_and_a_phrase_over_a_cut_is_caught() -> None:
    endless = "and then we talked " * 100
    gate = SentenceGate(SCREEN)
    out = [s for word in endless.split(" ") for s in gate.feed(word + " ")]
    assert out
    assert max(map(len, out)) <= LONGEST_HELD
    for pad in range(200, 460, 7):
        gate = SentenceGate(Screen(layers=[Forbidden("the forbidden words")]))
        text = "x" * 5 + " y" * (pad // 2) + " the forbidden words" + " z" * 300
        assert "the forbidden words" not in "".join(released(gate, cut(text, range(0, len(text), 9))))
        assert gate.held is not None


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Dr. Kim said so. Did he? Yes!", 3), ("Am 3. Mai, z. B. um acht.", 1), ("Es bueno. ¿No? Sí.", 3),
        ("M. Dupont est là. Oui.", 2), ("Well ... maybe. Or not…", 2), ("行きます。はい。", 2), ("One\nTwo", 2),
        ("", 0),
    ],
)  # fmt: skip
def test_where_sentences_end(text: str, n: int) -> None:
    assert len(split_sentences(text)) == n


@pytest.mark.parametrize("text", ["Are you thinking about killing yourself?", "Please call 988, I'll stay here.",
                                  "I can't diagnose anything.", "Ask your doctor about your medication."])  # fmt: skip
def test_careful_replies_go_out(text: str) -> None:
    gate = SentenceGate(SCREEN)
    assert "".join(released(gate, list(text))) == text
    assert gate.held is None
