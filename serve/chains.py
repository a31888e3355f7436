"""What is shown, and kept, of how a reply came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from affectgpt.dialogue.records import Affect, Strategy
from affectgpt.record_json import plain_record

if TYPE_CHECKING:
    from affectgpt.dialogue import Prepared, Turn

__all__ = ["ChainState", "kept_chain", "state_of_chains"]

_KEPT: Final = ("feeling", "cause", "need", "intensity", "affect", "self_report")
"""What of an understanding is kept with a turn: nothing that earlier turns said, which stands in these themselves."""


@dataclass(frozen=True, slots=True)
class ChainState:
    """What earlier replies were made by: their strategies, oldest first, and the agent's emotion after the last."""

    strategies: tuple[Strategy, ...] = ()
    own: Affect | None = None


def state_of_chains(chains: Sequence[Mapping[str, Any]]) -> ChainState:
    """What a further reply goes on from, of the chains that were kept, oldest first."""
    strategies = [Strategy(chain["strategy"]["chosen"]) for chain in chains if chain.get("strategy")]
    owns = [Affect(**chain["own"]["after"]) for chain in chains if chain.get("own")]
    return ChainState(tuple(strategies), owns[-1] if owns else None)


def kept_chain(turn: Turn | Prepared) -> dict[str, Any] | None:
    """What is shown, and kept, of how a turn was answered, as `affectgpt.dialogue.turn_json` has it; else None.

    `understanding` (less what quotes earlier turns), `strategy` and `own`; each null where there was none.
    """
    if turn.understanding is None and turn.strategy is None and turn.own is None:
        return None
    understanding = plain_record(turn.understanding) if turn.understanding else None
    return {
        "understanding": {key: understanding[key] for key in _KEPT} if understanding else None,
        "strategy": plain_record(turn.strategy) if turn.strategy else None,
        "own": plain_record(turn.own) if turn.own else None,
    }
