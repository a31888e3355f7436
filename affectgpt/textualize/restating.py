"""An observation as one sentence that cites it: the first part of an answer, written without a model. Pure."""

from __future__ import annotations

from affectgpt.cues import load_cues, unit_of
from affectgpt.records import Modality, Observation

__all__ = ["restate"]


def restate(o: Observation) -> str:
    """The observation as a key observation of an answer: cue, strength, times, citation; its confidence is left out."""
    if o.is_missing:
        return f"{_upper(o.text)} [{o.id}]."
    when = "" if o.start_s is None or o.end_s is None else f", {o.start_s:.1f}–{o.end_s:.1f} s"
    if o.modality is Modality.SPEECH:
        who, _, spoken = o.text.partition(' said "')
        return f'{who if spoken else "The words are"}{" says" if spoken else ""} "{o.quote}"{when} [{o.id}].'
    if o.modality is Modality.VOICE:
        cue = load_cues().voice[o.cue]
        printed = o.text.split(", ")[1]
        return f"{_upper(cue.name)} is {cue.adjective(o.level or 'near')}, {printed}{when} [{o.id}]."
    unit = unit_of(o.cue)
    face = load_cues().face[unit if unit is not None else 0]
    word = load_cues().face_word(o.level or "A")
    return f"{_upper(face.movement)} ({face.key}), {word}, {o.value:.1f} of 5{when} [{o.id}]."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
