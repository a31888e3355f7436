"""A voice's contours as one row of numbers: what a fitted head reads.

Five families, after Eyben et al. 2016 (IEEE Transactions on Affective Computing 7:190) and Schuller et al. 2013
(ComParE, Interspeech): the melody, the loudness and its rhythm, the spectrum of the voiced frames, loudness as it
is heard, and voice quality. A sixth, by far the largest, is how these move together (appraise/covariances.py).
Pitch is in semitones and level in dB, so that a ratio is a difference: what a microphone or a throat adds once is then
a constant, and most of the numbers (ranges, changes, spreads) do not hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.covariances import COUPLINGS, Frames, cosines, couplings, slopes
from affectgpt.records import VoiceTrack

__all__ = ["FAMILIES", "NAMES", "NAMES_SHA256", "functionals", "spoken"]

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEAST_VOICED = 20
"""Frames: a fifth of a second of voice, below which no melody is read."""
_LEAST_TALK = 30
"""Frames: 0.3 s of speech, below which nothing is read."""
_SOUNDING_DB = 20.0
"""What stands in for voiced frames where no pitch was found: speech within this of its loudest frame."""
_AROUND = 21
"""Frames around a voiced one, itself included, that count as speech where none was detected."""
_REACH_DB = 50.0
"""What lies further under a clip's loudest band is noise, or a band that the line did not carry."""
_QUALITY = ("hnr_db", "jitter_pct", "shimmer_pct")
_N_CEPSTRA = 12
_N_GROUPS = 6
_N_SHARES = 8
_ZWICKER = 0.3
_SMOOTH = 5
"""Frames over which loudness is averaged."""
_PEAK_SHARE = 0.15
"""A syllable's peak stands out by this share of the greatest loudness."""
_MODULATION_HZ = (1.0, 2.0, 4.0, 8.0, 16.0)
_PITCH_ZERO_HZ = 27.5
"""Semitones count from A0, as in eGeMAPS."""


def functionals(track: VoiceTrack) -> NDArray[np.float64] | None:
    """The numbers (D,) in the order of `NAMES`, NaN where this clip cannot give one; None with under 0.3 s of speech.

    A shout may hold no pitch that the tracker trusts, and may not be speech to the detector: then the loud frames stand
    in for the voiced ones, and the voiced ones for the speech. A reader without mel bands gives None.
    """
    if len(track.bands_db) != len(track.times_s) or len(track.times_s) < _LEAST_TALK:
        return None
    talk = spoken(track)
    if talk.sum() < _LEAST_TALK:
        return None
    voiced = talk & np.isfinite(track.f0_hz)
    has_pitch = bool(voiced.sum() >= _LEAST_VOICED)
    held = voiced if has_pitch else talk & (track.level_db >= track.level_db[talk].max() - _SOUNDING_DB)
    hop_s = float(np.median(np.diff(track.times_s)))
    bands = _limited(track.bands_db.astype(np.float32), held)
    found = dict(_melody(track, voiced, talk, hop_s)) if has_pitch else {}
    found.update(_loudness(track, talk, held, hop_s))
    found.update(_spectrum(bands, held, talk, track.level_db))
    found.update(_hearing(track.bands_db.astype(np.float32), held, talk, hop_s))
    semitones = _semitones(track, voiced if has_pitch else np.zeros_like(talk))
    level = np.maximum(track.level_db, track.level_db[held].max() - _REACH_DB)
    frames = Frames(level, bands, track.bands_db.astype(np.float32), semitones, talk)
    found.update(zip(COUPLINGS, couplings(frames), strict=True))
    found.update((name, track.measures[name]) for name in _QUALITY if name in track.measures)
    row = np.array([found.get(name, np.nan) for name in NAMES])
    return np.where(np.isfinite(row), row, np.nan)


def spoken(track: VoiceTrack) -> Mask:
    """Which frames (T,) are speech: those detected, or else those around a voice."""
    inside = np.zeros(len(track.times_s), bool)
    for span in track.speech:
        inside |= (track.times_s >= span.start_s) & (track.times_s <= span.end_s)
    if not inside.any():
        near = np.convolve(np.isfinite(track.f0_hz), np.ones(_AROUND), "same")
        inside = near > 0
    return inside


def _limited(bands: Floats, voiced: Mask) -> Floats:
    return np.maximum(bands, bands[voiced].max() - _REACH_DB)


# ---------------------------------------------------------------- melody


