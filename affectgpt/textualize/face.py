"""A face track told as observations: which action unit, how strong, from when to when. Pure; no models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from affectgpt.cues import CueVocabulary, FaceCue, load_cues, unit_of
from affectgpt.records import FaceTrack, Interval, Modality, Observation

__all__ = ["tell", "tell_missing"]

BRIDGE_S = 0.25
"""Two stretches of one unit closer than this are one event: a blink (0.1-0.4 s, Schiffman 2001) may split them."""
LEAST_EVENT_S = 0.2
"""Shorter stretches are dropped. Micro-expressions begin at about 0.04-0.2 s (Yan et al. 2013), below what a track
sampled at 12.5 Hz can tell from noise."""
LEAST_CLOSED_S = 0.4
"""Eyes closed for less than this is a blink (Schiffman 2001), which is told of nobody's feeling."""
SPEAKING_DISCOUNT = 0.5
"""What is left of a mouth unit's confidence while the person speaks: articulation moves the same muscles. A judgement,
not a measurement."""
APEX_QUANTILE = 0.9
"""An event's intensity is this quantile of its course: the apex without a single frame's noise."""
TOLD_MISSING = 0.1
"""From this share of frames on, a lost face is told."""


@dataclass(frozen=True, slots=True)
class _Event:
    start_s: float
    end_s: float
    apex: float


def tell(track: FaceTrack, speaking: Sequence[Interval] = ()) -> list[Observation]:
    """Every action-unit event of the track, most telling first: the strongest event a unit.

    `speaking` are spans of detected speech, in which mouth units are believed less. Ids are left empty; the caller
    numbers them after the bottleneck.
    """
    cues = load_cues()
    told: list[Observation] = []
    for a, unit in enumerate(track.units):
        cue = cues.face.get(unit)
        if cue is None:
            continue
        events = list(_events(track, track.action_units[:, a], cue, cues))
        if events:
            strongest = max(events, key=lambda e: e.apex * (e.end_s - e.start_s) ** 0.5)
            told.append(_observe(track, a, cue, strongest, len(events), speaking))
    return sorted(told, key=_telling, reverse=True)


def tell_missing(track: FaceTrack) -> list[Observation]:
    """What the track could not see: no face at all, a face lost for a share of frames, or turned away."""
    n = len(track.times_s)
    if n == 0:
        return [_missing("missing_face", "no picture could be read, so nothing is known of the face")]
    lost, turned = int(n - track.found.sum()), track.n_turned_away
    if lost == n and turned == 0:
        return [_missing("missing_face", "no face was found in any frame")]
    if lost == n:
        return [_missing("missing_face_turned", "the face is turned away in every frame where it is seen")]
    told = []
    if turned / n >= TOLD_MISSING:
        told.append(_missing("missing_face_turned", f"the face is turned away in {turned / n:.0%} of frames"))
    if (lost - turned) / n >= TOLD_MISSING:
        told.append(_missing("missing_face", f"no face in {(lost - turned) / n:.0%} of frames"))
    return [Observation(o.id, o.modality, o.cue, o.text.replace("%", " %")) for o in told]


def _missing(cue: str, text: str) -> Observation:
    return Observation("", Modality.FACE, cue, text)


def _telling(o: Observation) -> float:
    unit = unit_of(o.cue)
    weight = load_cues().face[unit].telling if unit is not None else 1.0
    return (o.value or 0.0) * o.confidence * weight


def _events(track: FaceTrack, course: NDArray[np.float32], cue: FaceCue, cues: CueVocabulary) -> Iterator[_Event]:
    """Stretches at or above a trace, bridged over short gaps; a still image is one instantaneous event."""
    active = np.nan_to_num(course, nan=0.0) >= cues.face_levels[0].least
    least_s = LEAST_CLOSED_S if cue.unit == 43 else LEAST_EVENT_S
    step_s = float(np.median(np.diff(track.times_s))) if len(track.times_s) > 1 else 0.0
    for first, last in _runs(active, track.times_s):
        start_s, end_s = float(track.times_s[first]), float(track.times_s[last])
        # A frame stands for the time up to the next one; a still has none.
        if step_s and end_s - start_s + step_s < least_s:
            continue
        seen = course[first : last + 1]
        yield _Event(start_s, end_s, float(np.nanquantile(seen, APEX_QUANTILE)))


def _runs(active: NDArray[np.bool_], times_s: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for i in np.flatnonzero(active):
        if first >= 0 and times_s[i] - times_s[last] > BRIDGE_S:
            yield first, last
            first = int(i)
        elif first < 0:
            first = int(i)
        last = int(i)
    if first >= 0:
        yield first, last


def _observe(
    track: FaceTrack, a: int, cue: FaceCue, event: _Event, n_events: int, speaking: Sequence[Interval]
) -> Observation:
    cues = load_cues()
    value = round(float(np.clip(event.apex, 0.0, 5.0)), 1)
    level = cues.face_level(value) or cues.face_levels[0]
    baseline = round(float(track.baseline[a]), 1)
    confidence = round(_confidence(track, a, cue, event, speaking), 2)
    still = len(track.times_s) <= 1
    spoken = "" if still else f", {event.start_s:.1f}–{event.end_s:.1f} s"
    again = f", {n_events} times" if n_events > 1 else ""
    over = (
        f"over this person's neutral {baseline:.1f}"
        if track.baseline_kind == "own"
        else "over the population's neutral"
    )
    return Observation(
        id="",
        modality=Modality.FACE,
        cue=cue.key,
        text=f"{cue.name} ({cue.key}) {level.words[0]}, {value:.1f} of 5{spoken}{again}, {over}, "
        f"confidence {confidence:.2f}",
        start_s=None if still else round(event.start_s, 1),
        end_s=None if still else round(event.end_s, 1),
        value=value,
        level=level.letter,
        baseline=baseline if track.baseline_kind == "own" else None,
        baseline_kind=track.baseline_kind,
        confidence=confidence,
    )


def _confidence(track: FaceTrack, a: int, cue: FaceCue, event: _Event, speaking: Sequence[Interval]) -> float:
    """Reader's reliability on the unit x share of frames with a face during the event x the discount for speech."""
    within = (track.times_s >= event.start_s) & (track.times_s <= event.end_s)
    seen = float(track.found[within].mean()) if within.any() else 0.0
    spoken = _overlap(event, speaking) if cue.mouth else 0.0
    return float(track.reliability[a]) * seen * (1.0 - (1.0 - SPEAKING_DISCOUNT) * spoken)


def _overlap(event: _Event, spans: Sequence[Interval]) -> float:
    """Share of the event, in [0, 1], that lies inside the spans."""
    length = event.end_s - event.start_s
    if length <= 0:
        return float(any(s.start_s <= event.start_s <= s.end_s for s in spans))
    inside = sum(max(0.0, min(event.end_s, s.end_s) - max(event.start_s, s.start_s)) for s in spans)
    return min(1.0, inside / length)
