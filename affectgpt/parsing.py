"""A completion read back as an Explanation, or as an UnparsedAnswer that keeps the raw text. Never a default class."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from affectgpt.answers import CANNOT_TELL, HEADINGS, LABEL_SET
from affectgpt.emotions import load_lexicon
from affectgpt.records import Claim, Completion, Conclusion, Explanation, UnparsedAnswer

__all__ = ["citations", "parse", "parse_text", "sentences"]

LONGEST_ANSWER = 20_000
"""Characters beyond which an answer is refused: five times the longest form, and a bound on the parser's work."""
LOOP_REPEATS = 3
"""The same line so often is a decoding loop, not an account."""

_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*)?(?:\d[.)][ \t]*)?\*{0,2}[ \t]*("
    + "|".join(HEADINGS)
    + r")[ \t]*:?[ \t]*\*{0,2}[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_BULLET = re.compile(r"^[ \t]*(?:[-*•–]|\d{1,2}[.)])[ \t]+")
_FIELD = re.compile(
    r"^[ \t]*(?:[-*•][ \t]+)?\*{0,2}([A-Za-z]+)\*{0,2}[ \t]*:[ \t]*\*{0,2}[ \t]*(.*?)[ \t]*\*{0,2}$", re.MULTILINE
)
_CITATION = re.compile(r"\[((?:[A-Z]\d{1,3})(?:[ \t]*[,;][ \t]*[A-Z]\d{1,3})*)\]")
_NUMBER = re.compile(r"[+\-−]?\d+(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)[\"'”]?\s+(?=[A-Z\"“\[])")


class _Malformed(ValueError):
    """What is wrong with an answer, in words."""


def parse(completion: Completion) -> Explanation | UnparsedAnswer:
    """Read a completion; one that was cut at the token limit is unparsed even when its start looks right."""
    if completion.finish_reason == "length":
        return UnparsedAnswer(completion.text, "the answer was cut at the token limit")
    return parse_text(completion.text)


def parse_text(text: str) -> Explanation | UnparsedAnswer:
    """Read the three-part form, in its headed or its JSON dress."""
    if len(text) > LONGEST_ANSWER:
        return UnparsedAnswer(text, f"the answer is longer than {LONGEST_ANSWER} characters")
    try:
        as_json = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
        return _from_json(as_json, text) if as_json.startswith("{") else _from_headings(text)
    except _Malformed as e:
        return UnparsedAnswer(text, str(e))


def citations(text: str) -> tuple[str, ...]:
    """Observation ids cited in a text, in order, each once: `[F1]`, `[F1, V2]`."""
    ids = (i.strip() for group in _CITATION.findall(text) for i in re.split(r"[,;]", group))
    return tuple(dict.fromkeys(ids))


def sentences(text: str) -> list[str]:
    """The sentences of a text; a stop inside a number or before a citation does not end one."""
    return [s.strip() for line in text.splitlines() for s in _SENTENCE_END.split(line) if s.strip()]


def _from_headings(text: str) -> Explanation:
    found = [(m.group(1).lower(), m.start(), m.end()) for m in _HEADING.finditer(text)]
    names = [name for name, _, _ in found]
    if names != [h.lower() for h in HEADINGS]:
        raise _Malformed(f"expected the headings {', '.join(HEADINGS)} once and in order, found {names or 'none'}")
    if text[: found[0][1]].strip():
        raise _Malformed("text stands before the first heading")
    ends = [start for _, start, _ in found[1:]] + [len(text)]
    parts = [text[end:stop].strip() for (_, _, end), stop in zip(found, ends, strict=True)]
    lines = [_BULLET.sub("", line).strip() for line in parts[0].splitlines() if line.strip()]
    return _build(lines, " ".join(parts[1].split()), _fields(parts[2]), text)


def _fields(part: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(part):
        if name.lower() in fields:
            raise _Malformed(f"the conclusion gives {name} twice")
        fields[name.lower()] = value
    return fields


def _from_json(body: str, raw: str) -> Explanation:
    try:
        row = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise _Malformed(f"not valid JSON: {e}") from None
    if not isinstance(row, Mapping) or not isinstance(row.get("conclusion"), Mapping):
        raise _Malformed("the JSON answer has no conclusion object")
    lines, interpretation = row.get("key_observations"), row.get("interpretation")
    if not isinstance(lines, list) or not all(isinstance(x, str) for x in lines) or not isinstance(interpretation, str):
        raise _Malformed("the JSON answer must hold key_observations (strings) and interpretation (a string)")
    fields = {str(k).lower(): v for k, v in row["conclusion"].items()}
    return _build([x.strip() for x in lines if x.strip()], interpretation.strip(), fields, raw)


def _build(lines: list[str], interpretation: str, fields: Mapping[str, Any], raw: str) -> Explanation:
    if not lines:
        raise _Malformed("Key observations is empty")
    if not interpretation:
        raise _Malformed("Interpretation is empty")
    spoken = lines + sentences(interpretation)
    if looped := next((s for s in spoken if spoken.count(s) >= LOOP_REPEATS), None):
        raise _Malformed(f"the answer loops: {looped[:60]!r}")
    claims = [Claim(line, citations(line), "observations") for line in lines]
    claims += [Claim(s, citations(s), "interpretation") for s in sentences(interpretation)]
    return Explanation(tuple(lines), interpretation, _conclusion(fields), tuple(claims), raw)


def _conclusion(fields: Mapping[str, Any]) -> Conclusion:
    label = _label(_need(fields, "label"))
    emotions = _emotions(_need(fields, "emotions"))
    if label is not None and not emotions:
        raise _Malformed("the conclusion names a label and no emotions")
    return Conclusion(
        emotions=emotions,
        label=label,
        valence=_number(fields, "valence", -1.0),
        arousal=_number(fields, "arousal", -1.0),
        dominance=_number(fields, "dominance", -1.0),
        confidence=_number(fields, "confidence", 0.0),
    )


def _need(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) in (None, "", []):
        raise _Malformed(f"the conclusion has no {name}")
    return fields[name]


def _label(value: Any) -> str | None:
    word = str(value).strip().rstrip(".").lower()
    if word == CANNOT_TELL:
        return None
    label = load_lexicon().to_set(word, LABEL_SET)
    if label is None:
        raise _Malformed(f"the label {word[:40]!r} is none of the basic labels")
    return label


def _emotions(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else str(value).rstrip(".").split(",")
    words = tuple(dict.fromkeys(w for w in (str(x).strip().lower() for x in listed) if w and w != CANNOT_TELL))
    if len(words) > 12 or any(len(w) > 40 for w in words):
        raise _Malformed("Emotions is not a list of at most twelve words")
    return words


def _number(fields: Mapping[str, Any], name: str, least: float) -> float:
    value = _need(fields, name)
    if isinstance(value, str):
        if not (match := _NUMBER.fullmatch(value.strip().rstrip("."))):
            raise _Malformed(f"{name} is not a number: {value[:40]!r}")
        value = float(match.group().replace("−", "-"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Malformed(f"{name} is not a number")
    if not least <= value <= 1.0:
        raise _Malformed(f"{name} {value} lies outside [{least:g}, 1]")
    return float(value)
