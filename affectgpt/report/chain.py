"""A turn's chain told in words: what was understood, the strategy and what was ruled out, the agent's own emotion.

It stands on the turn's JSON document (`affectgpt.dialogue.turn_json`), so that a kept turn is told as a fresh one; of a
kept one speakers and memory may be missing. The terminal, a saved conversation and the chat page tell these steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Step", "chain_steps", "chain_title"]

N_UTILITIES: Final = 3
"""Strategies whose utility is told: the chosen one and what came close."""
N_SHOWN: Final = 4
"""Alternatives of a feeling, or remembered sentences, that are told."""

_DECIDED: Final = {
    "words": "read from the words by a small model",
    "engine first": "chosen by the language model among the likeliest",
    "engine rest": "chosen by the language model among the less likely",
    "self-report": "said by the person, whose word counts",
}

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain: its title, and a line for each thing that is told of it."""

    title: str
    lines: tuple[str, ...]


def chain_title(turn: Document) -> str:
    """The chain in one line, for where it is folded away; empty where nothing was analysed."""
    parts = []
    if understanding := turn.get("understanding"):
        parts.append(f"understood as {understanding['feeling']['label']}")
    if strategy := turn.get("strategy"):
        parts.append(str(strategy["chosen"]))
    return " · ".join(parts)


def chain_steps(turn: Document) -> tuple[Step, ...]:
    """The steps that this turn went through, in order; none where a finding of the screen stopped it."""
    told = {
        "What was understood": _understood(turn.get("understanding")),
        "Strategy": _strategy(turn.get("strategy")),
        "The agent's own emotion": _own(turn.get("own")),
    }
    steps = [Step(title, tuple(lines)) for title, lines in told.items()]
    return tuple(step for step in steps if step.lines)


def _understood(understanding: Document | None) -> Iterator[str]:
    if understanding is None:
        return
    feeling = understanding["feeling"]
    likely = [f"{label} {p:.2f}" for label, p in feeling["alternatives"][:N_SHOWN]]
    yield f"feeling: {feeling['label']}, {_DECIDED.get(feeling['decided_by'], feeling['decided_by'])}"
    if likely:
        yield f"read from the words: {' · '.join(likely)}"
    if feeling["note"]:
        yield str(feeling["note"])
    if understanding["self_report"]:
        yield f"they say that they are: {understanding['self_report']}"
    if cause := understanding["cause"]:
        yield f"it may be about: {cause['text']} ({cause['probability']:.2f})"
    yield f"they seem to ask for: {understanding['need']}"
    yield f"how moved they seem: {understanding['intensity']:.2f} of 1; {_affect(understanding['affect'])}"
    for state in understanding.get("speakers", ())[1:]:
        top = max(state["distribution"], key=lambda label: state["distribution"][label])
        yield f"{state['speaker']}: {top}"
    memory = understanding.get("memory") or {}
    for remembered in [*memory.get("facts", ()), *memory.get("feelings", ())][:N_SHOWN]:
        yield f"remembered: {remembered}"


def _strategy(strategy: Document | None) -> Iterator[str]:
    if strategy is None:
        return
    by = "" if strategy["chosen_by"] == "rules" else f", by {strategy['chosen_by']}"
    yield f"{strategy['chosen']}, because {strategy['because']}{by}"
    totals = {name: utility["total"] for name, utility in strategy["utilities"].items()}
    ranked = sorted(totals, key=lambda name: -totals[name])[:N_UTILITIES]
    if ranked:
        yield f"utility: {' · '.join(f'{name} {totals[name]:.2f}' for name in ranked)}"
    for out in strategy["ruled_out"]:
        yield f"ruled out: {out['strategy']}, because {out['reason']}"


def _own(own: Document | None) -> Iterator[str]:
    if own is None:
        return
    yield f"persona {own['persona']}: {own['tone']}"
    yield f"before: {_affect(own['before'])}"
    yield f"after: {_affect(own['after'])}"


def _affect(affect: Document) -> str:
    return ", ".join(f"{name} {affect[name]:+.2f}" for name in ("valence", "arousal", "dominance"))
