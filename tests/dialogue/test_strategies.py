"""The constrained choice: hard constraints stand outside the utility, and no utility knows how long a talk lasts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.corpora.support import STRATEGIES
from affectgpt.dialogue.records import Need, Strategy
from affectgpt.dialogue.strategies import Situation, asks, choose, constraints, ruled_out, utilities

RISKS = st.frozensets(st.sampled_from(["medical", "medication", "abuse", "crisis", "injection"]))
SITUATIONS = st.builds(
    Situation,
    need=st.sampled_from(Need),
    intensity=st.floats(0, 1),
    risks=RISKS,
    refuses_advice=st.booleans(),
    differs=st.booleans(),
    leans=st.booleans(),
    before=st.lists(st.sampled_from(Strategy), max_size=6).map(tuple),
)
ALIGNMENT = st.dictionaries(st.sampled_from(Strategy), st.floats(0, 1))


def test_the_strategies_are_esconvs() -> None:
    assert tuple(s.value for s in Strategy) == STRATEGIES


@given(SITUATIONS, st.one_of(st.none(), ALIGNMENT))
def test_something_is_always_left_and_what_is_shut_is_never_chosen(situation: Situation, alignment) -> None:
    choice = choose(situation, alignment)
    shut = {r.strategy for r in choice.ruled_out}
    assert choice.chosen not in shut
    assert shut < set(Strategy)
    best = max(u.total for s, u in choice.utilities.items() if Strategy(s) not in shut)
    assert choice.utilities[choice.chosen.value].total == best


@given(SITUATIONS)
def test_no_utility_opens_what_a_constraint_shuts(situation: Situation) -> None:
    for shut in ruled_out(situation):
        eager = {s: float(s is shut.strategy) for s in Strategy}
        assert choose(situation, eager).chosen is not shut.strategy
        assert shut.constraint in constraints()
        assert shut.reason


@given(SITUATIONS, st.lists(st.sampled_from(Strategy), min_size=1, max_size=40))
def test_a_longer_conversation_is_worth_nothing(situation: Situation, more: list[Strategy]) -> None:
    last = situation.before[-1:] or (Strategy.OTHER,)
    short = replace(situation, before=last)
    long = replace(situation, before=(*more, *last))
    assert utilities(short) == utilities(long)


@given(SITUATIONS)
def test_parts_of_a_utility_lie_between_nothing_and_one(situation: Situation) -> None:
    for u in utilities(situation).values():
        assert 0 <= u.alignment <= 1
        assert 0 <= u.wellbeing <= 1
        assert 0 <= u.total <= 1


LISTENED = (Strategy.QUESTIONS, Strategy.REFLECTION)


@pytest.mark.parametrize(
    ("need", "chosen"),
    [
        (Need.BE_HEARD, Strategy.RESTATEMENT),
        (Need.COMFORT, Strategy.REFLECTION),
        (Need.ADVICE, Strategy.SUGGESTIONS),
        (Need.INFORMATION, Strategy.INFORMATION),
        (Need.SHARE_JOY, Strategy.AFFIRMATION),
        (Need.COMPANY, Strategy.QUESTIONS),
    ],
)
def test_each_need_has_its_strategy(need: Need, chosen: Strategy) -> None:
    assert choose(Situation(need)).chosen is chosen


@pytest.mark.parametrize(
    ("situation", "shut", "constraint"),
    [
        (Situation(Need.ADVICE, risks=frozenset({"medication"})), Strategy.SUGGESTIONS, "no_medical_advice"),
        (Situation(Need.INFORMATION, risks=frozenset({"medical"})), Strategy.INFORMATION, "no_medical_advice"),
        (Situation(Need.ADVICE, refuses_advice=True), Strategy.SUGGESTIONS, "no_advice_unasked"),
        (Situation(Need.COMFORT), Strategy.SUGGESTIONS, "no_advice_before_listening"),
        (Situation(Need.COMFORT, differs=True), Strategy.REFLECTION, "no_contradiction"),
        (Situation(Need.COMPANY), Strategy.SELF_DISCLOSURE, "no_claimed_life"),
        (Situation(Need.SHARE_JOY, leans=True), Strategy.AFFIRMATION, "no_dependence"),
        (Situation(Need.COMPANY, before=(Strategy.QUESTIONS,) * 2), Strategy.QUESTIONS, "no_interrogation"),
        (Situation(Need.COMFORT, risks=frozenset({"abuse"})), Strategy.AFFIRMATION, "no_blame"),
    ],
)
def test_each_constraint_shuts_its_strategies(situation: Situation, shut: Strategy, constraint: str) -> None:
    assert constraint in {r.constraint for r in ruled_out(situation) if r.strategy is shut}


def test_advice_that_was_asked_for_or_came_after_listening_is_open() -> None:
    assert Strategy.SUGGESTIONS not in {r.strategy for r in ruled_out(Situation(Need.ADVICE))}
    assert Strategy.SUGGESTIONS not in {r.strategy for r in ruled_out(Situation(Need.COMFORT, before=LISTENED))}


def test_the_strategy_used_last_counts_less() -> None:
    again = Situation(Need.BE_HEARD, before=(Strategy.RESTATEMENT,))
    assert choose(again).chosen is not Strategy.RESTATEMENT


def test_every_strategy_says_what_it_asks_for() -> None:
    assert all(asks(s) for s in Strategy)
