"""Bounds keep what they promise on sentences that set nothing, and raters' noise is told from true differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.reader_heads import ALIKE, calibrate, conformal_cut, differences, flag_figures, is_alike, reliability
from finetune.word_corpora import RATED


def drawn(n: int, signal: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and true differences of n sentences (n, 3) that share so much."""
    draw = np.random.default_rng(seed)
    guess = 0.05 * draw.normal(size=(n, 3))
    return guess, signal * guess + 0.16 * draw.normal(size=(n, 3))


@pytest.mark.parametrize("signal", [0.0, 2.0])
def test_few_of_the_alike_are_flagged_and_intervals_cover(signal: float) -> None:
    bounds = calibrate(*drawn(4000, signal, 0), (True, False, True))
    told = flag_figures(*drawn(4000, signal, 1), bounds)
    assert told["false_alarms"][0] == pytest.approx(bounds.false_alarms, abs=0.02)
    assert told["coverage"][0] == pytest.approx(bounds.coverage, abs=0.02)
    if signal:
        assert told["hits"][1] > told["hits_unflagged"][2]
        assert told["towards"][1] > 0.1
    else:
        assert told["hits"][0] == pytest.approx(told["hits_unflagged"][0], abs=0.03)
        assert told["towards"][1] < 0 < told["towards"][2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_the_cut_leaves_the_promised_share_at_or_below_it(scores: list[float], coverage: float) -> None:
    cut = conformal_cut(np.array(scores), coverage)
    assert cut == np.inf or np.mean(np.array(scores) <= cut) >= coverage


def test_sentences_are_alike_only_where_every_dimension_is() -> None:
    gold = np.array([[0, 0.1, -0.2], [0, 0, ALIKE], [0, 0, -ALIKE], [0.3, 0, 0]])
    assert is_alike(gold).tolist() == [True, False, False, False]


def test_the_difference_is_the_readers_less_the_writers() -> None:
    rated = np.zeros((1, len(RATED)))
    rated[0, RATED.index("valence_reader")], rated[0, RATED.index("valence_writer")] = -0.5, 0.25
    rated[0, RATED.index("dominance_writer")] = np.nan
    found = differences(rated)
    assert found[0, :2].tolist() == [-0.75, 0.0]
    assert np.isnan(found[0, 2])


@pytest.mark.parametrize("true_share", [0.0, 0.5])
def test_noise_is_told_from_what_parts_the_sides(tmp_path: Path, true_share: float) -> None:
    draw = np.random.default_rng(3)
    n, n_raters = 3000, 5
    apart = np.sqrt(2 / n_raters * true_share / (1 - true_share)) * draw.normal(size=n)
    for side, shift in (("reader", apart), ("writer", 0 * apart)):
        ratings = 3 + shift[:, None, None] + draw.normal(size=(n, n_raters, 3))
        means, deviations = ratings.mean(axis=1), ratings.std(axis=1)
        lines = [
            f"s{k},{','.join(map(str, means[k]))},{','.join(map(str, deviations[k]))},{n_raters}" for k in range(n)
        ]
        (tmp_path / f"{side}.csv").write_text("id,V,A,D,stdV,stdA,stdD,N\n" + "\n".join(lines) + "\nx,3,3,3,0,0,0,1\n")
    told = reliability(tmp_path, {f"s{k}" for k in range(n)} | {"x", "absent"})
    assert told["reliability_valence"][0] == pytest.approx(true_share, abs=0.06)
    assert told["best_r_valence"] == pytest.approx(np.sqrt(max(0.0, told["reliability_valence"][0])), abs=1e-3)
