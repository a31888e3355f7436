"""Conversations: a turn understood, a strategy chosen under constraints, a reply screened before it is shown.

`Companion().answer(Asked("I lost my job."), engine)` gives a `Turn`, whose every step is a typed record. It works when
the language model is down, and keeps no word of what was said.
"""

from __future__ import annotations

from affectgpt.dialogue.companion import Companion, CompanionOptions, Parts, Prepared, the_one_appraisal
from affectgpt.dialogue.persona import Persona, load_persona, persona_names
from affectgpt.dialogue.records import (
    Affect,
    Asked,
    Cause,
    Feeling,
    Line,
    Memory,
    Need,
    OwnEmotion,
    Reply,
    RuledOut,
    SpeakerState,
    Strategy,
    StrategyChoice,
    Turn,
    Understanding,
    Utility,
)
from affectgpt.dialogue.turn_json import turn_json
from affectgpt.dialogue.understanding import Budgets

__all__ = [
    "Affect",
    "Asked",
    "Budgets",
    "Cause",
    "Companion",
    "CompanionOptions",
    "Feeling",
    "Line",
    "Memory",
    "Need",
    "OwnEmotion",
    "Parts",
    "Persona",
    "Prepared",
    "Reply",
    "RuledOut",
    "SpeakerState",
    "Strategy",
    "StrategyChoice",
    "Turn",
    "Understanding",
    "Utility",
    "load_persona",
    "persona_names",
    "the_one_appraisal",
    "turn_json",
]
