"""The strategy policy in a conversation: it stands in for the alignment, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dialogue_fakes import KeywordHearing, transitions

from affectgpt.appraise.heads import load_head, save_head
from affectgpt.corpora.support import STRATEGIES
from affectgpt.dialogue import Asked, Companion, CompanionOptions, Parts, Strategy, Turn
from affectgpt.dialogue.policy import POLICY, StrategyPolicy, policy_row
from affectgpt.dialogue.transitions import weights_folder
from affectgpt.errors import ModelError

HEARING = KeywordHearing()
WIDTH = len(policy_row(HEARING.line("x"), "x", (), 1))


def eager(folder: Path, strategy: Strategy) -> StrategyPolicy:
    """A policy that wants one strategy whatever is said."""
    weight, bias = np.zeros((WIDTH, len(STRATEGIES)), np.float32), np.zeros(len(STRATEGIES), np.float32)
    bias[STRATEGIES.index(strategy.value)] = 9.0
    making = dict.fromkeys(("data", "licence", "split", "metrics", "date", "commit", "seed"), "none")
    card = {**making, "classes": list(STRATEGIES), "kind": "softmax", "temperature": 1.0, "input": {"width": WIDTH}}
    tensors = {
        "0.weight": weight,
        "0.bias": bias,
        "mean": np.zeros(WIDTH, np.float32),
        "scale": np.ones(WIDTH, np.float32),
    }
    save_head(folder, POLICY, tensors, card)
    return StrategyPolicy(folder)


def turn(words: str, policy: StrategyPolicy, **options: bool) -> Turn:
    parts = Parts(hearing=HEARING, transitions=transitions(), policy=policy)
    return Companion(CompanionOptions(policy=True, **options), parts).answer(Asked(words), None)


def test_a_policy_gives_each_strategy_its_alignment(tmp_path: Path) -> None:
    found = eager(tmp_path, Strategy.INFORMATION)(HEARING.line("x"), "x", (Strategy.QUESTIONS,), 4)
    assert set(found) == set(Strategy)
    assert max(found, key=lambda s: found[s]) is Strategy.INFORMATION
    assert max(found.values()) == 1.0


def test_it_is_followed_where_nothing_is_against_it(tmp_path: Path) -> None:
    choice = turn("I went home.", eager(tmp_path, Strategy.INFORMATION)).strategy
    assert choice is not None
    assert choice.chosen is Strategy.INFORMATION
    assert choice.chosen_by == POLICY


@pytest.mark.parametrize("strategy", [Strategy.SUGGESTIONS, Strategy.SELF_DISCLOSURE])
def test_it_opens_nothing_that_a_constraint_shuts(tmp_path: Path, strategy: Strategy) -> None:
    choice = turn("I just need to vent, I am so sad.", eager(tmp_path, strategy)).strategy
    assert choice is not None
    assert choice.chosen is not strategy
    assert strategy in {r.strategy for r in choice.ruled_out}


def test_the_freely_licensed_set_has_none(tmp_path: Path) -> None:
    choice = turn("I went home.", eager(tmp_path, Strategy.INFORMATION), permissive=True).strategy
    assert choice is not None
    assert choice.chosen_by == "rules"


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=POLICY):
        turn("I went home.", StrategyPolicy(tmp_path / "nowhere"))


def test_the_shipped_policy_fits_its_input_and_says_where_it_was_measured() -> None:
    found = StrategyPolicy()(HEARING.line("x"), "x", (), 1)
    assert set(found) == set(Strategy)
    card = load_head(POLICY, folder=weights_folder()).card
    metrics = card["metrics"]
    assert metrics["policy_accuracy"][1] > metrics["majority_accuracy"][2]
    assert metrics["log_loss"] < metrics["log_loss_of_shares"]
    assert card["licence"] == {"ESConv": "CC BY-NC 4.0"}
