"""The plan of an interpretation: which moves, how many, in what order. Every channel with a reading is weighed.

A conflict is named whenever the appraisal names one, and only then; the second reading is never the label.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from affectgpt.records import Appraisal, Conclusion, Modality, Observations
from instruction_data.sentences import Reading, Teller, read_conflict, readings

__all__ = ["Style", "draw_style", "interpret"]

SECOND_READING = 0.12
"""Probability from which a second emotion is named as an alternative."""
THIN = 0.3
"""Confidence, as the prompt shows it, up to which the answer calls itself tentative."""

Length = Literal["brief", "plain", "full"]
_ORDERS = (
    ("readings", "relation", "missing", "thin", "close"),
    ("readings", "relation", "missing", "thin", "close"),
    ("relation", "readings", "missing", "thin", "close"),
    ("missing", "readings", "relation", "thin", "close"),
    ("readings", "missing", "relation", "close", "thin"),
    ("readings", "relation", "close", "missing", "thin"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """How an interpretation is told: its length, cues named a channel, the blocks' order, where the whole is said."""

    length: Length = "plain"
    n_cues: int = 3
    order: tuple[str, ...] = _ORDERS[0]
    thesis: Literal["", "first", "last"] = ""
    shuffled: bool = False


def draw_style(rng: random.Random) -> Style:
    """A style at random."""
    length: Length = rng.choices(("brief", "plain", "full"), weights=(28, 47, 25))[0]
    thesis: Literal["", "first", "last"] = rng.choices(("", "first", "last"), weights=(60, 25, 15))[0]
    return Style(length, rng.choice((1, 2, 3, 3)), rng.choice(_ORDERS), thesis, rng.random() < 0.35)


def interpret(observations: Observations, appraisal: Appraisal, conclusion: Conclusion, rng: random.Random) -> str:
    """How the cues combine or conflict, what is unknown, and an alternative: one paragraph."""
    teller, style = Teller(rng), draw_style(rng)
    if conclusion.label is None:
        return teller.say("close", "nothing")
    return " ".join(_Plan(observations, appraisal, conclusion, teller, style).told())


