"""A voice track told as observations: which measure differs from the baseline, which way, and by how much. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from affectgpt.cues import VoiceCue, load_cues
from affectgpt.records import BaselineKind, Modality, Observation, VoiceTrack

__all__ = ["tell", "tell_missing"]

TRUST: dict[BaselineKind, float] = {"own": 0.9, "population": 0.6}
"""How far a difference is believed by what it is measured against. Judgements: speaker normalisation raised 8-way
recall on acted speech from 46.5 to 65.2 %, so a population baseline deserves about two thirds of the trust."""
CLEAN_SNR_DB = 20.0
"""Signal-to-noise ratio from which noise no longer lowers the confidence; jitter and HNR need about this much
(Deliyski, Shaw & Evans 2005 ask for 42 dB for clinical use and 30 dB at least for research grade)."""
WORST_SNR_FACTOR = 0.4
TOLD_CLIPPED = 0.01
"""Share of samples at full scale from which clipping is told."""
NEAR_MEASURES = ("f0_median_hz", "f0_range_st", "syllable_rate_hz")
"""Told as near the baseline when nothing stands out, so that an even voice is evidence too."""


def tell(track: VoiceTrack) -> list[Observation]:
    """The measures that stand out, most telling first: for each the phrase (or the whole clip) where it does most."""
    told: dict[str, Observation] = {}
    for cue, value, z, span, kind in _candidates(track):
        seen = told.get(cue.key)
        candidate = _observe(track, cue, value, z, span, kind)
        if seen is None or _telling(candidate, z) > _telling(seen, _z_of(seen)):
            told[cue.key] = candidate
    standing_out = [o for o in told.values() if o.level != "near"]
    if standing_out:
        return sorted(standing_out, key=lambda o: _telling(o, _z_of(o)), reverse=True)
    return [told[key] for key in NEAR_MEASURES if key in told]


def tell_missing(track: VoiceTrack) -> list[Observation]:
    """What could not be heard: no speech, no voiced frames, clipping."""
    if not track.speech:
        return [_missing("missing_speech", "no speech was detected in the sound")]
    told = []
    if "f0_median_hz" not in track.measures:
        told.append(
            _missing("missing_voiced", "no voiced frames: the speech is whispered or unvoiced, so pitch is unknown")
        )
    if track.clipped_ratio >= TOLD_CLIPPED:
        share = f"{track.clipped_ratio * 100:.0f} %"
        told.append(_missing("missing_level", f"the sound is clipped in {share} of samples, so loudness is unreliable"))
    return told


def _missing(cue: str, text: str) -> Observation:
    return Observation("", Modality.VOICE, cue, text)


_Candidate = tuple[VoiceCue, float, float, tuple[float, float] | None, BaselineKind]


def _candidates(track: VoiceTrack) -> Iterator[_Candidate]:
    cues = load_cues()
    for key, cue in cues.voice.items():
        if key in track.z and key in track.measures:
            yield cue, track.measures[key], track.z[key], None, "population"
        if track.baseline_kind == "own":
            for w in track.windows:
                if key in w.z and key in w.measures:
                    yield cue, w.measures[key], w.z[key], (w.start_s, w.end_s), "own"


def _telling(o: Observation, z: float) -> float:
    return abs(z) * o.confidence


def _z_of(o: Observation) -> float:
    return o.value or 0.0


def _observe(
    track: VoiceTrack, cue: VoiceCue, value: float, z: float, span: tuple[float, float] | None, kind: BaselineKind
) -> Observation:
    z = round(max(-9.9, min(9.9, z)), 1)
    level = load_cues().voice_level(z)
    confidence = round(TRUST[kind] * _clean(track), 2)
    whose = "this speaker's own baseline" if kind == "own" else "the population's"
    apart = "within 1 SD of" if level == "near" else f"{abs(z):.1f} SD {'over' if z > 0 else 'under'}"
    printed = f"{value:.{cue.digits}f}" + (f" {cue.unit}" if cue.unit else "")
    when = "" if span is None else f", {span[0]:.1f}–{span[1]:.1f} s"
    return Observation(
        id="",
        modality=Modality.VOICE,
        cue=cue.key,
        text=f"{cue.name} {cue.adjective(level)}, {printed}, {apart} {whose}{when}, confidence {confidence:.2f}",
        start_s=None if span is None else round(span[0], 1),
        end_s=None if span is None else round(span[1], 1),
        value=z,
        level=level,
        baseline=track.baseline[cue.key][0] if kind == "own" and cue.key in track.baseline else None,
        baseline_kind=kind,
        confidence=confidence,
    )


def _clean(track: VoiceTrack) -> float:
    """A factor in [0.4, 1] that falls with noise; 1 where there was no pause to measure noise in."""
    if math.isnan(track.snr_db):
        return 1.0
    return max(WORST_SNR_FACTOR, min(1.0, track.snr_db / CLEAN_SNR_DB))
