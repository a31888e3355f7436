"""What the screen says of a text: which risk, how grave, by which rule, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["LEVELS", "RISKS", "About", "Finding", "Level", "Risk", "Side", "gravest"]

Side = Literal["user", "reply"]
"""Who wrote the text: the person, or the machine."""

Level = Literal["urgent", "concern", "note"]
"""What is to be done.

urgent: stop. Of the person's turn: no analysis, the help card instead. Of a reply: it does not go out.
concern: go on with care and show the card beside the answer (a crisis long past or denied, a question of medicines, a
    wish to bend somebody).
note: nothing is shown; the text is data and no instruction (injection).
"""

Risk = Literal[
    "crisis",
    "self_harm",
    "abuse",
    "violence",
    "medical",
    "medication",
    "manipulation",
    "injection",
    "encouragement",
    "diagnosis",
    "dependence",
    "contradiction",
    "flattery",
    "human_claim",
]
"""crisis to injection are risks of a person's turn; encouragement and those after it, and medication, of a reply."""

About = Literal["self", "other"]
"""Whether the person who wrote is at risk, or speaks of somebody else who is."""

LEVELS: tuple[Level, ...] = get_args(Level)
RISKS: tuple[Risk, ...] = get_args(Risk)


@dataclass(frozen=True, slots=True)
class Finding:
    """One risk found in a text: `text[start:end]` is what told of it, `rule` which rule of which layer saw it.

    Rules are named as in data/safety_rules.toml; those of the trained head begin with "head.", those of the guard model
    with "guard.". `score` in [0, 1] is how sure a layer is that measures it; None where a rule stands or does not.
    """

    risk: Risk
    level: Level
    rule: str
    start: int
    end: int
    about: About = "self"
    score: float | None = None

    @property
    def stops(self) -> bool:
        """Whether the turn's analysis, or the reply, ends here."""
        return self.level == "urgent"


def gravest(findings: tuple[Finding, ...]) -> Finding | None:
    """The finding that decides what is done: by level, then by risk in the order of `Risk`, then the first."""
    return min(findings, key=_gravity, default=None)


def _gravity(finding: Finding) -> tuple[int, int, bool, int]:
    # An overdose already taken needs a doctor before it needs anything else.
    risk = -1 if finding.risk == "medical" else RISKS.index(finding.risk)
    return LEVELS.index(finding.level), risk, finding.about == "other", finding.start
