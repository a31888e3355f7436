"""The safety screen on both sides of a turn: rules over words, a card with human help, a gate for replies.

Independent of prompts, adapters and the language model, and at work when that is down. `Screen().user(text)` before
anything is analysed; a finding that `stops` ends the analysis and `help_card` is shown. `SentenceGate(Screen())` stands
between the model and the page. What is prohibited and what happens in a crisis is published in USE_POLICY.md.
"""

from __future__ import annotations

from affectgpt.safety.findings import About, Finding, Level, Risk, Side, gravest
from affectgpt.safety.help_lines import HelpLine, help_card, help_lines, lines_to_review, replacement
from affectgpt.safety.screen import Layer, Screen
from affectgpt.safety.sentences import SentenceGate, split_sentences

__all__ = [
    "About",
    "Finding",
    "HelpLine",
    "Layer",
    "Level",
    "Risk",
    "Screen",
    "SentenceGate",
    "Side",
    "gravest",
    "help_card",
    "help_lines",
    "lines_to_review",
    "replacement",
    "split_sentences",
]
