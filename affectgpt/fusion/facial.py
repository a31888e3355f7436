"""The face without a network: a FaceTrack as tokens at a fixed rate, action units and head pose."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.cues import load_cues
from affectgpt.errors import InputError
from affectgpt.fusion.features import Features, Signals
from affectgpt.records import FaceTrack, Modality

__all__ = ["RATE_HZ", "FacialEncoder", "unit_order"]

RATE_HZ: Final = 12.5
"""Frames a second at which the face is read by default (`readers.FaceOptions`)."""
LONGEST_ON_SCREEN_S: Final = 0.4
"""A picture is taken to stand until the next one, but not longer than this, a source of 2.5 frames a second."""
FULL_INTENSITY: Final = 5.0
"""FACS' scale ends at E, 5."""
POSE_UNIT_DEG: Final = 30.0
"""Yaw, pitch and roll are told in units of this, so that most heads stay within 1."""
LONGEST_S: Final = 24 * 3600.0
"""A track file with a forged time would ask for tokens without end."""


@cache
def unit_order() -> tuple[int, ...]:
    """FACS numbers of the A action units of a token, ascending: those that data/action_units.toml has words for."""
    return tuple(sorted(cue.unit for cue in load_cues().face.values()))


class FacialEncoder:
    """Tokens (T, 2A + 3) at 12.5 Hz out of a FaceTrack of any rate; loads nothing.

    A token holds A intensities in [0, 1], the A reliabilities of their reader in [0, 1], and yaw, pitch and roll in
    units of 30 degrees. A unit that the reader does not measure has reliability 0, so that "not measured" and "at rest"
    differ. The grid counts from the first frame; a token is the mean of the frames that fall in it, or the frame still
    on screen, and invalid where no face was found in any of them.
    """

    id = "face-units"
    version = "1"
    modality = Modality.FACE

    def __init__(self) -> None:
        self.width = 2 * len(unit_order()) + 3

    def encode(self, signals: Signals) -> Features:
        """See `features.Encoder.encode`; reads `signals.face` alone.

        Raises:
            InputError: the track's times go back, are not finite, or span more than a day.
        """
        name = f"{self.id}@{self.version}"
        track = signals.face
        if track is None or not len(track.times_s):
            return Features.none(name, self.modality, self.width)
        slot, n_tokens = _slots(track.times_s)
        tokens, valid = _averages(_rows(track), track.found, slot, n_tokens)
        start_s = track.times_s[0] + np.arange(n_tokens) / RATE_HZ
        return Features(tokens, np.stack([start_s, start_s + 1 / RATE_HZ], axis=1), valid, name, self.modality)


def _rows(track: FaceTrack) -> NDArray[np.float32]:
    """What each frame says (T, 2A + 3), zeros where no face was found."""
    order = unit_order()
    found = track.found[:, None]
    intensity = np.zeros((len(track.times_s), len(order)), np.float32)
    reliability = np.zeros_like(intensity)
    for column, unit in enumerate(order):
        if unit in track.units:
            place = track.units.index(unit)
            seen = track.action_units[:, place]
            intensity[:, column] = np.nan_to_num(seen, nan=0.0) / FULL_INTENSITY
            reliability[:, column] = np.where(np.isnan(seen), 0.0, track.reliability[place])
    pose = np.nan_to_num(track.pose_deg, nan=0.0) / POSE_UNIT_DEG
    rows = np.concatenate([np.clip(intensity, 0, 1), reliability, pose], axis=1)
    return np.where(found, rows, 0).astype(np.float32)


def _slots(times_s: NDArray[np.float64]) -> tuple[NDArray[np.intp], int]:
    """The token (T,) that each frame falls in, and the number of tokens."""
    span_s = times_s - times_s[0]
    if not (np.isfinite(times_s).all() and (np.diff(times_s) >= 0).all() and span_s[-1] <= LONGEST_S):
        raise InputError("a face track whose times go back or span more than a day", "check the file it came from")
    # A frame stamped a rounding error before its time on the grid still belongs to the token that begins there.
    slot = np.floor(span_s * RATE_HZ + 1e-3).astype(np.intp)
    return slot, int(slot[-1]) + 1


def _averages(
    rows: NDArray[np.float32], found: NDArray[np.bool_], slot: NDArray[np.intp], n_tokens: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean of the found rows of each token (K, D), and where there is one (K,)."""
    latest = np.maximum.accumulate(np.where(np.isin(np.arange(n_tokens), slot), np.arange(n_tokens), 0))
    tokens = np.zeros((n_tokens, rows.shape[1]), np.float32)
    counts = np.bincount(slot[found], minlength=n_tokens)
    np.add.at(tokens, slot[found], rows[found])
    tokens /= np.maximum(counts, 1)[:, None]
    stands = (np.arange(n_tokens) - latest) / RATE_HZ <= LONGEST_ON_SCREEN_S
    # Where no frame falls, the last frame before is still on screen: the mean of its token stands in.
    valid = (counts > 0)[latest] & stands
    return np.where(valid[:, None], tokens[latest], 0).astype(np.float32), valid
