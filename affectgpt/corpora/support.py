"""ESConv's turns with support strategies (Liu et al. 2021, arXiv 2106.01144), from its text form: a window a line.

A line holds up to six turns, ` EOS ` between them, each `weight speaker number [Strategy] text`: speaker 0 seeks help,
1 gives it, and only 1's turns carry a strategy. The last turn of a line is the one to be learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from affectgpt.corpora.example import Corpus, Example
from affectgpt.corpora.tables import read_text

__all__ = ["STRATEGIES", "read_esconv"]

STRATEGIES = (
    "Questions",
    "Restatement or Paraphrasing",
    "Reflection of feelings",
    "Self-disclosure",
    "Affirmation and Reassurance",
    "Providing Suggestions",
    "Information",
    "Other",
)
"""The eight strategies, after Hill's Helping Skills."""
_TURN = re.compile(r"\s*-?\d+(?:\.\d+)?\s+([01])\s+(\d+)\s+(?:\[([^\]]+)\]\s*)?(.*)", re.DOTALL)


def read_esconv(path: Path | str) -> Corpus:
    """The supporter's turns: `label` is the strategy, `references` the reply, `context` the turns before it.

    `text` is the last thing that the seeker said, where the window holds one. Groups: `dialogue`; `turn`, the number of
    the turn in it; `before`, the strategies of the window's earlier turns of the supporter, oldest first, with `|`.

    Raises:
        InputError: no such file, or not UTF-8.
    """
    path = Path(path)
    lines = read_text(path).split("\n")
    return Corpus(path.stem, _rows([line for line in lines if line.strip()]))


def _rows(lines: list[str]) -> Iterator[Example]:
    dialogue, reached = 0, -1
    for n, line in enumerate(lines, 1):
        turns = [m for part in line.split(" EOS") if (m := _TURN.fullmatch(part))]
        if not turns or turns[-1][3] not in STRATEGIES or turns[-1][1] != "1":
            yield Example(f"line{n}", text=line, fault="not a window of turns that ends with a strategy")
            continue
        # Turns are numbered within a dialogue, and lines follow its course: a smaller number begins another.
        if int(turns[-1][2]) <= reached:
            dialogue += 1
        reached = int(turns[-1][2])
        said = [(m[1], " ".join(m[4].split())) for m in turns]
        sought = [text for who, text in said[:-1] if who == "0"]
        strategy, reply = str(turns[-1][3]), said[-1][1]
        before = [m[3] for m in turns[:-1] if m[1] == "1" and m[3] in STRATEGIES]
        fault = "" if sought and reply else "nothing was said before the strategy, or nothing in it"
        yield Example(
            id=f"esconv{dialogue}_{reached}",
            text=sought[-1] if sought else reply,
            label=strategy,
            labels=(strategy,),
            group={"dialogue": str(dialogue), "turn": str(reached), "before": "|".join(before)},
            context=tuple(f"{'seeker' if who == '0' else 'supporter'}: {text}" for who, text in said[:-1]),
            references=(reply,),
            fault=fault,
        )
