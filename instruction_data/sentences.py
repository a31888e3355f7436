"""One move of an interpretation at a time: a sentence out of grammar.toml, filled from observations with citations."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from affectgpt.cues import load_cues, noun_phrase, unit_of
from affectgpt.records import Appraisal, EmotionDistribution, Modality, Observation, Observations

__all__ = ["CHANNEL", "NAMES_CONFLICT", "Reading", "Teller", "grammar", "read_conflict", "readings"]

CHANNEL: Mapping[Modality, str] = {
    Modality.FACE: "the face",
    Modality.VOICE: "the voice",
    Modality.SPEECH: "the words",
}
NAMES_CONFLICT = re.compile(r"\b(?:conflicts?|disagrees?|contradicts?|at odds)\b", re.IGNORECASE)
"""The words by which the grammar names a conflict, and nothing else: what a check of answers may look for."""
OUTSIDE = 1.5
"""Intensity (of 5) from which a movement outside the read pattern may be mentioned: half-way up FACS' slight."""
UNSURE = 0.5
"""Confidence of an observation below which it may be called unsure."""
LONGEST_QUOTE = 9
"""Words of a quote that is repeated in the interpretation."""
_VERBS = (
    "fit", "make", "suggest", "point", "stand", "speak", "belong", "stay", "support", "weigh", "fall", "meet", "come",
    "follow",
)  # fmt: skip
_IRREGULAR = {"do": "does", "go": "goes", "reach": "reaches", "be": "is"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one channel is read as, and the observations that carry it."""

    modality: Modality
    distribution: EmotionDistribution
    carriers: tuple[Observation, ...]

    @property
    def top(self) -> str:
        """The emotion it is read as."""
        return self.distribution.top

    @property
    def is_clear(self) -> bool:
        """Whether it is read as a feeling, and something was observed that carries it."""
        return self.top != "neutral" and any(not o.is_missing for o in self.carriers)

    @property
    def channel(self) -> str:
        """`the face`, `the voice`, `the words`."""
        return CHANNEL[self.modality]


def readings(observations: Observations, appraisal: Appraisal) -> list[Reading]:
    """Every channel that has a reading and something that carries it, face first."""
    known = observations.by_id()
    found = []
    for m in Modality:
        read = appraisal.by_modality.get(m.value)
        carriers = tuple(known[i] for i in appraisal.carried_by.get(m.value, ()) if i in known)
        if read is not None and carriers:
            found.append(Reading(m, read, carriers))
    return found


def read_conflict(said: str) -> tuple[Modality, str, Modality, str]:
    """The two channels and emotions of an appraisal's conflict, `face seems happy, speech seems angry`."""
    match = re.fullmatch(r"(\w+) seems (\w+), (\w+) seems (\w+)", said)
    if match is None:
        raise ValueError(f"no conflict: {said!r}")
    return Modality(match[1]), match[2], Modality(match[3]), match[4]


class Teller:
    """Chooses wordings with one generator and fills them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def say(self, section: str, form: str, **places: str) -> str:
        """One wording of a meaning, filled."""
        return _fill(self.rng.choice(grammar()[section][form]), **places)

    def between(self, section: str, form: str, a: Modality, b: Modality, nouns: Sequence[str] = ("", "")) -> str:
        """One wording of how two channels relate; `nouns` are those of what each is read as."""
        places = {"noun_a": nouns[0], "noun_b": nouns[1]}
        for side, m in (("a", a), ("b", b)):
            many = m is Modality.SPEECH
            places |= {side: CHANNEL[m], f"s_{side}": "" if many else "s", f"is_{side}": "are" if many else "is"}
            places[f"do_{side}"] = "do" if many else "does"
        return self.say(section, form, **places)

    def noun(self, label: str) -> str:
        """A noun for a basic label."""
        return self.rng.choice(grammar()["nouns"][label])

    def reading(self, r: Reading, n_cues: int) -> str:
        """What one channel suggests, over at most `n_cues` of the observations that carry it."""
        section = r.modality.value
        if all(o.is_missing for o in r.carriers):
            return self.say(section, "still", ids=_ids(r.carriers))
        if not r.is_clear:
            return self.say(section, "unclear", ids=_ids(r.carriers))
        kept = r.carriers[:n_cues]
        quote = _quotable(kept[0])
        if r.modality is Modality.SPEECH and quote and self.rng.random() < 0.4:
            return self.say("speech", "quoting", quote=f'"{quote}"', ids=_ids(kept[:1]), noun=self.noun(r.top))
        return self.say(section, "pattern", noun=self.noun(r.top), ids=_ids(kept), **self.cues(kept))

    def cues(self, kept: Sequence[Observation], suffix: str = "") -> dict[str, str]:
        """The places of a list of cues: the list, the verbs that agree with it, and `together` where there are two."""
        joined = join([self.named(o) for o in kept])
        verbs = {f"{v}{suffix}": t for v, t in _conjugated(kept).items()}
        together = self.rng.choice(grammar()["face"]["together"]) if len(kept) > 1 and not suffix else ""
        return {f"cues{suffix}": joined, **verbs, **({} if suffix else {"together": together})}

    def named(self, o: Observation) -> str:
        """A cue as a noun with its citation: `raised cheeks [F2]`, `a much higher pitch [V1]`, `the words [S1]`."""
        word = ""
        if unit_of(o.cue) is not None and o.level and self.rng.random() < 0.15:
            word = f" ({load_cues().face_word(o.level)})"
        return f"{noun_phrase(o)}{word} [{o.id}]"

    def merged(self, told: Sequence[Reading]) -> str:
        """Channels that agree, in one sentence over the foremost cue of each."""
        kept = [r.carriers[0] for r in told]
        channels = join([r.channel for r in told])
        return self.say("merged", "agree", noun=self.noun(told[0].top), channels=channels, **self.cues(kept))

    def merged_conflict(self, a: Reading, b: Reading, n_cues: int) -> str:
        """Two channels that conflict, in one sentence over the cues of both."""
        return self.say(
            "conflict",
            "merged",
            a=a.channel,
            b=b.channel,
            noun_a=self.noun(a.top),
            noun_b=self.noun(b.top),
            **self.cues(a.carriers[:n_cues], "_a"),
            **self.cues(b.carriers[:n_cues], "_b"),
        )

    def details(self, r: Reading, rest: Observations) -> list[str]:
        """What more may be said of a reading: its foremost cue's number, the baseline, what it does not explain."""
        told, first = [], r.carriers[0]
        if len(r.carriers) > 1 and first.value and r.modality is not Modality.SPEECH and first.level != "near":
            form = "strongest" if r.modality is Modality.FACE else "apart"
            places = {"cue": self.named(first), "value": f"{abs(first.value):.1f}", **_conjugated([first])}
            told.append(self.say("detail", form, **places))
        if first.baseline_kind == "own":
            told.append(self.say("detail", "own", ids=_ids([first])))
        if first.confidence < UNSURE and f"confidence {first.confidence:.2f}" in first.text:
            told.append(self.say("detail", "doubt", confidence=f"{first.confidence:.2f}", ids=_ids([first])))
        outside = [o for o in rest.of(r.modality) if o not in r.carriers and (o.value or 0) >= OUTSIDE]
        if r.modality is Modality.FACE and outside:
            told.append(self.say("face", "outside", **self.cues(outside[:2])))
        return told

    def in_time(self, a: Reading, b: Reading) -> str:
        """Whether the foremost cues of two channels come together or one after the other; empty where times lack."""
        x, y = a.carriers[0], b.carriers[0]
        if x.start_s is None or x.end_s is None or y.start_s is None or y.end_s is None:
            return ""
        if x.end_s < y.start_s or y.end_s < x.start_s:
            x, y = (x, y) if x.end_s < y.start_s else (y, x)
            return self.say("detail", "apart_in_time", **self._pair(x, y))
        return self.say("detail", "overlap", **self._pair(x, y))

    def _pair(self, x: Observation, y: Observation) -> dict[str, str]:
        # The words of a quote are many: the verb agrees with them.
        verbs = _conjugated([x]) | {"follow": _conjugated([y])["follow"]}
        return {"cue_a": self.named(x), "cue_b": self.named(y), **verbs}


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@cache
def grammar() -> Mapping[str, Mapping[str, list[str]]]:
    """Section -> meaning -> wordings."""
    table: dict[str, Any] = tomllib.loads(files("instruction_data").joinpath("grammar.toml").read_text("utf-8"))
    return table


def _conjugated(kept: Sequence[Observation]) -> dict[str, str]:
    """The verbs of the grammar, agreeing with the cues: a lone "dropped jaw" fits, "raised cheeks" fit."""
    unit = unit_of(kept[0].cue)
    noun = load_cues().face[unit].noun if unit is not None else ""
    singular = len(kept) == 1 and (noun.startswith(("a ", "an ")) if noun else kept[0].quote is None)
    if singular:
        return {v: f"{v}s" for v in _VERBS} | _IRREGULAR
    return {v: v for v in (*_VERBS, *_IRREGULAR)} | {"be": "are"}


def _quotable(o: Observation) -> str:
    """The quote, where it is short and one sentence: a stop inside would end the sentence that holds it."""
    quote = (o.quote or "").rstrip(" .!?…")
    return quote if 2 <= len(quote.split()) <= LONGEST_QUOTE and not re.search(r'[.!?…"]', quote) else ""


def _ids(observations: Sequence[Observation]) -> str:
    return " ".join(f"[{o.id}]" for o in observations)


def _fill(form: str, **places: str) -> str:
    capitals = {k[:1].upper() + k[1:]: v[:1].upper() + v[1:] for k, v in places.items()}
    return form.format(**places, **capitals)
