"""A clip cut into stretches of about the length that the appraisers were fitted on, and its tracks cut with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affectgpt.records import FaceTrack, Interval, Utterance, VoiceTrack

__all__ = ["cut_face", "cut_voice", "cut_words", "stretches"]

STRETCH_S = 4.0
"""Seconds of one reading: an acted sentence of RAVDESS, on which the voice was fitted, lasts 3 to 5 s."""


def stretches(end_s: float) -> list[Interval]:
    """A clip of `end_s` seconds cut evenly into stretches of about 4 s: from 2.7 to 6 s, a shorter clip whole."""
    n = max(1, round(end_s / STRETCH_S))
    edges = np.linspace(0.0, max(end_s, 0.0), n + 1)
    return [Interval(float(a), float(b)) for a, b in pairwise(edges)]


def _inside(times_s: NDArray[np.float64], stretch: Interval) -> NDArray[np.bool_]:
    return (times_s >= stretch.start_s) & (times_s <= stretch.end_s)


def cut_face(track: FaceTrack | None, stretch: Interval) -> FaceTrack | None:
    """The frames of a stretch; None where it has none."""
    if track is None:
        return None
    kept = _inside(track.times_s, stretch)
    if not kept.any():
        return None
    return replace(
        track,
        times_s=track.times_s[kept],
        action_units=track.action_units[kept],
        found=track.found[kept],
        pose_deg=track.pose_deg[kept],
        width_px=track.width_px[kept],
    )


def cut_voice(track: VoiceTrack | None, stretch: Interval) -> VoiceTrack | None:
    """The contours of a stretch; a track without contours is the same throughout."""
    if track is None or not len(track.times_s):
        return track
    kept = _inside(track.times_s, stretch)
    if not kept.any():
        return None
    return replace(
        track,
        times_s=track.times_s[kept],
        f0_hz=track.f0_hz[kept],
        level_db=track.level_db[kept],
        bands_db=track.bands_db[kept] if len(track.bands_db) else track.bands_db,
        speech=tuple(_overlap(track.speech, stretch)),
    )


def _overlap(spans: Sequence[Interval], stretch: Interval) -> Iterator[Interval]:
    for span in spans:
        if min(span.end_s, stretch.end_s) > max(span.start_s, stretch.start_s):
            yield Interval(max(span.start_s, stretch.start_s), min(span.end_s, stretch.end_s))


def cut_words(said: Sequence[Utterance], stretch: Interval) -> tuple[Utterance, ...]:
    """What was said for the most part in a stretch; words without times count throughout."""
    return tuple(
        u
        for u in said
        if u.start_s is None or u.end_s is None or stretch.start_s <= (u.start_s + u.end_s) / 2 <= stretch.end_s
    )
