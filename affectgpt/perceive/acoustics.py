"""What is measured every 10 ms: level, spectral balance, harmonicity and the steadiness of the glottal periods.

Definitions follow the Geneva Minimalistic Acoustic Parameter Set (Eyben et al. 2016, IEEE Transactions on Affective
Computing 7:190); harmonicity follows Boersma 1993 (Proceedings of the Institute of Phonetic Sciences 17:97).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.periods import find_periods
from affectgpt.perceive.pitch import track_pitch
from affectgpt.perceive.vad import RATE_HZ

__all__ = [
    "FLOOR_DB",
    "HOP_S",
    "HOP_SAMPLES",
    "N_BANDS",
    "ContourMeter",
    "Contours",
    "LibrosaMeter",
    "frame_level_db",
    "mel_filters",
    "n_frames",
]

Floats = NDArray[np.float32]

HOP_SAMPLES = 160
HOP_S = HOP_SAMPLES / RATE_HZ
FLOOR_DB = -100.0
"""The level given to digital silence, under the noise floor of 16-bit sound (-96 dBFS)."""

_WINDOW = 512
"""32 ms at 16 kHz."""
_HARMONICITY_WINDOW = 1024
"""64 ms: four periods at 60 Hz, near the 4.5 of Boersma 1993."""
_EPSILON = 10 ** (FLOOR_DB / 10)
N_BANDS = 24
_MEL_SPAN_HZ = (60.0, 7600.0)
_SILENCE_DB = -85.0
"""Under the dither of 16-bit sound no voice is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """Measures (T,) float32 every 10 ms, frame t centred on t * 10 ms; NaN where a measure does not exist.

    level_db RMS over 32 ms in dB re full scale, never under -100 · sonorant_db the same between 200 and 3000 Hz, where
    vowels stand out · f0_hz · hnr_db · jitter and shimmer: relative change from one glottal period to the next, of
    length and of amplitude, as ratios · alpha_db energy at 1–5 kHz over 50–1000 Hz · slope_db_khz of the spectrum at
    500–1500 Hz · bands_db (T, 24) float16, the level of each mel band between 60 and 7600 Hz (`mel_filters`).
    """

    level_db: Floats
    sonorant_db: Floats
    f0_hz: Floats
    hnr_db: Floats
    jitter: Floats
    shimmer: Floats
    alpha_db: Floats
    slope_db_khz: Floats
    bands_db: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.level_db)

    def __getitem__(self, part: slice) -> Contours:
        return Contours(**{f.name: getattr(self, f.name)[part] for f in fields(self)})

    @classmethod
    def join(cls, parts: list[Contours]) -> Contours:
        """Contours one after another; of no parts, contours of no frames."""
        names = [f.name for f in fields(cls)]
        none = cls(**dict.fromkeys(names[:-1], np.zeros(0, np.float32)), bands_db=np.zeros((0, N_BANDS), np.float16))
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts or [none]]) for n in names})


class ContourMeter(Protocol):
    """Measures a stretch of sound."""

    name: str

    def measure(self, samples: Floats, speech: NDArray[np.bool_]) -> Contours:
        """Contours (T,) of `samples` (N,) at 16 kHz; `speech` (T,) is True where pitch is worth looking for."""


class LibrosaMeter:
    """The default meter: librosa's pYIN for pitch (see `pitch`), the definitions above for the rest."""

    name = "librosa"

    def measure(self, samples: Floats, speech: NDArray[np.bool_]) -> Contours:
        """See `ContourMeter.measure`."""
        level_db = frame_level_db(samples)
        # In digital silence every lag fits, and pYIN then calls the longest one a pitch.
        f0_hz = track_pitch(samples, speech & (level_db > _SILENCE_DB))
        power = _power_spectra(samples, _WINDOW)
        low, high = _band(power, 50, 1000), _band(power, 1000, 5000)
        jitter, shimmer = find_periods(samples, f0_hz)
        return Contours(
            level_db=level_db,
            sonorant_db=_decibels(_band(power, 200, 3000)),
            f0_hz=f0_hz,
            hnr_db=_harmonicity_db(samples, f0_hz),
            jitter=jitter,
            shimmer=shimmer,
            alpha_db=_decibels(high) - _decibels(low),
            slope_db_khz=_slope_db_khz(power),
            bands_db=_decibels(power @ mel_filters().T).astype(np.float16),
        )


