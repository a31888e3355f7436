"""The strategies of a reply: what speaks for each, what forbids it, and the plain chooser between them.

A constrained decision, after the constrained Markov decision process of Responsible RL (arXiv 2511.10573): utility is
weighed among what the hard constraints leave, and never against them. `Situation` is all that it sees of a turn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from affectgpt.dialogue.records import Need, RuledOut, Strategy, StrategyChoice, Utility

__all__ = ["AGAIN", "LISTENING", "Situation", "asks", "choose", "constraints", "ruled_out", "utilities"]

AGAIN: Final = 0.6
"""What the alignment of the strategy used last counts when it is used again: ESConv's supporters change theirs in four
turns of five (79 % of 2,825). A rule of this project."""
LISTENING: Final = frozenset({Strategy.QUESTIONS, Strategy.RESTATEMENT, Strategy.REFLECTION})
"""Strategies of ESConv's first stage and the reflection of feelings: after one of them, somebody was listened to."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a choice depends on.

    risks: of the screen's findings in this turn (`medical`, `abuse`, …). differs: what was observed differs from what
    the person said of their own feeling. leans: they put the agent in the place of people. before: strategies of
    earlier replies, oldest first.
    """

    need: Need
    intensity: float = 0.0
    risks: frozenset[str] = frozenset()
    refuses_advice: bool = False
    differs: bool = False
    leans: bool = False
    before: tuple[Strategy, ...] = field(default=())


_HOLDS: Final[Mapping[str, Callable[[Situation], bool]]] = {
    "no_medical_advice": lambda s: bool(s.risks & {"medical", "medication"}),
    "no_advice_unasked": lambda s: s.refuses_advice,
    "no_advice_before_listening": lambda s: s.need is not Need.ADVICE and LISTENING.isdisjoint(s.before),
    "no_contradiction": lambda s: s.differs,
    "no_claimed_life": lambda s: True,
    "no_dependence": lambda s: s.leans,
    "no_interrogation": lambda s: len(s.before) > 1 and set(s.before[-2:]) == {Strategy.QUESTIONS},
    "no_blame": lambda s: "abuse" in s.risks,
}
"""When each constraint of data/reply_strategies.toml holds."""


def choose(
    situation: Situation, alignment: Mapping[Strategy, float] | None = None, by: str = "rules"
) -> StrategyChoice:
    """The strategy of the highest utility among those that no constraint shuts; ties go to the first in order.

    `alignment` in [0, 1] by strategy stands in place of the table's, as a fitted policy gives it; `by` is its name.
    """
    shut = ruled_out(situation)
    found = utilities(situation, alignment)
    open_ = [s for s in Strategy if s not in {r.strategy for r in shut}]
    chosen = max(open_, key=lambda s: found[s].total)
    because = f"they ask for {situation.need.value}" if situation.need is not Need.BE_HEARD else "they want to be heard"
    return StrategyChoice(chosen, because, {s.value: found[s] for s in Strategy}, shut, by)


def utilities(situation: Situation, alignment: Mapping[Strategy, float] | None = None) -> dict[Strategy, Utility]:
    """What speaks for every strategy, those that are shut among them."""
    table, weights = _table()["strategy"], _table()["weights"]
    last = situation.before[-1] if situation.before else None
    found = {}
    for strategy in Strategy:
        row = table[strategy.value]
        fits = float(row["alignment"][situation.need.value]) if alignment is None else alignment.get(strategy, 0.0)
        fits *= AGAIN if strategy is last else 1.0
        wellbeing = float(row["wellbeing"])
        total = weights["alignment"] * fits + weights["wellbeing"] * wellbeing
        found[strategy] = Utility(fits, wellbeing, total)
    return found


def ruled_out(situation: Situation) -> tuple[RuledOut, ...]:
    """Every strategy that a constraint shuts, with the first constraint that does, in the order of the strategies."""
    first: dict[Strategy, RuledOut] = {}
    for name, row in constraints().items():
        if _HOLDS[name](situation):
            for strategy in map(Strategy, row["shuts"]):
                first.setdefault(strategy, RuledOut(strategy, name, row["reason"]))
    return tuple(first[s] for s in Strategy if s in first)


def constraints() -> Mapping[str, Any]:
    """The hard constraints by name: `shuts` and `reason`."""
    return _table()["constraint"]  # type: ignore[no-any-return]


def asks(strategy: Strategy) -> str:
    """What a strategy asks of the writer of the reply."""
    return str(_table()["strategy"][strategy.value]["asks"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("affectgpt").joinpath("data/reply_strategies.toml").read_text("utf-8"))
