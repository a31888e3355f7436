"""The JSON form of a `Turn`: complete, stable, and valid JSON (a NaN or an infinity becomes null).

The document's shape, version 1. Every key is always there; a thing that does not exist is null, never left out::

    schema_version   "1"
    ai_generated     true
    words            what the person wrote
    understanding    null where nothing was analysed; else
                     feeling {label, alternatives [[label, probability]], label_set, decided_by, note},
                     cause {text, start, end, probability} or null, cause_words [[word, probability]], need,
                     intensity, affect {valence, arousal, dominance}, self_report,
                     speakers [speaker, distribution, trajectory [affect], inertia, contagion],
                     memory {facts, feelings, n_lines, n_tokens, is_retold}, differs
    strategy         null, or chosen, because, utilities {strategy: {alignment, wellbeing, total}},
                     ruled_out [strategy, constraint, reason], chosen_by
    own              null, or persona, before, change, weights, after (affects), tone
    reply            text, by (engine, stand-in or card), completion (null, or engine, model, prompt_id, …), note
    findings         the screen's, of the person's words: risk, level, and where known rule, start, end, about
    held             the risk for which the model's reply was held back, or ""
    card             Markdown with human help, or ""
    timings_s        {step: wall seconds}
"""

from __future__ import annotations

from typing import Any

from affectgpt.dialogue.records import Turn
from affectgpt.record_json import plain_record

__all__ = ["SCHEMA_VERSION", "turn_json"]

SCHEMA_VERSION = "1"


def turn_json(turn: Turn) -> dict[str, Any]:
    """The turn as plain dicts, lists, strings, numbers, booleans and None, in the module's documented shape."""
    return {"schema_version": SCHEMA_VERSION, **plain_record(turn)}
