"""Both sides of a sentence come from one middle and one difference, and a card without bounds is refused."""

from __future__ import annotations

import numpy as np
import pytest

from affectgpt.appraise.difference import HEAD, DifferenceAppraiser, DifferenceReading
from affectgpt.appraise.heads import read_card
from affectgpt.appraise.words import DIMENSIONS, WordsAppraiser
from affectgpt.errors import InputError

TEXTS = ["He beat the dog until it stopped moving.", "Thank you so much!", "The meeting is on the second floor."]


@pytest.mark.parametrize("permissive", [False, True])
def test_the_sides_lie_around_what_both_feel(permissive: bool) -> None:
    read = DifferenceAppraiser(permissive).read(TEXTS)
    assert read.middle.shape == read.difference.shape == (3, len(DIMENSIONS))
    assert np.allclose(read.reader - read.writer, read.difference)
    assert np.allclose(read.middle, WordsAppraiser(permissive).dimensions(TEXTS))
    assert np.abs(read.difference).max() > 0


def test_no_side_leaves_the_scale() -> None:
    read = DifferenceReading(np.array([[0.95, -0.9, 0.0]]), np.array([[0.4, 0.6, 0.0]]))
    assert read.reader[0].tolist() == [1.0, pytest.approx(-0.6), 0.0]
    assert read.writer[0].tolist() == [pytest.approx(0.75), -1.0, 0.0]


@pytest.mark.parametrize("permissive", [False, True])
def test_the_bounds_are_the_cards(permissive: bool) -> None:
    bounds, card = DifferenceAppraiser(permissive).bounds, read_card(HEAD, permissive)
    assert list(bounds.spread) == card["bounds"]["spread"]
    assert 0 < bounds.false_alarms < 0.5 < bounds.coverage < 1
    assert bounds.cut > 0
    assert bounds.n > bounds.n_alike > 100
    # What raters find is mostly their own noise: the card says how little of it could be told at all.
    metrics = card["metrics"]
    for name in DIMENSIONS:
        assert metrics[f"pearson_{name}"][0] <= metrics[f"best_r_{name}"] + 0.1
        assert bounds.half_width[DIMENSIONS.index(name)] > 3 * bounds.spread[DIMENSIONS.index(name)]
        assert bounds.told[DIMENSIONS.index(name)] == (metrics[f"reliability_{name}"][1] > 0)
    assert bounds.hits == metrics["hits"][0]
    assert metrics["hits"][1] > bounds.hits_unflagged


def test_no_text_is_named() -> None:
    with pytest.raises(InputError):
        DifferenceAppraiser().read([None])  # type: ignore[list-item]
    assert DifferenceAppraiser().read([]).difference.shape == (0, 3)
