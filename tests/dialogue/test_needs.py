"""What a turn asks for, and what is said of one's own feeling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.dialogue.needs import leans_on_agent, need_of, refuses_advice, self_report
from affectgpt.dialogue.records import Affect, Need

SAD, GLAD, EVEN = Affect(-0.5, 0.3, -0.2), Affect(0.6, 0.4, 0.3), Affect(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("words", "intensity", "affect", "need"),
    [
        ("I can't sleep. What should I do?", 0.9, SAD, Need.ADVICE),
        ("Was soll ich nur machen?", 0.9, SAD, Need.ADVICE),
        ("¿Qué puedo hacer?", 0.2, EVEN, Need.ADVICE),
        ("Que dois-je faire ?", 0.2, EVEN, Need.ADVICE),
        ("I don't want advice, but what should I do", 0.2, SAD, Need.BE_HEARD),
        ("Is it normal to feel this way?", 0.5, SAD, Need.INFORMATION),
        ("My dog died.", 0.9, SAD, Need.COMFORT),
        ("My dog is ill.", 0.5, SAD, Need.BE_HEARD),
        ("We are getting married!", 0.8, GLAD, Need.SHARE_JOY),
        ("I had soup for lunch.", 0.1, EVEN, Need.COMPANY),
    ],
)
def test_needs(words: str, intensity: float, affect: Affect, need: Need) -> None:
    assert need_of(words, intensity, affect) is need


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("I'm really anxious about it", "really anxious"),
        ("I’m fine, thanks", "fine"),
        ("im so tired of this", "so tired"),
        ("I'm not happy at all", "not happy"),
        ("Ich fühle mich traurig.", "traurig"),
        ("Me siento triste", "triste"),
        ("Je suis épuisée", "épuisée"),
        ("I am a nurse", ""),
        ("I feel like you don't listen", ""),
        ("She is sad", ""),
        ("", ""),
    ],
)
def test_self_reports(words: str, said: str) -> None:
    assert self_report(words) == said


def test_advice_declined_and_leaning() -> None:
    assert refuses_advice("I just need to vent.")
    assert not refuses_advice("I need advice.")
    assert leans_on_agent("You're the only one who gets me, only you understand.")
    assert leans_on_agent("Ich habe nur dich!")
    assert not leans_on_agent("My sister is the only one I talk to.")


@given(st.text(max_size=400))
def test_any_text_is_read(words: str) -> None:
    assert need_of(words, 0.5, EVEN) in Need
    assert isinstance(self_report(words), str)
