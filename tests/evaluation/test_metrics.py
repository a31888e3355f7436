"""The figures obey their laws, and equal scikit-learn's where both are defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from affectgpt.evaluation import metrics
from affectgpt.evaluation.intervals import Resampling, difference, interval

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(pairs)
def test_classification_equals_scikit_learn(rows: list[tuple[int, int]]) -> None:
    gold, said = (np.array(column) for column in zip(*rows, strict=True))
    table = metrics.confusion(gold, said, 4)
    assert metrics.accuracy(table) == pytest.approx(sk.accuracy_score(gold, said))
    for average in ("macro", "weighted", "micro"):
        assert metrics.f1(table, average) == pytest.approx(sk.f1_score(gold, said, average=average, zero_division=0))
    there = sorted(set(gold))
    assert metrics.uar(table) == pytest.approx(
        sk.recall_score(gold, said, labels=there, average="macro", zero_division=0)
    )
    assert (table[:, :4] == sk.confusion_matrix(gold, said, labels=range(4))).all()


@given(pairs)
def test_no_answer_never_helps(rows: list[tuple[int, int]]) -> None:
    gold, said = (np.array(column) for column in zip(*rows, strict=True))
    silent = said.copy()
    silent[0] = metrics.NO_ANSWER
    full, less = metrics.confusion(gold, said, 4), metrics.confusion(gold, silent, 4)
    assert less.sum() == full.sum()
    assert metrics.accuracy(less) <= metrics.accuracy(full)
    assert metrics.uar(less) <= metrics.uar(full)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_multilabel_equals_scikit_learn(rows: list[tuple[bool, ...]]) -> None:
    table = np.array(rows)
    gold, said = table[:, :2], table[:, 2:]
    if (gold | said).any():
        assert metrics.multilabel_f1(gold, said, "micro") == pytest.approx(sk.f1_score(gold, said, average="micro"))
    if (gold | said).any(0).all():
        assert metrics.multilabel_f1(gold, said, "macro") == pytest.approx(
            sk.f1_score(gold, said, average="macro", zero_division=0)
        )


def test_ccc_pays_for_a_wrong_scale_and_pearson_does_not() -> None:
    gold = np.linspace(-1, 1, 50)
    assert metrics.pearson(gold, gold) == pytest.approx(1)
    assert metrics.ccc(gold, gold) == pytest.approx(1)
    assert metrics.pearson(gold, 0.2 * gold + 0.5) == pytest.approx(1)
    assert metrics.ccc(gold, 0.2 * gold + 0.5) < 0.5
    assert metrics.pearson(gold, np.zeros(50)) == 0
    assert metrics.ccc(gold, -gold) == pytest.approx(-1)


def test_calibration_is_zero_where_confidence_is_true() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 100_000)
    probabilities = np.stack([p, 1 - p], 1)
    gold = (rng.uniform(size=len(p)) > p).astype(int)
    assert metrics.ece(probabilities, gold) < 0.01
    sure = np.tile([1.0, 0.0], (len(p), 1))
    assert metrics.ece(sure, gold) == pytest.approx((gold == 1).mean())
    assert metrics.brier(probabilities, gold) < metrics.brier(sure, gold)
    assert metrics.brier(probabilities, gold) == pytest.approx(2 * sk.brier_score_loss(gold, 1 - p))


def test_distribution_skill_is_one_for_the_truth_and_zero_for_the_prior() -> None:
    rng = np.random.default_rng(0)
    gold = rng.dirichlet(np.ones(5), 40)
    prior = np.tile(gold.mean(0), (40, 1))
    base = metrics.label_distribution(gold, prior)
    for name, better in metrics.LABEL_DISTRIBUTION.items():
        truth = metrics.label_distribution(gold, gold)[name].mean()
        assert metrics.skill(truth, base[name].mean(), better) == pytest.approx(1, abs=1e-6)
        assert metrics.skill(base[name].mean(), base[name].mean(), better) == 0


def test_sentiment_waf_leaves_zero_out() -> None:
    gold = np.array([1.0, -1.0, 0.0, 2.5])
    assert metrics.sentiment_waf(gold, np.array([True, False, True, True])) == 1
    assert metrics.sentiment_waf(gold, np.array([True, True, True, True])) < 1


def test_the_interval_holds_the_truth_and_repeats_itself() -> None:
    x = np.random.default_rng(1).normal(size=200)
    figure = interval("mean", lambda at: float(x[at].mean()), 200, Resampling(500, seed=3))
    assert figure.low < figure.value < figure.high
    assert figure.high - figure.low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.2)
    assert figure == interval("mean", lambda at: float(x[at].mean()), 200, Resampling(500, seed=3))


def test_clusters_widen_the_interval_of_dependent_samples() -> None:
    x = np.repeat(np.random.default_rng(1).normal(size=20), 10)
    names = [str(i // 10) for i in range(200)]
    alone = interval("mean", lambda at: float(x[at].mean()), 200, Resampling(500))
    together = interval("mean", lambda at: float(x[at].mean()), 200, Resampling(500, clusters=names))
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_two_runs_are_compared_on_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(size=300)
    a, b = (hard + 0.05 > 0.5).astype(float), (hard > 0.5).astype(float)
    figure, p = difference("accuracy", lambda at: a[at].mean(), lambda at: b[at].mean(), 300, Resampling(500))
    assert figure.value > 0
    assert figure.low > 0
    assert p < 0.05
    same, p_same = difference("accuracy", lambda at: a[at].mean(), lambda at: a[at].mean(), 300, Resampling(500))
    assert (same.value, p_same) == (0, 1)


def test_nothing_to_measure_is_said_and_not_raised() -> None:
    figure = interval("x", lambda at: 1.0, 0, Resampling())
    assert np.isnan(figure.value)
    assert figure.note == "no samples"
