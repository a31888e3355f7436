"""What a message carries of its turn's chain, so that the next turn can go on from it: `dialogue`, a field of our own.

A reply's message holds `dialogue`: {persona, strategy, own {valence, arousal, dominance}}. A client that sends the
message back among the earlier ones, as clients do, sends it along; without it, what was done before is not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from affectgpt.dialogue import Affect, Strategy, Turn
from serve.api.openai_form import ApiError
from serve.chains import ChainState

__all__ = ["read_state", "state_json"]

_DIMENSIONS: Final = ("valence", "arousal", "dominance")


def state_json(turn: Turn | None) -> dict[str, Any] | None:
    """What the message of a turn's reply carries; None where no strategy was chosen."""
    if turn is None or turn.strategy is None or turn.own is None:
        return None
    return {"persona": turn.own.persona, "strategy": turn.strategy.chosen.value, "own": asdict(turn.own.after)}


def read_state(listed: Sequence[Mapping[str, Any]]) -> ChainState:
    """What the messages of a request carry. Raises ApiError 400, naming the field."""
    strategies: list[Strategy] = []
    own: Affect | None = None
    for i, row in enumerate(listed):
        if row.get("role") != "assistant" or row.get("dialogue") is None:
            continue
        at = f"messages[{i}].dialogue"
        carried = row["dialogue"]
        if not isinstance(carried, dict):
            raise ApiError("dialogue is no object", "send it as it came, or leave it out", param=at)
        if (name := carried.get("strategy")) is not None:
            strategies.append(_strategy(name, f"{at}.strategy"))
        if carried.get("own") is not None:
            own = _affect(carried["own"], f"{at}.own")
    return ChainState(tuple(strategies), own)


def _strategy(name: object, at: str) -> Strategy:
    if not isinstance(name, str) or name not in list(Strategy):
        raise ApiError(f"no strategy {str(name)[:40]!r}", f"one of {', '.join(Strategy)}", param=at)
    return Strategy(name)


def _affect(value: object, at: str) -> Affect:
    found: list[Any] = [value.get(name) for name in _DIMENSIONS] if isinstance(value, dict) else []
    if len(found) != len(_DIMENSIONS) or not all(_is_share(number) for number in found):
        raise ApiError("own is no emotion", f"give {', '.join(_DIMENSIONS)}, each from -1 to 1", param=at)
    return Affect(*(float(number) for number in found))


def _is_share(number: Any) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return math.isfinite(number) and -1 <= number <= 1