def _melody(track: VoiceTrack, voiced: Mask, talk: Mask, hop_s: float) -> Iterator[tuple[str, float]]:
    semitones = _semitones(track, voiced)
    held = semitones[voiced]
    p05, p20, p50, p80, p95 = np.percentile(held, [5, 20, 50, 80, 95])
    yield from zip(("f0_p20", "f0_p50", "f0_p80"), (p20, p50, p80), strict=True)
    yield "f0_range_60", p80 - p20
    yield "f0_range_90", p95 - p05
    yield "f0_spread", held.std()
    yield "f0_skew", (p80 + p20 - 2 * p50) / max(p80 - p20, 0.1)
    change = np.diff(semitones) / hop_s
    change = change[np.isfinite(change)]
    yield "f0_speed", np.abs(change).mean() if len(change) else 0.0
    yield "f0_rising", (change > 5.0).mean() if len(change) else 0.0
    yield "f0_falling", (change < -5.0).mean() if len(change) else 0.0
    yield from _thirds("f0", held)
    runs = _run_lengths(voiced) * hop_s
    gaps = _run_lengths(talk & ~voiced) * hop_s
    spoken_s = talk.sum() * hop_s
    yield "voiced_share", voiced.sum() / talk.sum()
    yield "voiced_run_s", runs.mean()
    yield "voiced_run_spread_s", runs.std()
    yield "unvoiced_run_s", gaps.mean() if len(gaps) else 0.0
    yield "unvoiced_run_spread_s", gaps.std() if len(gaps) else 0.0
    yield "voiced_runs_hz", len(runs) / spoken_s
    yield "f0_with_level", _correlation(held, track.level_db[voiced])


def _semitones(track: VoiceTrack, voiced: Mask) -> Floats:
    return np.asarray(12 * np.log2(np.where(voiced, track.f0_hz, np.nan) / _PITCH_ZERO_HZ), np.float32)


def _thirds(name: str, values: Floats) -> Iterator[tuple[str, float]]:
    """How the first and the last third of the voiced frames differ from the middle one."""
    first, middle, last = (part.mean() for part in np.array_split(values, 3))
    yield f"{name}_onset", first - middle
    yield f"{name}_end", last - middle


def _run_lengths(mask: Mask) -> NDArray[np.intp]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return np.asarray(edges[1::2] - edges[::2])


def _correlation(a: Floats, b: Floats) -> float:
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 1e-6 else 0.0


# ---------------------------------------------------------------- loudness


def _loudness(track: VoiceTrack, talk: Mask, voiced: Mask, hop_s: float) -> Iterator[tuple[str, float]]:
    level = np.maximum(track.level_db, track.level_db[talk].max() - _REACH_DB)
    p10, p30, p50, p80, p95 = np.percentile(level[talk], [10, 30, 50, 80, 95])
    yield "level_db", p80
    for name, value in (("p10", p10), ("p30", p30), ("p50", p50), ("p80", p80)):
        yield f"level_{name}_under_p95", p95 - value
    yield "level_spread_voiced", level[voiced].std()
    change = np.diff(level) / hop_s
    inside = talk[1:] & talk[:-1]
    yield "level_rise", np.maximum(change, 0)[inside].mean()
    yield "level_fastest_rise", np.percentile(change[inside], 95)
    yield "level_fastest_fall", np.percentile(change[inside], 5)
    yield from _thirds("level", level[voiced])
    yield "syllable_rate_hz", track.measures.get("syllable_rate_hz", np.nan)
    yield "pause_ratio", track.measures.get("pause_ratio", np.nan)
    yield from _modulation(level[talk], hop_s)


def _modulation(level: Floats, hop_s: float) -> Iterator[tuple[str, float]]:
    """Share of the level's movement in each octave of rhythm from 1 to 16 Hz, in log10."""
    power = np.abs(np.fft.rfft((level - level.mean()) * np.hanning(len(level)))) ** 2
    hz = np.fft.rfftfreq(len(level), hop_s)
    whole = power[(hz >= _MODULATION_HZ[0]) & (hz < _MODULATION_HZ[-1])].sum()
    for low, high in pairwise(_MODULATION_HZ):
        share = power[(hz >= low) & (hz < high)].sum() / max(float(whole), 1e-9)
        yield f"modulation_{low:g}_{high:g}_hz", np.log10(share + 1e-3)


# ---------------------------------------------------------------- spectrum


