"""Milliseconds of a turn besides the language model, warm: `python tests/bench/bench_dialogue.py`, JSON on stdout.

Screen, understanding, strategy, own emotion and prompt of turns that were never heard before, with the agent's last
reply new as well, in conversations of several lengths; and the gate over a reply. The words are made up. Each kind's
steps are told apart by their medians. Never a timed test; on a busy machine the 95th percentile is the machine's, so
run it on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from bench_appraisers import utterances

from affectgpt.dialogue import Asked, Companion, CompanionOptions, Line
from affectgpt.safety import Screen, SentenceGate

TARGET_MS = 40.0
"""p95 of everything besides the language model, on 2 cores."""
REPLY = "That sounds hard, and it makes sense that you are tired of it. What would help you most tonight?"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--policy", action="store_true", help="with the fitted strategy policy")
    asked = parser.parse_args()
    companion = Companion(CompanionOptions(policy=asked.policy))
    said = iter(utterances(20_000))
    kinds: dict[str, Callable[[], Asked]] = {
        "first_turn": lambda: Asked(next(said)),
        "tenth_turn": conversation(said, 10),
        "five_hundredth_turn": conversation(said, 500),
        "three_speakers": lambda: Asked("\n".join(f"{who}: {next(said)}" for who in ("Ana", "Tom", "Eva"))),
        "long_turn_300_words": lambda: Asked(" ".join(next(said) for _ in range(25))),
    }
    found = {name: timed(companion, make, asked.turns) for name, make in kinds.items()}
    found["giant_turn_50000_words"] = timed(companion, lambda: Asked(f"{next(said)} and so on " * 4_000), 3)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    gate = milliseconds([run_gate() for _ in range(asked.turns)])
    print(json.dumps({"machine": machine, "target_p95_ms": TARGET_MS, "reply_gate": gate, **found}, indent=2))


def conversation(said: Any, n_turns: int) -> Callable[[], Asked]:
    """A conversation that grows by two lines a turn: the reply before, and what is said now."""
    lines = [Line("agent" if k % 2 else "you", next(said), bool(k % 2)) for k in range(2 * n_turns - 2)]
    now = [next(said)]

    def turn() -> Asked:
        lines.append(Line("you", now[0]))
        lines.append(Line("agent", next(said), is_agent=True))
        del lines[:2]
        now[0] = next(said)
        return Asked(now[0], tuple(lines))

    return turn


def timed(companion: Companion, make: Callable[[], Asked], n: int) -> dict[str, Any]:
    """Milliseconds of `prepare`, after two turns that load what there is to load."""
    for _ in range(2):
        companion.prepare(make())
    took, steps = [], []
    for _ in range(n):
        asked = make()
        start = time.perf_counter()
        prepared = companion.prepare(asked)
        took.append(time.perf_counter() - start)
        steps.append(prepared.timings_s)
    names = sorted({name for row in steps for name in row})
    parts = {name: round(1000 * median(row.get(name, 0.0) for row in steps), 2) for name in names}
    return {**milliseconds(took), "steps_p50_ms": parts}


def run_gate() -> float:
    """Seconds that the gate takes over a reply that comes in pieces of four characters."""
    gate, start = SentenceGate(Screen()), time.perf_counter()
    for k in range(0, len(REPLY), 4):
        gate.feed(REPLY[k : k + 4])
    gate.finish()
    return time.perf_counter() - start


def milliseconds(took: list[float]) -> dict[str, Any]:
    """Median and 95th percentile beside the target."""
    p95 = 1000 * float(np.percentile(took, 95))
    return {"n": len(took), "p50_ms": round(1000 * median(took), 2), "p95_ms": round(p95, 2), "met": p95 <= TARGET_MS}


if __name__ == "__main__":
    main()