@dataclass(frozen=True, slots=True)
class _Plan:
    observations: Observations
    appraisal: Appraisal
    conclusion: Conclusion
    teller: Teller
    style: Style

    def told(self) -> list[str]:
        """The sentences in their order."""
        told = readings(self.observations, self.appraisal)
        place = self._thesis_place(told)
        if self.style.shuffled:
            self.teller.rng.shuffle(told)
        pair = self._conflicting(told)
        said: list[str]
        related: list[str] = []
        if self._is_short() and pair:
            said = self._merged_conflict(told, pair)
        elif self._is_short() and (same := _agreeing(told)):
            said = [self.teller.merged(same), *(self._read(r) for r in told if r not in same)]
        else:
            said, related = self._readings(told), self._relation(told)
        blocks = {"readings": said, "relation": related, "missing": self._missing(), "thin": self._thin()}
        blocks["close"] = [*(self._thesis("therefore") if place == "last" else []), *self._close()]
        told_first = self._thesis("said") if place == "first" else []
        return [*told_first, *(s for name in self.style.order for s in blocks[name])]

    def _is_short(self) -> bool:
        """Whether channels are told together: always where the style is brief, sometimes where it is plain."""
        return self.style.length == "brief" or (self.style.length == "plain" and self.style.n_cues == 1)

    def _readings(self, told: Sequence[Reading]) -> list[str]:
        said, rng = [], self.teller.rng
        for r in told:
            said.append(self._read(r))
            details = self.teller.details(r, self.observations) if r.is_clear else []
            n = {"brief": 0, "plain": int(rng.random() < 0.3), "full": rng.choice((1, 1, 2))}[self.style.length]
            said += rng.sample(details, min(n, len(details)))
        clear = [r for r in told if r.is_clear]
        if self.style.length == "full" and len(clear) >= 2 and (together := self.teller.in_time(*clear[:2])):
            said.append(together)
        return said

    def _read(self, r: Reading) -> str:
        return self.teller.reading(r, self.style.n_cues)

    def _conflicting(self, told: Sequence[Reading]) -> tuple[Reading, Reading] | None:
        """The two readings of the first conflict, where both have cues to name."""
        if not self.appraisal.conflicts:
            return None
        a, x, b, y = read_conflict(self.appraisal.conflicts[0])
        found = {r.modality: r for r in told if r.is_clear}
        sides = found.get(a), found.get(b)
        if sides[0] is None or sides[1] is None or (sides[0].top, sides[1].top) != (x, y):
            return None
        return sides[0], sides[1]

    def _merged_conflict(self, told: Sequence[Reading], pair: tuple[Reading, Reading]) -> list[str]:
        said = [self.teller.merged_conflict(*pair, n_cues=self.style.n_cues)]
        said += [self._sided([(r.modality, r.top) for r in pair]), *self._more_conflicts()]
        return said + [self._read(r) for r in told if r not in pair]

    def _relation(self, told: Sequence[Reading]) -> list[str]:
        """Conflict, agreement, leaning, or which channel decides; nothing where only one channel speaks."""
        if self.appraisal.conflicts:
            a, x, b, y = read_conflict(self.appraisal.conflicts[0])
            first = self.teller.between("conflict", "said", a, b, (self.teller.noun(x), self.teller.noun(y)))
            return [first, self._sided([(a, x), (b, y)]), *self._more_conflicts()]
        clear = [r for r in told if r.is_clear]
        if len(told) < 2 or not clear:
            return []
        if len(clear) == 1:
            form = "carries" if clear[0].top == self.conclusion.label else "outweighed"
            return [self.teller.between("relation", form, clear[0].modality, clear[0].modality)]
        if same := _agreeing(clear):
            return [self.teller.between("relation", "agree", same[0].modality, same[1].modality)]
        # The firmer of the two comes first.
        first_two = self._two_that_differ(clear)
        firm, less = sorted(first_two, key=lambda r: -r.distribution.probabilities[r.top])
        nouns = self.teller.noun(firm.top), self.teller.noun(less.top)
        return [self.teller.between("relation", "differ", firm.modality, less.modality, nouns)]

    @staticmethod
    def _two_that_differ(clear: Sequence[Reading]) -> tuple[Reading, Reading]:
        return clear[0], next(r for r in clear if r.top != clear[0].top)

    def _sided(self, sides: Sequence[tuple[Modality, str]]) -> str:
        """Which side of a conflict the conclusion follows, if any."""
        followed = [m for m, label in sides if label == self.conclusion.label]
        if len(followed) != 1:
            return self.teller.say("conflict", "open")
        other = next(m for m, _ in sides if m is not followed[0])
        return self.teller.between("conflict", "followed", followed[0], other)

    def _more_conflicts(self) -> list[str]:
        told = []
        for conflict in self.appraisal.conflicts[1:2]:
            a, x, b, y = read_conflict(conflict)
            told.append(self.teller.between("conflict", "again", a, b, (self.teller.noun(x), self.teller.noun(y))))
        return told

    def _missing(self) -> list[str]:
        """A channel that gave nothing at all is said to be unknown."""
        absent = [m for m in Modality if m.value not in self.appraisal.by_modality and self.observations.of(m)]
        return [
            self.teller.say("missing", m.value, ids=f"[{self.observations.of(m)[0].id}]")
            for m in absent
            if self.observations.of(m)[0].is_missing
        ]

    def _thin(self) -> list[str]:
        return [self.teller.say("close", "thin")] if self.conclusion.confidence <= THIN else []

    def _close(self) -> list[str]:
        """The second reading, where it is probable enough to be named."""
        probable = self.appraisal.fused.probabilities
        others = sorted((k for k in probable if k != self.conclusion.label), key=lambda k: -probable[k])
        if probable[others[0]] >= SECOND_READING:
            return [self.teller.say("close", "alternative", noun=self.teller.noun(others[0]))]
        return [self.teller.say("close", "firm")]

    def _thesis_place(self, told: Sequence[Reading]) -> str:
        """Where the label is said in so many words: where the style has it, and always where no channel says it."""
        if self.style.thesis or any(r.is_clear and r.top == self.conclusion.label for r in told):
            return self.style.thesis
        return self.teller.rng.choice(("first", "last"))

    def _thesis(self, form: str) -> list[str]:
        assert self.conclusion.label is not None
        noun, word = self.teller.noun(self.conclusion.label), self.conclusion.emotions[0]
        return [self.teller.say("thesis", form, noun=noun, word=word)]


def _agreeing(told: Sequence[Reading]) -> list[Reading]:
    """The clear readings that share the first clear one's emotion, where there are two or more and none differs."""
    clear = [r for r in told if r.is_clear]
    return clear if len(clear) >= 2 and len({r.top for r in clear}) == 1 else []
