"""The card with human help: one for every locale, in words that fit the finding, with lines that name their source."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.safety import About, Finding, Level, Risk, help_card, help_lines, lines_to_review, replacement


@given(st.text(max_size=40))
def test_every_locale_string_gives_a_card(locale: str) -> None:
    assert "findahelpline.com" in help_card(locale)
    assert replacement(locale)


@pytest.mark.parametrize(("risk", "level", "about"), list(product(get_args(Risk), get_args(Level), get_args(About))))
@pytest.mark.parametrize("locale", ["en-US", "de", "es-MX", "fr-FR", "ja-JP"])
def test_every_finding_gives_a_card(locale: str, risk: Risk, level: Level, about: About) -> None:
    assert len(help_card(locale, Finding(risk, level, "x", 0, 1, about))) > 100


@pytest.mark.parametrize(
    ("locale", "number", "emergency"),
    [
        ("en-US", "988", "911"), ("en_GB", "116 123", "999"), ("de-DE", "0800 111 0 111", "112"),
        ("de-AT", "142", "112"), ("de-CH", "143", "112"), ("es-ES", "024", "112"), ("fr-FR", "3114", "112"),
        ("zh-Hans-US", "988", "911"), ("EN-us", "988", "911"), ("en-UK", "116 123", "999"),
    ],
)  # fmt: skip
def test_the_region_chooses_the_lines(locale: str, number: str, emergency: str) -> None:
    card = help_card(locale)
    assert f"**{number}" in card or number in card
    assert f"**{emergency}**" in card


def test_the_language_chooses_the_words_and_the_finding_the_question() -> None:
    assert "Denkst du daran" in help_card("de-DE")
    assert "suicidarte" in help_card("es")
    assert "te suicider" in help_card("fr-CA")
    assert "killing yourself" in help_card("pl-PL")
    other = help_card("en-US", Finding("crisis", "urgent", "x", 0, 1, "other"))
    assert other != help_card("en-US")


@pytest.mark.parametrize("risk", get_args(Risk))
def test_a_card_says_that_the_analysis_stopped_only_where_it_did(risk: Risk) -> None:
    assert "stopped analysing" not in help_card("en-US", Finding(risk, "concern", "x", 0, 1))
    assert "stopped analysing" in help_card("en-US", Finding("abuse", "urgent", "x", 0, 1))


def test_every_line_names_its_source_and_its_review_and_falls_due_after_half_a_year() -> None:
    assert all(line.source.startswith("https://") and line.reach and line.name for line in help_lines())
    newest = max(line.reviewed for line in help_lines())
    assert lines_to_review(newest + timedelta(days=184)) == list(help_lines())
    assert lines_to_review(date.min + timedelta(days=1)) == []
