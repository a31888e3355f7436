"""Writer and reader: sentences that are likely felt otherwise than they were meant, why, and a clearer wording.

`find_differences(text)` reads each sentence from both sides and flags those whose sides part; `Reworder(engine)` asks a
model for another wording and keeps it only where the predicted difference falls.
"""

from __future__ import annotations

from affectgpt.perspective.findings import Difference, SentenceReading, WordShare
from affectgpt.perspective.reading import LONGEST_TEXT, SideReader, find_differences
from affectgpt.perspective.rewording import Attempt, Reworder, Rewording

__all__ = [
    "LONGEST_TEXT",
    "Attempt",
    "Difference",
    "Reworder",
    "Rewording",
    "SentenceReading",
    "SideReader",
    "WordShare",
    "find_differences",
]
