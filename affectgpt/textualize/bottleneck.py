"""All that was sensed, told as one ranked and numbered list. What is left out is counted, what is missing is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from affectgpt.records import FaceTrack, Modality, Observation, Observations, Transcript, VoiceTrack
from affectgpt.textualize import face as face_text
from affectgpt.textualize import speech as speech_text
from affectgpt.textualize import voice as voice_text

__all__ = ["Sensed", "number", "tell"]

TOP_K: Mapping[Modality, int] = {Modality.FACE: 5, Modality.VOICE: 4, Modality.SPEECH: 3}
"""Observations shown a modality. A small model must be able to weigh each: twelve lines are about 500 tokens."""
LONGEST_REASON = 160
"""Characters of the reason for a missing modality, which may carry a decoder's own words."""
PREFIX: Mapping[Modality, str] = {Modality.FACE: "F", Modality.VOICE: "V", Modality.SPEECH: "S"}


@dataclass(frozen=True, slots=True)
class Sensed:
    """What the readers gave: a track or None a modality, and for None the reason in words (`absent`)."""

    face: FaceTrack | None = None
    voice: VoiceTrack | None = None
    transcript: Transcript | None = None
    absent: Mapping[Modality, str] = field(default_factory=dict)


def tell(sensed: Sensed, top_k: Mapping[Modality, int] | None = None) -> Observations:
    """Observations numbered F1.. V1.. S1.. and M1.. for what is missing; `left_out` counts the unshown ones."""
    top_k = {**TOP_K, **(top_k or {})}
    found: dict[Modality, list[Observation]] = {m: [] for m in Modality}
    missing: list[Observation] = [
        Observation("", m, f"missing_{m.value}", f"{m.value} unknown: {speech_text.clean_quote(why, LONGEST_REASON)}")
        for m, why in sensed.absent.items()
    ]
    if sensed.face is not None:
        found[Modality.FACE] = face_text.tell(sensed.face, sensed.voice.speech if sensed.voice else ())
        missing += face_text.tell_missing(sensed.face)
    if sensed.voice is not None:
        found[Modality.VOICE] = voice_text.tell(sensed.voice)
        missing += voice_text.tell_missing(sensed.voice)
    if sensed.transcript is not None:
        found[Modality.SPEECH] = speech_text.tell(sensed.transcript)
        missing += speech_text.tell_missing(sensed.transcript)
    if sensed.face is not None and sensed.face.found.any() and not found[Modality.FACE]:
        missing.append(
            Observation("", Modality.FACE, "missing_movement", "the face is seen and shows no clear movement")
        )
    return number(found, missing, top_k)


def number(
    found: Mapping[Modality, list[Observation]], missing: Iterable[Observation], top_k: Mapping[Modality, int]
) -> Observations:
    """Cut each ranked list to its K, number what is kept, and say what was left out."""
    kept: list[Observation] = []
    left_out: dict[str, int] = {}
    missing = list(missing)
    for modality in Modality:
        ranked, k = found.get(modality, []), top_k[modality]
        chosen = _keep(modality, ranked, k)
        kept += [replace(o, id=f"{PREFIX[modality]}{i}") for i, o in enumerate(chosen, 1)]
        if len(ranked) > len(chosen):
            n = left_out[modality.value] = len(ranked) - len(chosen)
            noun = {"face": "weaker face observation", "voice": "weaker voice observation", "speech": "quote"}[
                modality.value
            ]
            text = f"{n} more {noun}{'s' if n > 1 else ''} left out"
            missing.append(Observation("", modality, "missing_left_out", text))
    kept += [replace(o, id=f"M{i}") for i, o in enumerate(missing, 1)]
    return Observations(tuple(kept), left_out)


def _keep(modality: Modality, ranked: list[Observation], k: int) -> list[Observation]:
    """The first K; of quotes the K longest, in the order spoken: a longer line says more, and order is meaning."""
    if modality is not Modality.SPEECH or len(ranked) <= k:
        return ranked[:k]
    longest = sorted(ranked, key=lambda o: len(o.quote or "") * o.confidence, reverse=True)[:k]
    return [o for o in ranked if o in longest]
