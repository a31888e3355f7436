"""The agent's character and its own emotion: the Big Five weigh how far what it hears moves it.

PELD (Wen et al. 2021, Findings of ACL; preke/PELD) has E_reply = E_before + dE * P with P in valence, arousal and
dominance from the speaker's Big Five, by the regressions of Mehrabian (1996), Austral. J. Psychol. 48, 86-92:

    pleasure      =  .21 extraversion + .59 agreeableness + .19 emotional stability
    arousability  =  .15 openness + .30 agreeableness - .57 emotional stability
    dominance     =  .25 openness + .17 conscientiousness + .60 extraversion - .32 agreeableness

The third trait is emotional *stability*: PELD, like others before it, writes neuroticism in its place and keeps the
signs, so that the more neurotic are the more pleased and the less aroused. Mehrabian's abstract has stability "almost
equal degrees of pleasant and unarousable". Here stability is the negative of neuroticism, which turns both signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from affectgpt.dialogue.records import Affect, OwnEmotion
from affectgpt.errors import OptionError

__all__ = ["LOWEST_VALENCE", "Persona", "bounded", "load_persona", "own_emotion", "persona_names"]

TRAITS: Final = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
_WEIGHTS: Final[Mapping[str, Mapping[str, float]]] = {
    "valence": {"extraversion": 0.21, "agreeableness": 0.59, "neuroticism": -0.19},
    "arousal": {"openness": 0.15, "agreeableness": 0.30, "neuroticism": 0.57},
    "dominance": {"openness": 0.25, "conscientiousness": 0.17, "extraversion": 0.60, "agreeableness": -0.32},
}
"""Mehrabian (1996), with neuroticism as the negative of emotional stability."""

LOWEST_VALENCE: Final = -0.3
"""Concern, and no further: half of sadness (-.63, Russell & Mehrabian 1977). A rule of this project."""
HIGHEST_AROUSAL: Final = 0.5
"""Joy's (.51, the same source): the agent is never more excited than glad."""
SYMPATHY: Final = 0.5
"""How far a person's displeasure moves the agent's pleasure, of their own: a rule of this project."""
SHARED_JOY: Final = 0.8
"""How far a person's pleasure does: joy is shared more than pain, which must not be handed back."""
LONGEST_FILE: Final = 4_000
"""Bytes of a persona's file: nobody needs more, and deep nests of YAML take long to refuse."""
RETURN: Final = 0.5
"""Share of the way back to its own temperament that the agent goes between two replies: a rule of this project."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the agent is: Big Five in [0, 1] (0.5 is the average person), and a manner of speaking for the prompt."""

    id: str
    description: str
    openness: float
    conscientiousness: float
    extraversion: float
    agreeableness: float
    neuroticism: float
    manner: str

    @property
    def temperament(self) -> Affect:
        """The usual emotional state in [-1, 1], from the traits on [-1, 1]: so Mehrabian defines temperament."""
        found = {}
        for dimension, weights in _WEIGHTS.items():
            found[dimension] = sum(w * (2.0 * getattr(self, trait) - 1.0) for trait, w in weights.items())
        return Affect(**found)

    @property
    def weights(self) -> Affect:
        """P of the transition, in [0, 2]: 1 for the average person, more where the temperament is higher.

        PELD multiplies by the temperament itself, on traits in [0, 1]. On a scale about the average that would turn a
        change round for whoever lies below it, so that it is taken as a deviation from 1.
        """
        t = self.temperament
        return Affect(1.0 + t.valence, 1.0 + t.arousal, 1.0 + t.dominance)


def own_emotion(persona: Persona, before: Affect | None, person: Affect) -> OwnEmotion:
    """The agent's emotion for its reply to somebody who seems to feel `person`.

    `before` is its emotion after the last reply, of which it has come back half the way to its temperament; None is the
    start, and the temperament itself. Whatever the numbers, the result is `bounded`.
    """
    rest = bounded(persona.temperament)
    start = rest if before is None else bounded(_between(bounded(before), rest, RETURN))
    change = _sympathy(person, start)
    p = persona.weights
    moved = Affect(
        start.valence + change.valence * p.valence,
        start.arousal + change.arousal * p.arousal,
        start.dominance + change.dominance * p.dominance,
    )
    after = bounded(moved)
    return OwnEmotion(persona.id, start, change, p, after, _tone(after))


