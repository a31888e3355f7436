"""The agent's own emotion: Mehrabian's signs, PELD's transition, and bounds that hold for anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.dialogue.persona import (
    HIGHEST_AROUSAL,
    LOWEST_VALENCE,
    bounded,
    load_persona,
    own_emotion,
    persona_names,
)
from affectgpt.dialogue.records import Affect
from affectgpt.errors import OptionError

UNIT = st.floats(-1, 1)
SHARE = st.floats(0, 1)
AFFECTS = st.builds(Affect, UNIT, UNIT, UNIT)
PERSONAS = st.builds(
    lambda o, c, e, a, n: replace(
        load_persona("warm"), openness=o, conscientiousness=c, extraversion=e, agreeableness=a, neuroticism=n
    ),
    SHARE, SHARE, SHARE, SHARE, SHARE,
)  # fmt: skip
AVERAGE = replace(
    load_persona("warm"), openness=0.5, conscientiousness=0.5, extraversion=0.5, agreeableness=0.5, neuroticism=0.5
)


def temperament(**traits: float) -> Affect:
    return replace(AVERAGE, **traits).temperament


def test_the_average_person_has_no_temperament_and_weighs_one() -> None:
    assert AVERAGE.temperament == Affect(0.0, 0.0, 0.0)
    assert AVERAGE.weights == Affect(1.0, 1.0, 1.0)


def test_stability_is_pleasant_and_unarousable() -> None:
    """Mehrabian's abstract says so in words: "almost equal degrees of pleasant and unarousable characteristics"."""
    stable, neurotic = temperament(neuroticism=0.0), temperament(neuroticism=1.0)
    assert stable.valence == pytest.approx(0.19)
    assert stable.arousal == pytest.approx(-0.57)
    assert neurotic.valence < 0 < neurotic.arousal
    assert stable.dominance == neurotic.dominance == 0


def test_the_other_traits_have_the_regressions_numbers() -> None:
    assert temperament(agreeableness=1.0) == Affect(*map(pytest.approx, (0.59, 0.30, -0.32)))
    assert temperament(extraversion=1.0) == Affect(*map(pytest.approx, (0.21, 0.0, 0.60)))
    assert temperament(openness=1.0) == Affect(*map(pytest.approx, (0.0, 0.15, 0.25)))
    assert temperament(conscientiousness=1.0) == Affect(*map(pytest.approx, (0.0, 0.0, 0.17)))


@given(PERSONAS, st.one_of(st.none(), AFFECTS), AFFECTS)
def test_distress_and_anger_are_never_handed_back(persona, before: Affect | None, person: Affect) -> None:
    own = own_emotion(persona, before, person).after
    assert own.valence >= LOWEST_VALENCE
    assert own.arousal <= HIGHEST_AROUSAL
    if own.valence < 0:
        assert own.arousal <= 0
        assert own.dominance <= 0


@given(AFFECTS)
def test_the_bounds_move_nothing_that_lies_within(affect: Affect) -> None:
    assert bounded(bounded(affect)) == bounded(affect)


def test_what_is_no_number_becomes_nothing() -> None:
    assert bounded(Affect(float("nan"), float("inf"), float("-inf"))) == Affect(0.0, HIGHEST_AROUSAL, -1.0)


def test_anger_is_met_with_calm_and_joy_is_shared() -> None:
    warm, lively = load_persona("warm"), load_persona("lively")
    angry, glad = Affect(-0.51, 0.59, 0.25), Affect(0.81, 0.51, 0.46)
    for persona in (warm, lively, load_persona("calm")):
        rest = own_emotion(persona, None, Affect(0, 0, 0))
        answer = own_emotion(persona, None, angry)
        assert answer.after.arousal < rest.after.arousal
        assert answer.after.dominance <= 0
        assert answer.after.valence < rest.after.valence
        assert own_emotion(persona, None, glad).after.valence > rest.after.valence
    assert own_emotion(lively, None, glad).after.arousal > own_emotion(load_persona("calm"), None, glad).after.arousal


def test_the_agent_comes_back_to_itself() -> None:
    persona, own = load_persona("warm"), Affect(-0.3, -0.8, -0.5)
    rest = own_emotion(persona, None, Affect(0, 0, 0)).after
    for _ in range(12):
        own = own_emotion(persona, own, Affect(0, 0, 0)).after
    assert own.valence == pytest.approx(rest.valence, abs=0.01)


def test_every_shipped_persona_loads_and_has_a_name() -> None:
    assert {"warm", "calm", "lively"} <= set(persona_names())
    for name in persona_names():
        assert load_persona(name).id == name
        assert load_persona(name).manner


GOOD = """id: x
description: y
manner: z
openness: 1
conscientiousness: 0
extraversion: 0.5
agreeableness: 0.5
neuroticism: 0.5
"""


def test_a_file_is_a_persona_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_persona(path).openness == 1.0


@pytest.mark.parametrize(
    "text",
    ["", "- a", "id: x", GOOD + "more: 1\n", GOOD.replace("openness: 1", "openness: 2"), "a: &a [*a]", "{" * 5000,
     GOOD.replace("openness: 1", "openness: true"), GOOD.replace("openness: 1", "openness: .nan"), "!!python/none {}"],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError):
        load_persona(path)


def test_a_persona_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match="calm"):
        load_persona("nobody")