def n_frames(n_samples: int) -> int:
    """Number of 10-ms frames in `n_samples` at 16 kHz: every frame's centre lies in the sound."""
    return -(-n_samples // HOP_SAMPLES)


def frame_level_db(samples: Floats) -> Floats:
    """RMS level (T,) over 32 ms in dB re full scale."""
    frames = _frames(samples, _WINDOW)
    return _decibels(np.einsum("tn,tn->t", frames, frames) / _WINDOW)


def _frames(samples: Floats, width: int) -> Floats:
    """(T, width) windows centred on each frame, zeros beyond the ends."""
    count = n_frames(len(samples))
    padded = np.zeros((count - 1) * HOP_SAMPLES + width if count else width, np.float32)
    padded[width // 2 : width // 2 + len(samples)] = samples[: len(padded) - width // 2]
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::HOP_SAMPLES][:count]


def _power_spectra(samples: Floats, width: int) -> Floats:
    """Power (T, width/2 + 1), scaled so that the sum over bins is the mean square of the windowed sound."""
    from scipy.fft import rfft

    window = np.hanning(width + 1)[:-1].astype(np.float32)
    spectra = rfft(_frames(samples, width) * window, axis=1)
    power = np.asarray(spectra.real**2 + spectra.imag**2, np.float32)
    power[:, 1:-1] *= 2
    return power / np.float32(width * np.sum(window**2))


def _band(power: Floats, low_hz: float, high_hz: float) -> Floats:
    hz = np.arange(power.shape[1]) * RATE_HZ / (2 * (power.shape[1] - 1))
    return np.asarray(power[:, (hz >= low_hz) & (hz < high_hz)].sum(axis=1), np.float32)


@cache
def mel_filters() -> Floats:
    """(24, 257) triangles of one height, equally far apart on O'Shaughnessy's mel scale of 1987, 2595 log10(1 + f/700).

    Each reaches from the centre of the one below to that of the one above; the sound they leave out is rumble and what
    the 16-kHz converter has already bent down.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in _MEL_SPAN_HZ)
    corners = 700 * (10 ** (np.linspace(low, high, N_BANDS + 2) / 2595) - 1)
    hz = np.arange(_WINDOW // 2 + 1) * RATE_HZ / _WINDOW
    rising = (hz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hz) / np.diff(corners)[1:, None]
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None), np.float32)


def _decibels(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(power + _EPSILON), np.float32)


def _slope_db_khz(power: Floats) -> Floats:
    """Slope of the regression line through the power spectrum in dB, 500–1500 Hz (eGeMAPS slopeV500-1500)."""
    hz = np.arange(power.shape[1]) * RATE_HZ / (2 * (power.shape[1] - 1))
    inside = (hz >= 500) & (hz <= 1500)
    centred = (hz[inside] - hz[inside].mean()) / 1000
    return np.asarray(_decibels(power[:, inside]) @ centred / np.sum(centred**2), np.float32)


def _harmonicity_db(samples: Floats, f0_hz: Floats) -> Floats:
    """Harmonics-to-noise ratio from the autocorrelation at the pitch period, the window's own divided out."""
    from scipy.fft import irfft, rfft

    hnr_db = np.full(len(f0_hz), np.nan, np.float32)
    voiced = np.flatnonzero(np.isfinite(f0_hz))
    if not len(voiced):
        return hnr_db
    window = np.hanning(_HARMONICITY_WINDOW).astype(np.float32)
    frames = _frames(samples, _HARMONICITY_WINDOW)[voiced]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    n_fft = 2 * _HARMONICITY_WINDOW
    own = irfft(np.abs(rfft(window, n_fft)) ** 2)
    lagged = irfft(np.abs(rfft(frames, n_fft, axis=1)) ** 2, axis=1)
    ratio = lagged[:, : n_fft // 2] / np.maximum(lagged[:, :1], 1e-12) * (own[0] / np.maximum(own[: n_fft // 2], 1e-9))
    best = _peak_near(ratio, RATE_HZ / f0_hz[voiced])
    best = np.clip(best, 1e-3, 1 - 1e-5)
    hnr_db[voiced] = 10 * np.log10(best / (1 - best))
    return hnr_db


def _peak_near(curves: Floats, lags: Floats) -> Floats:
    """Highest value of each curve (V, L) within 10 % of its lag (V,), refined by a parabola."""
    offsets = np.linspace(0.9, 1.1, 41)
    where = np.clip(np.rint(lags[:, None] * offsets), 1, curves.shape[1] - 2).astype(int)
    rows = np.arange(len(curves))
    centre = where[rows, np.take_along_axis(curves, where, axis=1).argmax(axis=1)]
    before, at, after = curves[rows, centre - 1], curves[rows, centre], curves[rows, centre + 1]
    bend = before - 2 * at + after
    gain = np.where(bend < -1e-9, (before - after) ** 2 / np.maximum(-8 * bend, 1e-9), 0.0)
    return np.asarray(at + np.clip(gain, 0.0, 0.05), np.float32)