def bounded(affect: Affect) -> Affect:
    """The nearest emotion that the agent may have: never distress, never anger.

    Displeasure ends at LOWEST_VALENCE, and with it neither excitement nor dominance: of Mehrabian's (1996) octants,
    hostile (-P +A +D), anxious (-P +A -D) and disdainful (-P -A +D) are shut. What is left of displeasure is quiet
    concern. Pleasure is bounded in arousal alone. Numbers that are none become 0.
    """
    v, a, d = (x if x == x else 0.0 for x in (affect.valence, affect.arousal, affect.dominance))
    v, a, d = (max(-1.0, min(1.0, x)) for x in (v, a, d))
    if v >= 0:
        return Affect(v, min(a, HIGHEST_AROUSAL), d)
    return Affect(max(v, LOWEST_VALENCE), min(a, 0.0), min(d, 0.0))


def persona_names() -> tuple[str, ...]:
    """The shipped personas."""
    return tuple(sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml")))


def load_persona(name: str | Path) -> Persona:
    """A shipped persona by name, or one from a YAML file.

    Raises:
        OptionError: no such persona, or a file that is none.
    """
    if isinstance(name, str) and name in persona_names():
        return _shipped(name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise OptionError(f"no persona {str(name)!r}", f"use {', '.join(persona_names())}, or a YAML file like theirs")
    return _parsed(path.read_bytes(), str(path))


@cache
def _shipped(name: str) -> Persona:
    return _parsed((_folder() / f"{name}.yaml").read_bytes(), f"persona {name}")


def _folder() -> Any:
    return files("affectgpt").joinpath("data/personas")


def _parsed(data: bytes, where: str) -> Persona:
    remedy = f"give id, description, manner and {', '.join(TRAITS)} in [0, 1]"
    try:
        row = yaml.safe_load(data.decode("utf-8")) if len(data) <= LONGEST_FILE else None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise OptionError(f"{where} is no YAML: {' '.join(str(error).split())[:120]}", remedy) from None
    texts = ("id", "description", "manner")
    if not isinstance(row, Mapping) or set(row) != {*texts, *TRAITS}:
        raise OptionError(f"{where} is no persona", remedy)
    for trait in TRAITS:
        value = row[trait]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise OptionError(f"{where}: {trait} is {value!r}", remedy)
    fields: dict[str, Any] = {k: " ".join(str(row[k]).split())[:300] for k in texts}
    fields |= {k: float(row[k]) for k in TRAITS}
    return Persona(**fields)


def _between(a: Affect, b: Affect, share: float) -> Affect:
    return Affect(
        a.valence + share * (b.valence - a.valence),
        a.arousal + share * (b.arousal - a.arousal),
        a.dominance + share * (b.dominance - a.dominance),
    )


def _sympathy(person: Affect, own: Affect) -> Affect:
    """The change that a person's feeling brings: towards it in pleasure, towards calm where they are in distress.

    PELD learns this change from Friends, where anger answers anger. Ours is a rule: what a listener is to do.
    """
    v = person.valence * (SHARED_JOY if person.valence > 0 else SYMPATHY)
    if person.valence < 0:
        # Arousal goes down to quiet, dominance gives way: the calmer of the two sets the pace.
        return Affect(v, -abs(person.arousal) - max(own.arousal, 0.0), -max(own.dominance, 0.0))
    return Affect(v, max(person.arousal, 0.0) * SHARED_JOY, 0.0)


def _tone(own: Affect) -> str:
    """The emotion in words for the prompt."""
    if own.valence < -0.12:
        return "quiet and concerned"
    if own.valence < 0.12:
        return "calm and attentive"
    return "glad and lively" if own.arousal > 0.25 else "warm and at ease"