def _spectrum(bands: Floats, voiced: Mask, talk: Mask, level: Floats) -> Iterator[tuple[str, float]]:
    cepstra = bands @ cosines(bands.shape[1], _N_CEPSTRA).T
    moving = slopes(cepstra)[voiced]
    held = cepstra[voiced]
    for name, values in (("mean", held.mean(0)), ("spread", held.std(0)), ("movement", moving.std(0))):
        yield from ((f"cepstrum_{i + 1}_{name}", v) for i, v in enumerate(values))
    grouped = np.stack([part.mean(1) for part in np.array_split(bands, _N_GROUPS, axis=1)], axis=1)
    loud = voiced & (level >= np.percentile(level[voiced], 70))
    soft = voiced & (level <= np.percentile(level[voiced], 30))
    gain = grouped[loud].mean(0) - grouped[soft].mean(0)
    tilt = grouped[loud].mean(0) - grouped[loud].mean()
    for name, values in (("gain", gain), ("tilt", tilt), ("spread", grouped[voiced].std(0))):
        yield from ((f"band_{i + 1}_{name}", v) for i, v in enumerate(values))
    balance = grouped[:, 3:].mean(1) - grouped[:, :3].mean(1)
    yield "balance_spread", balance[voiced].std()
    yield "balance_with_level", _correlation(balance[voiced], level[voiced])
    yield from _thirds("balance", balance[voiced])
    unvoiced = talk & ~voiced
    yield "unvoiced_balance", (balance[unvoiced].mean() - balance[voiced].mean()) if unvoiced.sum() >= 10 else 0.0
    flux = np.sqrt((np.diff(bands, axis=0) ** 2).mean(1))
    yield "flux", flux[voiced[1:]].mean()


# ---------------------------------------------------------------- loudness as it is heard


def _hearing(bands: Floats, held: Mask, talk: Mask, hop_s: float) -> Iterator[tuple[str, float]]:
    """Loudness grows with the 0.3th power of sound power in each band (Zwicker & Fastl 1999), unlike the level."""
    specific = 10 ** (_ZWICKER * bands / 10)
    loudness = np.convolve(specific.sum(1), np.ones(_SMOOTH) / _SMOOTH, "same")
    heard = loudness[talk]
    low, middle, high = np.percentile(heard, [20, 50, 80])
    mean = float(heard.mean())
    for name, value in (("p20", low), ("p50", middle), ("p80", high), ("mean", mean), ("ratio", high / low)):
        yield f"loudness_{name}", np.log(value)
    yield "loudness_spread", heard.std() / mean
    change = np.diff(loudness / mean)[talk[1:] & talk[:-1]] / hop_s
    for name, part in (("rise", change[change > 0]), ("fall", -change[change < 0])):
        yield f"loudness_{name}", part.mean() if len(part) else 0.0
        yield f"loudness_{name}_spread", part.std() if len(part) else 0.0
    yield "loudness_peaks_hz", _count_peaks(loudness, talk) / (talk.sum() * hop_s)
    share = specific[held] / specific[held].sum(1, keepdims=True)
    grouped = np.stack([part.mean(1) for part in np.array_split(share, _N_SHARES, axis=1)], axis=1)
    for name, values in (("share", grouped.mean(0)), ("share_spread", grouped.std(0))):
        yield from ((f"loudness_{i + 1}_{name}", v) for i, v in enumerate(values))
    flux = np.sqrt((np.diff(specific, axis=0) ** 2).sum(1)) / mean
    unvoiced = (talk & ~held)[1:]
    yield "loudness_flux", flux[held[1:]].mean()
    yield "loudness_flux_spread", flux[held[1:]].std()
    yield "loudness_flux_unvoiced", flux[unvoiced].mean() if unvoiced.sum() >= 10 else 0.0


def _count_peaks(loudness: Floats, talk: Mask) -> int:
    from scipy.signal import find_peaks

    peaks, _ = find_peaks(loudness, prominence=_PEAK_SHARE * loudness[talk].max())
    return int(talk[peaks].sum())


def _names() -> Iterator[tuple[str, str]]:
    """Name and family of each number, from a made-up track: the code above is the only list."""
    n = 3 * _LEAST_VOICED
    track = VoiceTrack(
        times_s=np.arange(n) * 0.01,
        f0_hz=np.full(n, 200.0, np.float32),
        level_db=np.full(n, -20.0, np.float32),
        speech=(),
        measures={},
        z={},
        windows=(),
        baseline={},
        baseline_kind="population",
        reader="",
    )
    every, bands = np.ones(n, bool), np.zeros((n, 2 * _N_GROUPS), np.float32)
    yield from ((name, "melody") for name, _ in _melody(track, every, every, 0.01))
    yield from ((name, "loudness") for name, _ in _loudness(track, every, every, 0.01))
    yield from ((name, "spectrum") for name, _ in _spectrum(bands, every, every, track.level_db))
    yield from ((name, "hearing") for name, _ in _hearing(bands, every, every, 0.01))
    yield from ((name, "quality") for name in _QUALITY)
    yield from ((name, "coupling") for name in COUPLINGS)


FAMILIES: dict[str, str] = dict(_names())
"""Family of every number by its name, in order."""
NAMES: tuple[str, ...] = tuple(FAMILIES)
NAMES_SHA256 = hashlib.sha256("\n".join(NAMES).encode()).hexdigest()
"""What a card says of the numbers that its head was fitted on: with other names, or in another order, it is refused."""
