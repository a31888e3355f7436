"""The safety screen on both sides of a turn: layers that look at words, a card with human help, a gate for replies.

Independent of prompts, adapters and the language model, and at work when that is down. `Screen().user(text)` before
anything is analysed; a finding that `stops` ends the analysis and `help_card` is shown. `SentenceGate(Screen())` stands
between the model and the page. `open_screen` adds the other layers: a trained head, which loads torch, and a guard
model on a server. What is prohibited and what happens in a crisis is published in USE_POLICY.md.
"""

from __future__ import annotations

from affectgpt.safety.findings import About, Finding, Level, Risk, Side, gravest
from affectgpt.safety.help_lines import HelpLine, help_card, help_lines, lines_to_review, replacement
from affectgpt.safety.screen import Layer, Screen, open_screen
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
    "open_screen",
    "replacement",
    "split_sentences",
]
