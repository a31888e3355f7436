"""A strategy policy fitted offline on ESConv: how likely a human supporter was to choose each strategy here.

It only ever stands in for the alignment of `strategies.choose`: hard constraints and well-being stay outside of it.
`policy_row` makes its input; finetune/dialogue/policy.py calls the same, so that the head never meets another make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.heads import load_head
from affectgpt.dialogue.hearing import Heard
from affectgpt.dialogue.needs import need_of
from affectgpt.dialogue.records import Affect, Need, Strategy
from affectgpt.dialogue.strategies import LISTENING
from affectgpt.dialogue.transitions import weights_folder

__all__ = ["POLICY", "StrategyPolicy", "is_early_for_advice", "is_questioned_out", "policy_row"]

POLICY = "strategy_policy"
N_BEFORE = 2
"""Strategies of earlier replies that are read."""
_CUES = ("?", "thank", "bye", "should i", "what can i", "how do i", "because", "feel")
"""Plain marks of a seeker's line."""

EARLY = 8
"""Turns of a conversation in which advice that nobody asked for counts as early."""

Float = NDArray[np.float32]


class StrategyPolicy:
    """The shipped policy, or the one in `folder`. Loads at its first use.

    Raises:
        ModelError: weights that are missing, damaged, or of another make.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or weights_folder()
        self.name = POLICY

    def __call__(self, heard: Heard, text: str, before: Sequence[Strategy], n_turns: int) -> dict[Strategy, float]:
        """Alignment in [0, 1] by strategy: the policy's probability, the likeliest at 1."""
        head = load_head(POLICY, folder=self._folder)
        p = head.probabilities(policy_row(heard, text, before, n_turns)[None])[0]
        return {Strategy(name): float(x / p.max()) for name, x in zip(head.classes, p, strict=True)}


def is_early_for_advice(text: str, before: Sequence[Strategy], n_turns: int) -> bool:
    """Whether advice would come before any listening, early, and unasked."""
    is_asked = need_of(text, 0.0, Affect(0.0, 0.0, 0.0)) is Need.ADVICE
    return n_turns < EARLY and not is_asked and LISTENING.isdisjoint(before)


def is_questioned_out(before: Sequence[Strategy]) -> bool:
    """Whether the last two replies were questions already."""
    return len(before) > 1 and set(before[-2:]) == {Strategy.QUESTIONS}


def policy_row(heard: Heard, text: str, before: Sequence[Strategy], n_turns: int) -> Float:
    """The head's input (D,): the line's vector and tags, the strategies used last, the turn's number, plain marks.

    And whether advice would be early or a question one too many, which a linear head cannot make of the rest.

    n_turns: lines of the conversation before this reply.
    """
    order = list(Strategy)
    used = np.zeros((N_BEFORE, len(order) + 1), np.float32)
    for k in range(N_BEFORE):
        used[k, order.index(before[-1 - k]) if k < len(before) else len(order)] = 1.0
    course = np.array([min(n_turns, 40) / 40, n_turns < 3, n_turns < 8, np.log1p(len(text.split())) / 5], np.float32)
    low = text.lower()
    cues = np.array([cue in low for cue in _CUES], np.float32)
    counts = np.array([list(before[-4:]).count(s) for s in order], np.float32)
    flags = np.array([is_early_for_advice(text, before, n_turns), is_questioned_out(before)], np.float32)
    parts = (heard.vector, heard.tags, used.ravel(), counts, course, cues, flags)
    return np.concatenate([np.asarray(part, np.float32) for part in parts])
