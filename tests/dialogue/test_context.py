"""Feelings last and spread; the agent has no state; a long conversation costs what a short one does."""

from __future__ import annotations

import pytest
from dialogue_fakes import KeywordHearing, transitions

from affectgpt.dialogue.context import N_LINES, View, affect_of, basic, states
from affectgpt.dialogue.records import Line
from affectgpt.records import Appraisal, EmotionDistribution


def said(*lines: tuple[str, str]) -> list[Line]:
    return [Line(who, text, who == "agent") for who, text in lines]


def sadness(*lines: tuple[str, str]) -> float:
    return states(said(*lines), KeywordHearing(), transitions())[0].distribution["sadness"]


def test_a_feeling_lasts_over_a_plain_line() -> None:
    alone = sadness(("you", "I went home."))
    after = sadness(("you", "I am so sad."), ("you", "I went home."))
    assert after > alone


def test_a_feeling_is_caught_from_another_less_than_kept() -> None:
    alone = sadness(("you", "I went home."))
    caught = sadness(("Ana", "I am so sad."), ("you", "I went home."))
    kept = sadness(("you", "I am so sad."), ("you", "I went home."))
    assert alone < caught < kept


def test_what_each_pull_added_is_told() -> None:
    state = states(said(("you", "I am sad."), ("you", "So sad.")), KeywordHearing(), transitions())[0]
    assert state.top == "sadness"
    assert state.inertia > 0
    assert state.contagion == 0


def test_the_agent_has_no_state_and_the_last_speaker_comes_first() -> None:
    found = states(
        said(("you", "hi"), ("agent", "Hello!"), ("Ana", "I am angry."), ("you", "me too")),
        KeywordHearing(), transitions(),
    )  # fmt: skip
    assert [s.speaker for s in found] == ["you", "Ana"]
    assert len(found[0].trajectory) == 2


def test_only_the_last_lines_are_read() -> None:
    lines = said(("you", "I am sad."), *[("you", "Fine.")] * N_LINES)
    late = states(lines, KeywordHearing(), transitions())[0]
    assert late.distribution == states(lines[1:], KeywordHearing(), transitions())[0].distribution
    assert len(late.trajectory) == N_LINES


def test_a_clip_counts_beside_the_words() -> None:
    labels = [*basic({"neutral": 1.0})]
    angry = EmotionDistribution({k: float(k == "angry") for k in labels}, -0.5, 0.6, 0.3)
    appraisal = Appraisal({"face": angry}, {"face": 1.0}, angry)
    with_clip = states(said(("you", "I went home.")), KeywordHearing(), transitions(), View(appraisal))[0]
    assert with_clip.distribution["anger"] > 0.3
    assert sum(with_clip.distribution.values()) == pytest.approx(1.0)


def test_a_stated_feeling_outweighs_what_was_felt_before() -> None:
    lines = said(("you", "I am so sad."), ("you", "I feel sad."), ("you", "I lost it."))
    state = states(lines, KeywordHearing(), transitions(), View(reported="joy"))[0]
    assert state.top == "joy"
    assert state.trajectory[-1].valence > 0 > state.trajectory[0].valence


def test_no_words_no_state() -> None:
    assert states(said(("you", "  ")), KeywordHearing(), transitions()) == ()
    assert states([], KeywordHearing(), transitions()) == ()


def test_affect_is_the_norms_mean() -> None:
    assert affect_of({"neutral": 1.0}).valence == 0
    assert affect_of({"joy": 1.0}).valence == pytest.approx(0.81)  # Russell & Mehrabian (1977)
    assert affect_of({"anger": 0.5, "neutral": 0.5}).arousal == pytest.approx(0.295)
