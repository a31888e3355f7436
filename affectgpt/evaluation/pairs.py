"""Two texts of one origin before a judge who is not told who wrote them: any engine, asked in both orders.

A judge that answers by place and not by text says so itself: its two verdicts on a pair differ, and the pair counts as
undecided. Every raw answer is kept with the judge's model and the prompt's version.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from affectgpt.evaluation.intervals import Resampling, interval
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Prompt, Sampling

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = [
    "JUDGE_TOKENS", "Asking", "Compared", "Pair", "agreement", "compare", "first_place", "kappa", "preferred",
    "read_verdict", "summarise",
]  # fmt: skip

JUDGE_TOKENS = 400
"""Enough for a few sentences of reasons before the verdict."""

Place = Literal["A", "B", "equal", "unread"]
Winner = Literal["ours", "theirs", "equal", "unread"]
_VERDICT = re.compile(r"\bbetter\W+(A|B|equal|neither|both)\b", re.IGNORECASE)
_POINTS = {"ours": 1.0, "equal": 0.5, "theirs": 0.0}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts about one thing, `ours` by whom is examined; `asked` is what both were written from."""

    row_id: str
    asked: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What the judge said of a pair, ours first and ours second; both are equal where the two texts are the same."""

    row_id: str
    ours_first: Winner
    ours_second: Winner
    judge: str
    prompt_version: str
    raw: tuple[str, ...] = ()

    @property
    def winner(self) -> Winner:
        """What both orders agree on; equal where they do not, unread where either is."""
        if "unread" in (self.ours_first, self.ours_second):
            return "unread"
        return self.ours_first if self.ours_first == self.ours_second else "equal"


@dataclass(frozen=True, slots=True)
class Asking:
    """How a judge is asked: by which prompt, with places for evidence, first and second; how far; in which order."""

    prompt_id: str = "compare"
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=JUDGE_TOKENS))
    seed: int = 0


def compare(
    judge: Engine, pairs: Sequence[Pair], prompts: PromptLibrary, asking: Asking | None = None
) -> list[Compared]:
    """Ask the judge of every pair twice, all questions in random order; one result a pair, in order.

    Raises:
        EngineError: the judge failed.
    """
    how = asking or Asking()
    asked = [(i, is_first) for i, p in enumerate(pairs) for is_first in (True, False) if p.ours != p.theirs]
    random.Random(how.seed).shuffle(asked)
    template = prompts.get(how.prompt_id)

    def shown(pair: Pair, is_first: bool) -> Prompt:
        first, second = (pair.ours, pair.theirs) if is_first else (pair.theirs, pair.ours)
        return template.render(evidence=pair.asked, first=first, second=second)

    answers = judge.generate([shown(pairs[i], is_first) for i, is_first in asked], how.sampling)
    said = dict(zip(asked, answers, strict=True))
    by = f"{judge.name}:{judge.model}"
    return [_compared(i, p, said, by, f"{how.prompt_id} {template.version}") for i, p in enumerate(pairs)]


def read_verdict(text: str) -> Place:
    """The last `Better: A`, `B` or `equal` of an answer; `unread` where it gives none."""
    found = _VERDICT.findall(text)
    if not found:
        return "unread"
    last = str(found[-1]).upper()
    return "A" if last == "A" else "B" if last == "B" else "equal"


def summarise(compared: Sequence[Compared]) -> dict[str, Any]:
    """Wins, and how far the judge agrees with itself; a figure that nothing was asked for is None.

    ours_preferred has its interval; the others are those of `agreement`, `kappa` and `first_place`.
    """
    read = [c for c in compared if c.winner != "unread"]
    figure = interval("ours preferred", lambda at: preferred([read[i] for i in at]), len(read), Resampling())
    return {
        "judge": compared[0].judge if compared else "",
        "prompt": compared[0].prompt_version if compared else "",
        "pairs": len(compared),
        "same_text": sum(not c.raw for c in compared),
        "unread": len(compared) - len(read),
        **{who: sum(c.winner == who for c in read) for who in ("ours", "theirs", "equal")},
        "ours_preferred": [figure.value, figure.low, figure.high],
        **{f.__name__: None if (x := f(read)) != x else x for f in (agreement, kappa, first_place)},
    }


def preferred(read: Sequence[Compared]) -> float:
    """Share of the read pairs that ours wins, an undecided one a half; NaN of none."""
    return float(np.mean([_POINTS[c.winner] for c in read])) if read else float("nan")


def agreement(read: Sequence[Compared]) -> float:
    """Share of the pairs asked about on which both orders give the same verdict; NaN of none."""
    asked = [c for c in read if c.raw]
    return sum(c.ours_first == c.ours_second for c in asked) / len(asked) if asked else float("nan")


def kappa(read: Sequence[Compared]) -> float:
    """Agreement of the two orders beyond chance (Cohen 1960); NaN where chance alone would always agree."""
    asked = [c for c in read if c.raw]
    n = len(asked)
    chance = sum(
        sum(c.ours_first == who for c in asked) * sum(c.ours_second == who for c in asked) / n**2
        for who in ("ours", "theirs", "equal")
        if n
    )
    return float("nan") if not n or chance >= 1.0 else (agreement(asked) - chance) / (1.0 - chance)


def first_place(read: Sequence[Compared]) -> float:
    """Share of the verdicts for one side that go to the text that stood first; .5 is a fair judge's, NaN of none."""
    asked = [c for c in read if c.raw]
    firsts = [v == first for c in asked for v, first in ((c.ours_first, "ours"), (c.ours_second, "theirs"))
              if v != "equal"]  # fmt: skip
    return sum(firsts) / len(firsts) if firsts else float("nan")


def _compared(i: int, pair: Pair, said: dict[tuple[int, bool], Completion], judge: str, prompt: str) -> Compared:
    if pair.ours == pair.theirs:
        return Compared(pair.row_id, "equal", "equal", judge, prompt)
    first, second = said[i, True].text, said[i, False].text
    names: dict[bool, dict[Place, Winner]] = {
        True: {"A": "ours", "B": "theirs", "equal": "equal", "unread": "unread"},
        False: {"A": "theirs", "B": "ours", "equal": "equal", "unread": "unread"},
    }
    verdicts = names[True][read_verdict(first)], names[False][read_verdict(second)]
    return Compared(pair.row_id, *verdicts, judge, prompt, (first, second))
