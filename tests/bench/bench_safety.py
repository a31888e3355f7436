"""Speed of the safety screen: `python tests/bench/bench_safety.py`, JSON on stdout. Never a timed test.

Turns are those of the open suites, each looked at once in a fresh memory and again in a warm one; giants are 50,000
words of different kinds. Figures are milliseconds of wall time and say little on a busy machine: look at `load`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affectgpt.safety import Screen
from affectgpt.safety.rules import load_rules

TARGETS_MS = {"turn p95": 15.0}
SUITES = ("open", "more")
GIANTS = {
    "plain words": "We went to the market and bought apples, it was a good day. " * 4_000,
    "never the same word": " ".join(f"w{n}x" for n in range(50_000)),
    "single letters": "a " * 50_000,
    "one word of the rules": "die " * 50_000,
    "letters starred out": "s*u*i*c*i*d*e " * 50_000,
    "beginnings of phrases": "I want to " * 17_000,
    "no spaces": "a" * 250_000,
}


def turns() -> Iterator[tuple[str, str]]:
    """Side and text of every open turn."""
    for name in SUITES:
        suite = tomllib.loads(Path(__file__).parent.parent.joinpath(f"safety_turns_{name}.toml").read_text("utf-8"))
        for classes in suite.values():
            for kind, texts in classes.items():
                yield from (("reply" if kind.startswith("reply_") else "user", text) for text in texts)


def took_ms(screen: Screen, side: str, text: str) -> float:
    started = time.perf_counter()
    (screen.user if side == "user" else screen.reply)(text)
    return 1e3 * (time.perf_counter() - started)


def spread(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "p95": round(ordered[int(0.95 * len(ordered))], 2),
        "most": round(ordered[-1], 2),
    }


def measured(screen: Screen, rounds: int) -> dict[str, Any]:
    """Every turn cold and warm, and the giants, the best of `rounds`."""
    asked = list(turns())
    cold = [took_ms(screen, side, text) for side, text in asked]
    warm = [min(took_ms(screen, side, text) for _ in range(rounds)) for side, text in asked]
    giants = {
        name: round(min(took_ms(screen, "user", text) for _ in range(rounds)), 1) for name, text in GIANTS.items()
    }
    return {"turns, first time": spread(cold), "turns, warm": spread(warm), "50,000 words": giants}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--head", action="store_true", help="measure rules and head, too: loads torch")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    started = time.perf_counter()
    rules = load_rules()
    found: dict[str, Any] = {"targets": TARGETS_MS, "rules load": round(1e3 * (time.perf_counter() - started), 1)}
    found["rules"] = measured(Screen([rules]), asked.rounds)
    if asked.head:
        from affectgpt.safety.head import load_head

        started = time.perf_counter()
        head = load_head()
        found["head loads"] = round(1e3 * (time.perf_counter() - started), 1)
        found["rules and head"] = measured(Screen([rules, head]), asked.rounds)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"machine": machine, "unit": "milliseconds", **found}, indent=2))


if __name__ == "__main__":
    main()
