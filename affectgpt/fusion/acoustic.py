"""The voice without a network: a VoiceTrack and its sound as tokens at 50 Hz, descriptors and log-mel bands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import InputError
from affectgpt.fusion.descriptors import (
    HOP_SAMPLES,
    SPECTRAL,
    VOICED,
    PeriodFinder,
    Stretch,
    measure_spectral,
    measure_voiced,
)
from affectgpt.fusion.features import Features, Signals, join
from affectgpt.fusion.windows import RATE_HZ, Window, cut_windows
from affectgpt.records import Modality, VoiceTrack, Waveform

__all__ = ["DESCRIPTORS", "NAMES", "N_BANDS", "AcousticEncoder", "measure", "spoken_frames"]

Floats = NDArray[np.float32]

N_BANDS: Final = 24
"""Mel bands of a VoiceTrack (60–7600 Hz, `perceive.acoustics.mel_filters`)."""
_N_CEPSTRA: Final = 4
_FROM_BANDS: Final = ("loudness_log", "flux_db", *(f"mfcc_{i + 1}" for i in range(_N_CEPSTRA)))
DESCRIPTORS: Final = ("f0_st", *_FROM_BANDS, *SPECTRAL, *VOICED)
"""The 25 descriptors of eGeMAPSv02, in this order."""
NAMES: Final = (*DESCRIPTORS, *(f"band_{i + 1}_db" for i in range(N_BANDS)))
"""Everything that `measure` gives, a column each."""

_PITCH_HOP_S: Final = 0.01
_PITCH_ZERO_HZ: Final = 27.5
"""Semitones count from A0, as in eGeMAPS."""
_ZWICKER: Final = 0.3
"""Loudness grows with this power of sound power (Zwicker & Fastl 1999)."""
_REACH_DB: Final = 50.0
"""Bands further under the clip's own speech level are noise, or were not carried by the line."""
_BOUND: Final = 4.0
"""Deviations at which a number is cut, as the voice appraiser does: another microphone must not shout the rest down."""
_TOKEN_S: Final = HOP_SAMPLES / RATE_HZ
_CORE_TOKENS: Final = 1024
_MARGIN_TOKENS: Final = 32
"""20.48 s at a time with 0.64 s around, as the voice reader takes its sound."""
_AROUND_S: Final = 0.1
"""Sound this near to a voice counts as speech where none was detected: a shout may be no speech to the detector."""


class AcousticEncoder:
    """Tokens (T, 25 + 1 + 24) at 50 Hz: eGeMAPS' descriptors, whether the voice sounds, and log-mel bands.

    Every column but the voicing (0 or 1) is standardised by data/acoustic_descriptors.toml and cut at 4 deviations;
    what only a sounding voice has (pitch, perturbation, harmonics, formants) is 0 where it does not sound. Bands are
    told against the clip's own speech level, so that of all columns only the loudness holds the microphone's gain.
    Tokens outside speech are invalid. The pitch, the speech and the bands are those of the VoiceTrack; the rest is
    measured from the sound, streamed.

    find_periods: `perceive.periods.find_periods`, or another of its kind.
    """

    id = "voice-descriptors"
    version = "1"
    modality = Modality.VOICE
    width = len(DESCRIPTORS) + 1 + N_BANDS

    def __init__(self, find_periods: PeriodFinder) -> None:
        self._find_periods = find_periods

    def encode(self, signals: Signals) -> Features:
        """See `features.Encoder.encode`; reads `signals.voice` and the sound.

        Raises:
            InputError: the voice was read without mel bands.
            UnreadableMedia: the sound is not mono at 16 kHz.
        """
        pieces = list(self.stream(signals))
        return join(pieces) if pieces else Features.none(f"{self.id}@{self.version}", self.modality, self.width)

    def stream(self, signals: Signals) -> Iterator[Features]:
        """The same features as `encode` in pieces of about 20 s, for sound whose features are not to be held."""
        if signals.voice is None or not len(signals.voice.times_s):
            return
        for rows, start_s, spoken in measure(signals.voice, signals.open_sound(), self._find_periods):
            begin_s = start_s + np.arange(len(rows)) * _TOKEN_S
            times_s = np.stack([begin_s, begin_s + _TOKEN_S], axis=1)
            yield Features(_standard(rows, spoken), times_s, spoken, f"{self.id}@{self.version}", self.modality)


