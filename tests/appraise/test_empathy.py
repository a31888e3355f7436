"""Empathy and distress: in range, nothing for nothing, and a long text read whole."""

from __future__ import annotations

import numpy as np
import pytest

from affectgpt.appraise.empathy import HEAD, PIECE_WORDS, SCALES, EmpathyAppraiser, reaction_rows
from affectgpt.appraise.heads import read_card
from affectgpt.errors import InputError

MOVED = (
    "I just read about the children who lost their parents in the flood and I cannot stop crying. My heart aches for "
    "them, I wish I could hold every one of them and tell them that they are loved."
)
COLD = "Some people lost a house. That happens all the time, I do not see why it should be in the news at all."


@pytest.mark.parametrize("permissive", [False, True])
def test_a_moved_writer_is_told_from_a_cold_one(permissive: bool) -> None:
    (moved, cold) = EmpathyAppraiser(permissive).read([MOVED, COLD])
    assert (moved > cold).all()
    assert ((moved >= 1) & (moved <= 7)).all()
    assert len(SCALES) == len(moved)


def test_no_word_gives_no_number_and_no_text_is_named() -> None:
    found = EmpathyAppraiser().read(["", MOVED, " \n"])
    assert np.isnan(found[[0, 2]]).all()
    assert np.isfinite(found[1]).all()
    assert EmpathyAppraiser().read([]).shape == (0, 2)
    with pytest.raises(InputError):
        EmpathyAppraiser().read([None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="wrap it"):
        EmpathyAppraiser().read(MOVED)


def test_what_stands_late_in_a_long_text_counts() -> None:
    long = "It was a plain and quiet day, and nothing much was said. " * 40
    plain, sad = EmpathyAppraiser().read([long + COLD * 10, long + MOVED * 10])
    assert (sad > plain).all()


def test_pieces_count_by_their_words() -> None:
    seen: list[str] = []

    def features(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(t.split())] for t in texts], np.float32)

    def tags(rows: np.ndarray) -> np.ndarray:
        return np.zeros((len(rows), 1))

    rows = reaction_rows(["a " * PIECE_WORDS, "b " * (2 * PIECE_WORDS + 1), "c"], features, tags)  # type: ignore[arg-type]
    lengths = [len(t.split()) for t in seen]
    assert max(lengths) <= PIECE_WORDS
    assert sum(lengths) == 3 * PIECE_WORDS + 2
    assert len(seen) == 5
    second = np.array(lengths[1:4])
    assert rows[:, 0].tolist() == [PIECE_WORDS, pytest.approx((second**2).sum() / second.sum()), 1]


def test_the_card_tells_by_whom_it_was_judged_and_what_the_length_alone_says() -> None:
    card = read_card(HEAD)
    assert card["licence"]["Empathic Reactions"] == "CC BY 4.0"
    for name in SCALES:
        r, low, high = card["metrics"][f"pearson_{name}"]
        assert low <= r <= high
        assert low > card["metrics"][f"pearson_{name}_length"][0]
    assert read_card(HEAD, permissive=True)["sha256"] == card["sha256"]
