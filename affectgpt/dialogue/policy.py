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
from affectgpt.dialogue.records import Strategy
from affectgpt.dialogue.transitions import weights_folder

__all__ = ["POLICY", "StrategyPolicy", "policy_row"]

POLICY = "strategy_policy"
N_BEFORE = 2
"""Strategies of earlier replies that are read."""
_CUES = ("?", "thank", "bye", "should i", "what can i", "how do i", "because", "feel")
"""Plain marks of a seeker's line."""

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


def policy_row(heard: Heard, text: str, before: Sequence[Strategy], n_turns: int) -> Float:
    """The head's input (D,): the line's vector and tags, the strategies used last, the turn's number, plain marks.

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
    parts = (heard.vector, heard.tags, used.ravel(), counts, course, cues)
    return np.concatenate([np.asarray(part, np.float32) for part in parts])