def measure(
    track: VoiceTrack, blocks: Iterable[Waveform], find_periods: PeriodFinder
) -> Iterator[tuple[Floats, float, NDArray[np.bool_]]]:
    """Stretch by stretch: `NAMES` (T, 49) in their units, when they start, and which are speech (T,).

    NaN stands where a token has no such thing.

    Raises:
        InputError: the track has no mel bands.
        UnreadableMedia: the sound is not mono at 16 kHz.
    """
    if track.bands_db.shape != (len(track.times_s), N_BANDS):
        raise InputError(
            f"the voice track of {track.reader!r} has mel bands {track.bands_db.shape}, not (T, {N_BANDS})",
            "read the voice with a reader that measures them (librosa, praat or opensmile)",
        )
    spoken = spoken_frames(track)
    level_db = float(np.percentile(track.level_db[spoken], 80)) if spoken.any() else 0.0
    for window in cut_windows(blocks, _CORE_TOKENS * HOP_SAMPLES, _MARGIN_TOKENS * HOP_SAMPLES):
        heard = _heard(track, window, find_periods)
        start_s = window.start_s + window.core_from / RATE_HZ
        # One token more in front, which the first one's flux counts from.
        at = _nearest(track, start_s + (np.arange(-1 if window.core_from else 0, len(heard)) + 0.5) * _TOKEN_S)
        bands, loudness = _bands(track, at)
        bands = np.maximum(bands - level_db, -_REACH_DB)
        flux = np.sqrt(np.mean(np.diff(bands, axis=0, prepend=bands[:1]) ** 2, axis=1))
        f0_st = 12 * np.log2(track.f0_hz[at] / _PITCH_ZERO_HZ)
        known = np.concatenate([np.stack([f0_st, loudness, flux], axis=1), bands @ _cosines().T], axis=1)
        own = slice(len(at) - len(heard), None)
        rows = np.concatenate([known[own], heard, bands[own]], axis=1).astype(np.float32)
        yield rows, start_s, spoken[at[own]]


def _standard(rows: Floats, spoken: NDArray[np.bool_]) -> Floats:
    """Tokens (T, 50): distances from the population's mean in its deviations, and whether the voice sounds."""
    mean, deviation = _population()
    standard = np.clip((rows - mean) / deviation, -_BOUND, _BOUND)
    sounds = np.isfinite(rows[:, [0]])
    split = len(DESCRIPTORS)
    tokens = np.concatenate([standard[:, :split], sounds, standard[:, split:]], axis=1)
    return np.asarray(np.where(spoken[:, None], np.nan_to_num(tokens, nan=0.0), 0), np.float32)


def _heard(track: VoiceTrack, window: Window, find_periods: PeriodFinder) -> Floats:
    """What is measured from the sound (T, 18) of the window's core."""
    begin_s = window.start_s + window.first / RATE_HZ
    steps = np.arange(-(-len(window.samples) * 100 // RATE_HZ))
    at = _nearest(track, begin_s + steps * _PITCH_HOP_S)
    stretch = Stretch(window.samples, track.f0_hz[at])
    rows = np.concatenate([measure_spectral(stretch), measure_voiced(stretch, find_periods)], axis=1)
    skip = (window.core_from - window.first) // HOP_SAMPLES
    count = (window.core_to - window.core_from + HOP_SAMPLES // 2 - 1) // HOP_SAMPLES
    return rows[skip : skip + count]


def _nearest(track: VoiceTrack, times_s: NDArray[np.float64]) -> NDArray[np.intp]:
    """The track's frame (T,) nearest to each time."""
    last = len(track.times_s) - 1
    after = np.clip(np.searchsorted(track.times_s, times_s), 0, last)
    before = np.maximum(after - 1, 0)
    is_before = times_s - track.times_s[before] <= track.times_s[after] - times_s
    return np.asarray(np.where(is_before, before, after), np.intp)


def spoken_frames(track: VoiceTrack) -> NDArray[np.bool_]:
    """Which frames (P,) of the track are speech: those detected, or else those around a voice."""
    times_s = track.times_s
    inside = np.zeros(len(times_s), bool)
    for span in track.speech:
        inside[np.searchsorted(times_s, span.start_s) : np.searchsorted(times_s, span.end_s, "right")] = True
    if not inside.any():
        voiced_s = times_s[np.isfinite(track.f0_hz)]
        edges = np.zeros(len(times_s) + 1, np.intp)
        np.add.at(edges, np.searchsorted(times_s, voiced_s - _AROUND_S), 1)
        np.add.at(edges, np.searchsorted(times_s, voiced_s + _AROUND_S), -1)
        inside = np.cumsum(edges)[:-1] > 0
    return inside


def _bands(track: VoiceTrack, at: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Bands (T, 24) in dB, averaged over three frames as eGeMAPS does, and the log of the loudness (T,)."""
    last = len(track.times_s) - 1
    around = [track.bands_db[np.clip(at + step, 0, last)].astype(np.float32) for step in (-1, 0, 1)]
    bands = (around[0] + around[1] + around[2]) / 3
    return bands, np.log((10 ** (_ZWICKER * bands / 10)).sum(axis=1))


@cache
def _cosines() -> Floats:
    """(4, 24): the cosine transform that turns log bands into cepstra 1 to 4."""
    middle = (np.arange(N_BANDS) + 0.5) / N_BANDS
    return np.asarray(np.cos(np.pi * np.arange(1, _N_CEPSTRA + 1)[:, None] * middle) / N_BANDS, np.float32)


@cache
def _population() -> tuple[Floats, Floats]:
    """Mean and deviation (49,) of every column over the speech of others."""
    table = tomllib.loads(files("affectgpt").joinpath("data/acoustic_descriptors.toml").read_text("utf-8"))["columns"]
    return tuple(np.array([table[name][key] for name in NAMES], np.float32) for key in ("mean", "sd"))  # type: ignore[return-value]
