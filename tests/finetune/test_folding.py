"""Folds keep a name together, and the penalty chosen is one that helps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.fitting import fit_ridge
from finetune.folding import N_FOLDS, answer_by_penalty, choose_penalty, folds


@given(st.lists(st.integers(0, 40).map(str), min_size=1, max_size=200), st.integers(0, 3))
def test_a_name_stands_in_one_fold_and_folds_are_even(names: list[str], seed: int) -> None:
    fold = folds(names, seed)
    assert all(len({f for n, f in zip(names, fold, strict=True) if n == name}) == 1 for name in names)
    sizes = np.bincount([fold[names.index(n)] for n in set(names)], minlength=N_FOLDS)
    assert sizes.max() - sizes.min() <= 1
    assert (fold == folds(names, seed)).all()


def test_the_penalty_chosen_is_the_one_whose_folds_come_nearest_and_unknown_numbers_are_left_out() -> None:
    draw = np.random.default_rng(0)
    x, names = draw.normal(size=(120, 60)).astype(np.float32), [str(k) for k in range(120)]
    y = x[:, :1].astype(float) + 0.5 * draw.normal(size=(120, 1))
    y[::40] = np.nan
    penalties = (1e-6, 0.3, 1e6)
    penalty, said = choose_penalty(x, y, names, penalties, 0)
    alone = {p: choose_penalty(x, y, names, (p,), 0)[1] for p in penalties}
    known = np.isfinite(y[:, 0])
    r = {p: np.corrcoef(y[known, 0], said_alone[known, 0])[0, 1] for p, said_alone in alone.items()}
    assert penalty == max(r, key=lambda p: r[p])
    assert said == pytest.approx(alone[penalty])
    assert np.isfinite(said).all()


def test_every_penalty_answers_as_the_fit_that_ships() -> None:
    draw = np.random.default_rng(2)
    x, asked = draw.normal(size=(120, 30)).astype(np.float32), draw.normal(size=(20, 30)).astype(np.float32)
    y = x[:, :2] @ draw.normal(size=(2, 2)) + draw.normal(size=(120, 2))
    answers = answer_by_penalty(x, y, asked, (0.1, 10.0))
    for said, penalty in zip(answers, (0.1, 10.0), strict=True):
        assert said == pytest.approx(fit_ridge(x, y, penalty)(asked), abs=0.01)


def test_nothing_is_answered_for_by_what_was_fitted_on_its_name() -> None:
    # Each name has its own constant, which only its own rows could tell.
    draw = np.random.default_rng(1)
    names = [str(k // 10) for k in range(400)]
    mark = draw.normal(size=(40, 60))
    x = np.repeat(mark, 10, axis=0).astype(np.float32)
    y = np.repeat(draw.normal(size=40), 10)[:, None]
    _, together = choose_penalty(x, y, names, (0.01,), 0)
    _, apart = choose_penalty(x, y, [str(k) for k in range(400)], (0.01,), 0)
    assert np.corrcoef(apart[:, 0], y[:, 0])[0, 1] > 0.9
    assert abs(np.corrcoef(together[:, 0], y[:, 0])[0, 1]) < 0.6
