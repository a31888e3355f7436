"""The form of an answer: its three headings, its conclusion's fields, and the JSON schema for servers that hold to one.

The prompt, the parser, the composer of training data and the fake engine all take it from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affectgpt.emotions import load_lexicon
from affectgpt.records import Conclusion

__all__ = [
    "CANNOT_TELL",
    "FORMS",
    "HEADINGS",
    "LABEL_SET",
    "answer_schema",
    "labels",
    "write_answer",
    "write_conclusion",
]

HEADINGS = ("Key observations", "Interpretation", "Conclusion")
CANNOT_TELL = "cannot tell"
LABEL_SET = "basic8"
FORMS = ("three-part", "text")


def labels() -> tuple[str, ...]:
    """The basic labels that a conclusion may name, without `cannot tell`."""
    return tuple(load_lexicon().labels(LABEL_SET))


def answer_schema(form: str) -> Mapping[str, object] | None:
    """The JSON schema of an answer form; None for free text.

    Raises:
        ValueError: no such form.
    """
    return _three_part() if FORMS.index(form) == 0 else None


def _three_part() -> Mapping[str, object]:
    strings = {"type": "array", "items": {"type": "string"}}
    unit = {"type": "number", "minimum": -1, "maximum": 1}
    conclusion = {
        "emotions": strings,
        "label": {"type": "string", "enum": [*labels(), CANNOT_TELL]},
        "valence": unit,
        "arousal": unit,
        "dominance": unit,
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    }
    return _closed(key_observations=strings, interpretation={"type": "string"}, conclusion=_closed(**conclusion))


def _closed(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def write_answer(observations: Sequence[str], interpretation: str, conclusion: Conclusion) -> str:
    """An answer in the three-part form, as the models are taught to write it."""
    return f"{open_answer(observations)}{interpretation}\n**{HEADINGS[2]}**\n{write_conclusion(conclusion)}"


def open_answer(observations: Sequence[str]) -> str:
    """The answer's first part and the second's heading: where a model takes over that is not asked to restate."""
    return "\n".join([f"**{HEADINGS[0]}**", *(f"- {o}" for o in observations), f"**{HEADINGS[1]}**", ""])


def write_conclusion(c: Conclusion) -> str:
    """The six lines of a conclusion."""
    return "\n".join(
        (
            f"Emotions: {', '.join(c.emotions) or CANNOT_TELL}",
            f"Label: {c.label or CANNOT_TELL}",
            f"Valence: {c.valence:.1f}",
            f"Arousal: {c.arousal:.1f}",
            f"Dominance: {c.dominance:.1f}",
            f"Confidence: {c.confidence:.1f}",
        )
    )
