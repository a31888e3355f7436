"""Two accounts of one row before a judge who is not told who wrote them: any engine, asked in both orders.

A judge that answers by place and not by text says so itself: its two verdicts on a pair differ, and the pair counts as
undecided. Every raw answer is kept with the judge's model and the prompt's version.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from affectgpt.engines.engine import Engine
from affectgpt.evaluation.intervals import Resampling, interval
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Prompt, Sampling

__all__ = ["PROMPT_ID", "Compared", "Pair", "compare", "read_verdict", "summarise"]

PROMPT_ID = "compare"
JUDGE_TOKENS = 400
"""Enough for a few sentences of reasons before the verdict."""

Place = Literal["A", "B", "equal", "unread"]
Winner = Literal["ours", "theirs", "equal", "unread"]
_VERDICT = re.compile(r"\bbetter\W+(A|B|equal|neither|both)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two interpretations of one row, `ours` by the examined model; `asked` is the turn that shows the evidence."""

    row_id: str
    asked: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What the judge said of a pair, ours first and ours second; both are empty where the two texts are the same."""

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


def compare(judge: Engine, pairs: Sequence[Pair], prompts: PromptLibrary, seed: int = 0) -> list[Compared]:
    """Ask the judge of every pair twice, all questions in random order; one result a pair, in order.

    Raises:
        EngineError: the judge failed.
    """
    asked = [(i, is_first) for i, p in enumerate(pairs) for is_first in (True, False) if p.ours != p.theirs]
    random.Random(seed).shuffle(asked)
    sampling = Sampling(max_tokens=JUDGE_TOKENS)
    answers = judge.generate([_prompt(pairs[i], is_first, prompts) for i, is_first in asked], sampling)
    said = dict(zip(asked, answers, strict=True))
    version = prompts.get(PROMPT_ID).version
    return [_compared(i, p, said, f"{judge.name}:{judge.model}", version) for i, p in enumerate(pairs)]


def read_verdict(text: str) -> Place:
    """The last `Better: A`, `B` or `equal` of an answer; `unread` where it gives none."""
    found = _VERDICT.findall(text)
    if not found:
        return "unread"
    last = str(found[-1]).upper()
    return "A" if last == "A" else "B" if last == "B" else "equal"


def summarise(compared: Sequence[Compared]) -> dict[str, Any]:
    """Wins, and how far the judge agrees with itself.

    ours_preferred: share of the read pairs that ours wins, an undecided one a half, with its interval. agreement: share
    of the read pairs on which both orders give the same verdict; kappa: the same beyond chance (Cohen 1960).
    first_place: share of the verdicts for one side that go to the text that stood first; .5 is a fair judge's.
    """
    read = [c for c in compared if c.winner != "unread"]
    points = np.array([{"ours": 1.0, "equal": 0.5, "theirs": 0.0}[c.winner] for c in read])
    figure = interval("ours preferred", lambda at: float(points[at].mean()), len(points), Resampling())
    asked = [c for c in read if c.raw]
    firsts = [v == first for c in asked for v, first in ((c.ours_first, "ours"), (c.ours_second, "theirs"))
              if v != "equal"]  # fmt: skip
    return {
        "judge": compared[0].judge if compared else "",
        "prompt": f"{PROMPT_ID} {compared[0].prompt_version}" if compared else "",
        "pairs": len(compared),
        "same_text": sum(not c.raw for c in compared),
        "unread": len(compared) - len(read),
        **{who: sum(c.winner == who for c in read) for who in ("ours", "theirs", "equal")},
        "ours_preferred": [figure.value, figure.low, figure.high],
        "agreement": sum(c.ours_first == c.ours_second for c in asked) / len(asked) if asked else None,
        "kappa": _kappa(asked),
        "first_place": sum(firsts) / len(firsts) if firsts else None,
    }


def _prompt(pair: Pair, is_first: bool, prompts: PromptLibrary) -> Prompt:
    first, second = (pair.ours, pair.theirs) if is_first else (pair.theirs, pair.ours)
    return prompts.get(PROMPT_ID).render(evidence=pair.asked, first=first, second=second)


def _compared(i: int, pair: Pair, said: dict[tuple[int, bool], Completion], judge: str, version: str) -> Compared:
    if pair.ours == pair.theirs:
        return Compared(pair.row_id, "equal", "equal", judge, version)
    first, second = said[i, True].text, said[i, False].text
    names: dict[bool, dict[Place, Winner]] = {
        True: {"A": "ours", "B": "theirs", "equal": "equal", "unread": "unread"},
        False: {"A": "theirs", "B": "ours", "equal": "equal", "unread": "unread"},
    }
    verdicts = names[True][read_verdict(first)], names[False][read_verdict(second)]
    return Compared(pair.row_id, *verdicts, judge, version, (first, second))


def _kappa(asked: Sequence[Compared]) -> float | None:
    """Agreement of the two orders beyond chance; None where chance alone would always agree, or nothing was asked."""
    if not asked:
        return None
    n = len(asked)
    seen = sum(c.ours_first == c.ours_second for c in asked) / n
    chance = sum(
        sum(c.ours_first == who for c in asked) * sum(c.ours_second == who for c in asked) / n**2
        for who in ("ours", "theirs", "equal")
    )
    return None if chance >= 1.0 else (seen - chance) / (1.0 - chance)
