"""The prompt of a reply, word for word, and the texts that stand in for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from dialogue_fakes import companion

from affectgpt.dialogue import Affect, Asked, Cause, Feeling, Line, Memory, Need, Understanding
from affectgpt.dialogue.composing import stand_in, understood_lines

ASKED = Asked(
    "I was up all night because my dog is ill.",
    history=(
        Line("you", "Hi."),
        Line("agent", "Hello! How are you today?", is_agent=True),
        Line("Ana", "He is scared for the dog."),
    ),
    observed=("eyes half closed", "voice lower than usual"),
    wishes="Call me\nSam.",
    locale="en-GB",
)


def test_the_prompt_is_the_golden_one(repo: Path) -> None:
    prompt = companion().prepare(ASKED).prompt
    assert prompt is not None
    shown = "\n".join(f"--- {m.role}\n{m.content}" for m in prompt.messages) + "\n"
    golden = (repo / "tests" / "goldens" / "respond_prompt.txt").read_text(encoding="utf-8")
    assert shown == golden, f"if this is meant, write this into the golden and raise the version:\n{shown}"


def understanding(report: str = "", cause: str = "", intensity: float = 0.9) -> Understanding:
    return Understanding(
        Feeling("anxious", (("anxious", 0.4), ("afraid", 0.3), ("terrified", 0.1)), "empathetic32"),
        Cause(cause, 0, len(cause), 0.8) if cause else None,
        (),
        Need.COMFORT,
        intensity,
        Affect(-0.5, 0.4, -0.3),
        report,
        (),
        Memory(),
    )


@pytest.mark.parametrize(("intensity", "word"), [(0.1, "slightly"), (0.5, "moderately"), (1.0, "strongly")])
def test_a_reading_is_told_as_a_possibility_with_alternatives(intensity: float, word: str) -> None:
    lines = understood_lines(understanding(intensity=intensity))
    assert lines[0] == f"They may be anxious, or afraid or terrified, {word} moved."


def test_a_self_report_stands_alone() -> None:
    lines = understood_lines(understanding("fine", "the noise"))
    assert lines[0] == "They say that they are fine."
    assert not any("anxious" in line for line in lines)


@pytest.mark.parametrize("locale", ["en", "de", "es-MX", "fr_FR", "xx", ""])
def test_stand_ins_quote_the_person_and_point_to_people(locale: str) -> None:
    down = stand_in(locale, understanding(cause="the {braces} % of it"), "down")
    assert "the {braces} % of it" in down
    assert len(stand_in(locale, None, "down")) < len(down)
    assert stand_in(locale, None, "empty") != stand_in(locale, None, "no words")


def test_a_faint_reading_is_not_quoted() -> None:
    assert "the noise" not in stand_in("en", understanding(cause="the noise", intensity=0.1), "down")
