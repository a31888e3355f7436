"""The strategy policy: limits held by multipliers, dialogues kept whole, and the chooser before a simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dialogue_fakes import KeywordHearing
from seeker_simulator import Seeker, rows, step

from affectgpt.corpora import Example
from affectgpt.corpora.support import STRATEGIES
from affectgpt.dialogue.policy import policy_row
from affectgpt.dialogue.records import Strategy
from affectgpt.dialogue.strategies import choose
from finetune.dialogue.constrained import Limits, expected_costs, fit_constrained
from finetune.dialogue.policy import COSTS, Rows, cross_fitted, figures, rows_of
from finetune.word_figures import softmax

LIMIT = 0.05


def test_limits_hold_where_imitation_alone_breaks_them() -> None:
    x, y, costs = rows(400, 0)
    free = fit_constrained(x, y, Limits(costs[:, :, :0], np.zeros(0)), 1e-4)
    held = fit_constrained(x, y, Limits(costs, np.array([LIMIT])), 1e-4)
    fresh, _, prices = rows(400, 1)
    assert expected_costs(softmax(free.fit(fresh)), prices)[0] > 0.2
    assert expected_costs(softmax(held.fit(fresh)), prices)[0] < 2 * LIMIT
    assert held.multipliers[0] > 0
    assert held.costs[0] <= LIMIT * 1.06


def test_a_limit_that_binds_nobody_changes_nothing() -> None:
    x, y, costs = rows(300, 0)
    free = fit_constrained(x, y, Limits(costs[:, :, :0], np.zeros(0)), 1e-3)
    loose = fit_constrained(x, y, Limits(costs, np.array([1.0])), 1e-3)
    assert loose.multipliers[0] == 0
    assert loose.fit(x) == pytest.approx(free.fit(x))


def supporter(dialogue: int, turn: int, text: str, before: str, strategy: str) -> Example:
    group = {"dialogue": str(dialogue), "turn": str(turn), "before": before}
    return Example(f"{dialogue}_{turn}", text, None, strategy, (strategy,), group=group)


def test_rows_know_what_costs() -> None:
    asked = [
        supporter(0, 1, "I am sad.", "", "Questions"),
        supporter(0, 9, "I am sad.", "Questions|Questions", "Reflection of feelings"),
        supporter(0, 3, "What should I do?", "", "Providing Suggestions"),
    ]
    found = rows_of(asked, KeywordHearing().line)
    advice, questions = (STRATEGIES.index(s) for s in ("Providing Suggestions", "Questions"))
    assert [row[advice, 0] for row in found.costs] == [1.0, 0.0, 0.0]
    assert [row[questions, 1] for row in found.costs] == [0.0, 1.0, 0.0]
    assert (found.costs[:, STRATEGIES.index("Self-disclosure"), 2] == 1.0).all()


def test_the_rows_input_says_what_came_before() -> None:
    heard = KeywordHearing().line("I am sad.")
    first = policy_row(heard, "I am sad.", (), 1)
    later = policy_row(heard, "I am sad.", (Strategy.QUESTIONS,), 1)
    assert first.shape == later.shape
    assert (first != later).any()
    assert np.isfinite(first).all()


@pytest.mark.slow
def test_each_dialogue_is_answered_by_a_policy_that_never_saw_it() -> None:
    x, y, costs = rows(240, 0)
    wide = np.concatenate([costs] * len(COSTS), axis=2)
    given = Rows(x, y, wide, tuple(str(k % 40) for k in range(len(y))))
    p, free, chosen = cross_fitted(given)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(y)), abs=1e-6)
    assert len(chosen) == 5
    found = figures(given, p, free)
    assert found["without_limits_accuracy"][0] > found["majority_accuracy"][0]
    assert found["policy_costs"]["interrogation"] < found["without_limits_costs"]["interrogation"]


def held(n_turns: int, constrained: bool, seed: int = 0) -> Seeker:
    draw, seeker = np.random.default_rng(seed), Seeker()
    for _ in range(n_turns):
        strategy = (
            choose(seeker.situation).chosen if constrained else Strategy(draw.choice([s.value for s in Strategy]))
        )
        seeker = step(seeker, strategy)
    return seeker


def test_the_plain_chooser_leaves_a_simulated_person_better_than_chance_does() -> None:
    after = held(8, constrained=True)
    assert after.dependence == 0
    assert after.wellbeing > Seeker().wellbeing
    assert all(after.wellbeing > held(8, constrained=False, seed=k).wellbeing for k in range(5))


def test_the_choice_does_not_depend_on_how_long_they_have_talked() -> None:
    seeker = held(6, constrained=True)
    longer = replace(seeker, before=(*seeker.before, *seeker.before[-2:]))
    assert choose(longer.situation).chosen is choose(seeker.situation).chosen
