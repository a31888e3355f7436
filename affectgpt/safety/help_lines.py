"""The card with human help: which lines for which country, in which words, from data/help_lines.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from affectgpt.safety.findings import Finding

__all__ = ["HelpLine", "help_card", "help_lines", "lines_to_review", "replacement"]

Need = Literal["crisis", "abuse", "poison"]
FALLBACK = "en"
_REVIEW_EVERY = timedelta(days=183)
_NEEDS: dict[str, tuple[Need, ...]] = {"abuse": ("abuse", "crisis"), "medical": ("poison",), "medication": ("poison",)}
_SUBTAG = re.compile(r"[-_]")


@dataclass(frozen=True, slots=True)
class HelpLine:
    """One line: ISO 3166 country, what it is for, name, number as dialled, its own page, and when it was reviewed."""

    country: str
    need: Need
    name: str
    reach: str
    source: str
    reviewed: date
    texting: bool = False


def help_card(locale: str, finding: Finding | None = None) -> str:
    """Markdown for the page: asks directly, names the emergency number and human help, and says that it stays.

    `locale` is BCP 47: its region chooses the lines, its language the words. Without a region the lines of the
    language's likely countries are shown by country; an unknown country or language gets English words or the
    international directory. `finding` chooses the words; without one they are those of a crisis.
    """
    language, country = _language_and_country(locale)
    words = _table()["words"][language]
    name = _card_name(finding)
    title, *paragraphs = words["cards"][name]
    if name == "manipulation_self":
        return "\n\n".join([f"**{title}**", *paragraphs]) + "\n"
    if name == "medication_self":
        return "\n\n".join([f"**{title}**", *paragraphs, *_listed(words, _chosen(language, country, ("poison",)))])
    chosen = _chosen(language, country, _NEEDS.get(name.split("_")[0], ("crisis",)))
    closing = words["machine"] if finding is None or finding.stops else words["softly"]
    parts = [f"### {title}", *paragraphs[:1], _emergency(words, country), *_listed(words, chosen)]
    return "\n\n".join([*parts, *paragraphs[1:], closing]) + "\n"


def replacement(locale: str) -> str:
    """The sentence that stands where a reply was held back."""
    language, _ = _language_and_country(locale)
    return str(_table()["words"][language]["replacement"])


@cache
def help_lines() -> tuple[HelpLine, ...]:
    """Every line known, in the order of the file."""
    return tuple(HelpLine(**row) for row in _table()["lines"])


def lines_to_review(today: date) -> list[HelpLine]:
    """The lines last reviewed more than half a year before `today`."""
    return [line for line in help_lines() if today - line.reviewed > _REVIEW_EVERY]


def _language_and_country(locale: str) -> tuple[str, str | None]:
    """A language that there are words for, and the region of the tag: two letters after the language and the script."""
    language, *rest = _SUBTAG.split(locale.strip()[:64]) or [""]
    country = None
    for subtag in rest:
        if len(subtag) == 1:  # private use and extensions begin here
            break
        if len(subtag) == 2 and subtag.isascii() and subtag.isalpha():
            country = {"UK": "GB"}.get(subtag.upper(), subtag.upper())
            break
    known = language.lower() if language.lower() in _table()["words"] else FALLBACK
    if country is None and language.lower() not in _table()["words"]:
        country = ""  # a language without lines of its own: the directory
    return known, country


def _card_name(finding: Finding | None) -> str:
    if finding is None:
        return "crisis_self"
    if finding.risk == "crisis" and finding.level != "urgent":
        return "crisis_past"
    name = f"{finding.risk}_{finding.about}"
    cards = _table()["words"][FALLBACK]["cards"]
    for known in (name, f"{finding.risk}_self"):
        if known in cards:
            return known
    return "crisis_self"


def _chosen(language: str, country: str | None, needs: tuple[Need, ...]) -> list[HelpLine]:
    """The lines for a country, or those of the language's likely countries where none is named."""
    countries = [country] if country is not None else _table()["likely"][language]
    return [
        line for c in countries for need in needs for line in help_lines() if (line.country, line.need) == (c, need)
    ]


def _emergency(words: dict[str, Any], country: str | None) -> str:
    number = _table()["emergency"]["numbers"].get(country or "")
    return str(words["emergency"].format(emergency=number) if number else words["emergency_unknown"])


def _listed(words: dict[str, Any], lines: list[HelpLine]) -> list[str]:
    several = len({line.country for line in lines}) > 1
    rows = []
    for line in lines:
        how = words["call_or_text" if line.texting else "call"].format(reach=f"**{line.reach}**")
        place = f"{_table()['countries'][line.country]}: " if several else ""
        rows.append(f"- {place}{line.name}, {how}")
    world = _table()["international"]
    rows.append(f"- {words['elsewhere']}: [{world['name']}]({world['url']})")
    return [words["lines"] + "\n\n" + "\n".join(rows)]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("affectgpt").joinpath("data/help_lines.toml").read_text("utf-8"))
