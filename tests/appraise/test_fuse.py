"""Pooling: weights follow exp(confidence), absence weighs nothing, inertia carries over, conflicts stay two-peaked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.appraise import fuse
from affectgpt.appraise.fuse import Reading, weigh
from affectgpt.emotions import load_lexicon
from affectgpt.records import EmotionDistribution, Modality, Moment

LABELS = load_lexicon().labels("basic8")


def mostly(label: str, p: float = 0.8) -> EmotionDistribution:
    rest = (1 - p) / (len(LABELS) - 1)
    return weigh({k: p if k == label else rest for k in LABELS})


EVEN = mostly("happy", 1 / len(LABELS))
distributions = st.lists(st.floats(0.01, 1.0), min_size=8, max_size=8).map(
    lambda x: weigh({k: v / sum(x) for k, v in zip(LABELS, x, strict=True)})
)


@given(distributions, distributions, st.floats(0.0, 1.0), st.floats(0.01, 1.0))
def test_a_pool_is_a_distribution_between_its_parts(
    a: EmotionDistribution, b: EmotionDistribution, wa: float, wb: float
) -> None:
    pooled = fuse.pool([(a, wa), (b, wb)])
    assert sum(pooled.probabilities.values()) == pytest.approx(1.0)
    for k in LABELS:
        low, high = sorted((a.probabilities[k], b.probabilities[k]))
        assert low - 1e-9 <= pooled.probabilities[k] <= high + 1e-9
    assert -1 <= pooled.valence <= 1


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_weights_are_in_proportion_to_exp_of_confidence(qa: float, qb: float) -> None:
    a, b = Reading(mostly("happy"), qa), Reading(mostly("sad", 0.5), qb)
    part = fuse.share({Modality.FACE: a, Modality.VOICE: b})
    assert sum(part.values()) == pytest.approx(1.0)
    assert part["face"] / part["voice"] == pytest.approx(math.exp(a.confidence - b.confidence))


def test_what_cannot_be_read_weighs_nothing_and_what_is_sure_weighs_more() -> None:
    part = fuse.share({Modality.FACE: Reading(mostly("happy"), 0.0), Modality.VOICE: Reading(EVEN, 0.3)})
    assert part == {"face": 0.0, "voice": 1.0}
    assert fuse.share({Modality.FACE: Reading(EVEN, 0.0)}) == {"face": 0.0}
    part = fuse.share({Modality.FACE: Reading(mostly("happy"), 0.5), Modality.VOICE: Reading(EVEN, 0.5)})
    assert part["face"] > part["voice"] > 0


def test_a_persons_own_words_outweigh_their_face() -> None:
    face, words = Reading(mostly("angry"), 0.8), Reading(mostly("happy"), 0.8, is_own_words=True)
    part = fuse.share({Modality.FACE: face, Modality.SPEECH: words})
    assert part["speech"] == pytest.approx(2 * part["face"])


def test_certainty_runs_from_the_even_distribution_to_one_label() -> None:
    assert fuse.certainty(EVEN) == pytest.approx(0.0)
    assert fuse.certainty(mostly("happy", 1.0)) == pytest.approx(1.0)


def test_a_conflict_is_named_and_not_averaged_away() -> None:
    by_modality = {"face": mostly("angry"), "speech": mostly("happy")}
    weights = {"face": 0.5, "speech": 0.5}
    assert list(fuse.conflicts(by_modality, weights)) == ["face seems angry, speech seems happy"]
    pooled = fuse.pool([(d, 0.5) for d in by_modality.values()]).probabilities
    assert sorted(pooled, key=lambda k: -pooled[k])[:2] == ["happy", "angry"] or pooled["happy"] == pooled["angry"]
    assert min(pooled["happy"], pooled["angry"]) > 4 * pooled["neutral"]


@pytest.mark.parametrize(
    ("a", "b", "weights"),
    [
        (mostly("angry"), mostly("angry"), {"face": 0.5, "speech": 0.5}),
        (mostly("angry"), mostly("neutral"), {"face": 0.5, "speech": 0.5}),
        (mostly("angry", 0.3), mostly("happy"), {"face": 0.5, "speech": 0.5}),
        (mostly("angry"), mostly("happy"), {"face": 0.05, "speech": 0.95}),
    ],
    ids=["they agree", "one is neutral", "one is not firm", "one could hardly be read"],
)
def test_what_is_no_conflict(a: EmotionDistribution, b: EmotionDistribution, weights: dict[str, float]) -> None:
    assert not list(fuse.conflicts({"face": a, "speech": b}, weights))


def moments(*labels: str) -> list[Moment]:
    return [Moment(4.0 * i, 4.0 * i + 4, mostly(label), {}) for i, label in enumerate(labels)]


def test_a_moment_without_evidence_carries_the_one_before_it_on() -> None:
    happy, nothing = fuse.smooth([*moments("happy"), Moment(4, 8, EVEN, {})], [0.6, 0.0])
    assert nothing.fused.probabilities == pytest.approx(happy.fused.probabilities)
    assert (nothing.start_s, nothing.end_s) == (4, 8)


def test_strong_evidence_turns_the_reading_and_weak_evidence_bends_it() -> None:
    turned = fuse.smooth(moments("happy", "sad"), [0.6, 0.9])[1].fused
    bent = fuse.smooth(moments("happy", "sad"), [0.6, 0.1])[1].fused
    assert turned.top == "sad"
    assert bent.top == "happy"
    assert bent.probabilities["sad"] > 0.1


def test_one_moment_is_left_as_it_is() -> None:
    (alone,) = fuse.smooth(moments("sad"), [0.1])
    assert alone.fused.probabilities == pytest.approx(mostly("sad").probabilities)


def test_a_compound_needs_both_of_its_parts() -> None:
    mixed = weigh({k: {"happy": 0.45, "surprised": 0.35}.get(k, 0.2 / 6) for k in LABELS})
    assert fuse.compounds(mixed) == {"happily surprised": pytest.approx(0.8)}
    assert fuse.compounds(mostly("happy", 0.95)) == {}
    assert fuse.compounds(weigh({k: {"happy": 0.5, "sad": 0.5}.get(k, 0.0) for k in LABELS})) == {}
