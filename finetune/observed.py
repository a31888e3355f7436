"""Observations read back out of a rendered prompt, so that an answer can be checked against what it was shown.

A row carries the prompt's text and no records. The lines are the textualizers' own, or say the same in other words, so
that cue, level and numbers can be read back; what a line of other wording does not give is looked for as in any
sentence. With the numbers the evidence can be appraised again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from affectgpt.cues import VoiceLevel, load_cues
from affectgpt.mentions import find_mentions
from affectgpt.records import Appraisal, EmotionDistribution, Message, Modality, Observation, Observations

__all__ = ["read_appraisal", "read_observations"]

_LINE = re.compile(r"^\[([FVSM]\d{1,3})\] (.+)$", re.MULTILINE)
_FACE = re.compile(r"\b(AU\d{1,2})\b.*?, (\d+(?:\.\d+)?) (?:out )?of 5")
_QUOTE = re.compile(r'(?:said|spoken(?: by [^"]*)?:) "(.*)"')
_TIMES = re.compile(r", (\d+\.\d)–(\d+\.\d) s| from (\d+\.\d) to (\d+\.\d) s")
_AFTER_QUOTE = re.compile(r'(?<=")[^"]*$')
_SURE = re.compile(r", (?:confidence|certainty) (\d\.\d\d)")
_APART = re.compile(r"\b(\d+\.\d) SD\b")
_SIDE = re.compile(r"(?:, |\b)(far )?(above|below|level with)\b.*\bby \d")
_OWN = re.compile(r"\b(?:this speaker's own|this person's neutral|the speaker's own|own rest)\b")
_STILL = re.compile(r"\bwithout any clear movement|shows no clear movement\b")
_LEVELS: tuple[VoiceLevel, ...] = ("much lower", "lower", "near", "higher", "much higher")
_MODALITIES = {"F": Modality.FACE, "V": Modality.VOICE, "S": Modality.SPEECH}
_UNKNOWN = re.compile(r"\b(face|voice|words) unknown \[(M\d{1,3})\]")
_SHORTLIST = re.compile(r"^Shortlist: (.+), or none of these$", re.MULTILINE)
_NUMBERS = re.compile(r"^Valence (-?\d\.\d), arousal (-?\d\.\d), dominance (-?\d\.\d), confidence", re.MULTILINE)
_READING = re.compile(r"(?:^By channel: |; )(face|voice|words) (\w+)([^;\n]*)", re.MULTILINE)
_CONFLICT = re.compile(r"^Conflict: (.+)$", re.MULTILINE)
_CITED = re.compile(r"\[([A-Z]\d{1,3})\]")
_CHANNELS = {"face": Modality.FACE, "voice": Modality.VOICE, "words": Modality.SPEECH}


def read_observations(messages: Sequence[Message]) -> Observations:
    """The observations that the last turn of the user shows; empty where it shows none.

    What is missing is of the channel that the prompt calls unknown for it, else of the face: the line does not say.
    """
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    shown, _, appraised = asked.partition("\nAppraisal\n")
    missing = {id_: _CHANNELS[channel] for channel, id_ in _UNKNOWN.findall(appraised)}
    return Observations(tuple(_read(id_, text, missing) for id_, text in _LINE.findall(shown)))


def read_appraisal(messages: Sequence[Message]) -> Appraisal | None:
    """The appraisal as far as the last turn of the user shows it; None where it shows none.

    `fused` holds the shortlist's emotions alone, and each channel its first with certainty: which emotion leads, which
    channels are read as what by which observations, and which conflicts are told, is all that a check of answers needs.
    """
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    shown = asked.partition("\nAppraisal\n")[2]
    shortlist, numbers = _SHORTLIST.search(shown), _NUMBERS.search(shown)
    if shortlist is None or numbers is None:
        return None
    fused = {name: float(p) for name, p in (part.split() for part in shortlist[1].split(", "))}
    read = {_CHANNELS[c]: (top, tuple(_CITED.findall(rest))) for c, top, rest in _READING.findall(shown)}
    told = {m.value: (top, ids) for m, (top, ids) in read.items() if top != "unknown"}
    return Appraisal(
        by_modality={m: EmotionDistribution({top: 1.0}, 0.0, 0.0, 0.0) for m, (top, _) in told.items()},
        reliability={},
        fused=EmotionDistribution(fused, *(float(n) for n in numbers.groups())),
        conflicts=tuple(_CONFLICT.findall(shown)),
        carried_by={m: ids for m, (_, ids) in told.items()},
    )


def _read(id_: str, text: str, missing: Mapping[str, Modality]) -> Observation:
    if id_[0] == "M":
        cue = "missing_movement" if _STILL.search(text) else "missing_told"
        return Observation(id_, missing.get(id_, Modality.FACE), cue, text)
    start_s, end_s = _times(text)
    if id_[0] == "S":
        quote, after = _QUOTE.search(text), _AFTER_QUOTE.search(text)
        return Observation(
            id_, Modality.SPEECH, "quote", text, start_s, end_s,
            confidence=_sure(after[0] if after else ""), quote=quote[1] if quote else text,
        )  # fmt: skip
    cue, level, value = _face(text) if id_[0] == "F" else _voice(text)
    return Observation(
        id_, _MODALITIES[id_[0]], cue, text, start_s, end_s, value, level,
        baseline_kind="own" if _OWN.search(text) else "population", confidence=_sure(text),
    )  # fmt: skip


def _times(text: str) -> tuple[float | None, float | None]:
    after = _AFTER_QUOTE.search(text)
    if not (told := _TIMES.search(after[0] if after else text)):
        return None, None
    return float(told[1] or told[3]), float(told[2] or told[4])


def _sure(text: str) -> float:
    """Confidence in [0, 1]; what does not state it is sure, as the textualizers leave it out of firm quotes."""
    told = _SURE.search(text)
    return float(told[1]) if told else 1.0


def _face(text: str) -> tuple[str, str | None, float | None]:
    if not (told := _FACE.search(text)):
        return *_any(text), None
    value = float(told[2])
    level = load_cues().face_level(value)
    return told[1], level.letter if level else "A", value


def _voice(text: str) -> tuple[str, str | None, float | None]:
    """Cue, level and signed distance from the baseline in SD; a measure near it is put at 0."""
    apart, found = _APART.search(text), None
    for cue in load_cues().voice.values():
        if text.startswith(f"{cue.noun}, "):
            found = cue.key, _side(text)
        for level in _LEVELS:
            if text.startswith(f"{cue.name} {cue.adjective(level)},"):
                found = cue.key, level
    key, side = found or _any(text)
    z = float(apart[1]) if apart else 0.0
    return key, side, -z if side and side.endswith("lower") else z


def _side(text: str) -> str | None:
    """The level of a line that says `above`, `far below` or `level with` some norm."""
    if not (told := _SIDE.search(text)):
        return None
    if told[2] == "level with":
        return "near"
    return f"{'much ' if told[1] else ''}{'higher' if told[2] == 'above' else 'lower'}"


def _any(text: str) -> tuple[str, str | None]:
    found = find_mentions(text)
    return (found[0].cue, next(iter(sorted(found[0].levels)), None)) if found else ("unknown", None)
