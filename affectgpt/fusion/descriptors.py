"""Acoustic descriptors of a stretch of sound whose pitch is known: spectral balance, harmonics, formants, perturbation.

The descriptors are those of the extended Geneva set (Eyben et al. 2016, IEEE Transactions on Affective Computing
7:190), at 50 tokens a second. Pitch is the voice track's; jitter and shimmer come from the periods that the caller's
finder walks; formants are looked for as Praat does, because on acted speech openSMILE's follow Praat's only at
a rank correlation of 0.1 to 0.35, and these at 0.88.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.fusion.windows import RATE_HZ

__all__ = ["HOP_SAMPLES", "SPECTRAL", "VOICED", "PeriodFinder", "Stretch", "measure_spectral", "measure_voiced"]

Floats = NDArray[np.float32]

HOP_SAMPLES: Final = 320
"""20 ms: 50 tokens a second."""
SPECTRAL: Final = ("alpha_ratio_db", "hammarberg_index_db", "slope_0_500_db_khz", "slope_500_1500_db_khz")
VOICED: Final = (
    "jitter",
    "shimmer_db",
    "hnr_db",
    "h1_h2_db",
    "h1_a3_db",
    *(f"f{i}_{what}" for i in (1, 2, 3) for what in ("hz", "bandwidth_hz", "amplitude_db")),
)
_EPSILON: Final = 1e-13
"""-130 dB re full scale: the noise of 16-bit sound, -98 dB, spread over the bins of a spectrum, is above it."""
_FORMANT_RATE_HZ: Final = 11_000
_LPC_ORDER: Final = 10
"""Formants are looked for as Praat does by default: five of them under 5.5 kHz, spectrum lifted above 50 Hz."""
_EMPHASIS_HZ: Final = 50.0
_FORMANT_HZ: Final = (50.0, 5450.0)
_PITCH_HOP: Final = 160
_SHORT: Final = 512
"""32 ms."""
_LONG: Final = 1024
"""64 ms, for harmonics: two periods at 31 Hz (eGeMAPS: 60 ms)."""


class PeriodFinder(Protocol):
    """Finds glottal periods; `affectgpt.perceive.periods.find_periods` is one."""

    def __call__(self, samples: Floats, f0_hz: Floats, /) -> tuple[Floats, Floats]:
        """Jitter and shimmer (P,) as ratios, NaN where none, of sound (N,) at 16 kHz with pitch (P,) every 10 ms."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Sound (N,) at 16 kHz, and its pitch (P,) every 10 ms from its first sample on, NaN where unvoiced."""

    samples: Floats
    f0_hz: Floats

    def centres(self) -> NDArray[np.intp]:
        """The sample (T,) that each token is centred on; every centre lies in the sound."""
        return np.arange(HOP_SAMPLES // 2, len(self.samples), HOP_SAMPLES)

    def pitch(self) -> Floats:
        """F0 in Hz (T,) at the centres."""
        return np.asarray(self.f0_hz[np.minimum(self.centres() // _PITCH_HOP, len(self.f0_hz) - 1)], np.float32)


def measure_spectral(stretch: Stretch) -> Floats:
    """`SPECTRAL` (T, 4) of every token: energy under 1 kHz against above, peak under 2 kHz against above, slopes.

    The ratio is energy at 1–5 kHz over that at 50–1000 Hz, as in a voice track; the index is the highest peak under
    2 kHz over that of 2–5 kHz (Hammarberg et al. 1980); slopes are those of the regression line through the spectrum
    in dB, per kHz.
    """
    power = _power(_frames(stretch, _SHORT), _SHORT)
    hz = np.arange(power.shape[1]) * RATE_HZ / _SHORT
    level = _decibels(power)
    alpha = _decibels(power[:, _within(hz, 1000, 5000)].sum(1)) - _decibels(power[:, _within(hz, 50, 1000)].sum(1))
    hammarberg = level[:, _within(hz, 0, 2000)].max(1) - level[:, _within(hz, 2000, 5000)].max(1)
    slopes = (_slope(level, hz, 0, 500), _slope(level, hz, 500, 1500))
    return np.asarray(np.stack([alpha, hammarberg, *slopes], axis=1), np.float32)


def measure_voiced(stretch: Stretch, find_periods: PeriodFinder) -> Floats:
    """`VOICED` (T, 14), NaN where the token is unvoiced or has no such thing.

    Amplitudes of the first three formants are those of the strongest harmonic near them, H1 is the first harmonic; they
    are told in dB against each other. Jitter and shimmer are means over the token's two 10-ms steps.
    """
    rows = np.full((len(stretch.centres()), len(VOICED)), np.nan, np.float32)
    rows[:, 0], rows[:, 1] = _perturbation(stretch, find_periods)
    f0_hz = stretch.pitch()
    voiced = np.flatnonzero(np.isfinite(f0_hz))
    if len(voiced):
        f0_hz = f0_hz[voiced, None]
        formants_hz, bandwidths_hz = _formants(_frames(stretch, _SHORT)[voiced])
        frames = _frames(stretch, _LONG)[voiced]
        peaks = _Peaks(frames, f0_hz)
        h1 = peaks.near(f0_hz, 0.25)
        amplitudes = np.stack([peaks.near(formants_hz[:, [i]], 0.75) for i in range(3)], axis=1)
        rows[voiced, 2] = _harmonicity_db(frames, f0_hz[:, 0])
        rows[voiced, 3] = h1 - peaks.near(2 * f0_hz, 0.25)
        rows[voiced, 4] = h1 - amplitudes[:, 2]
        rows[voiced, 5::3], rows[voiced, 6::3], rows[voiced, 7::3] = (
            formants_hz,
            bandwidths_hz,
            amplitudes - h1[:, None],
        )
    rows[~np.isfinite(stretch.pitch())] = np.nan
    return rows


def _frames(stretch: Stretch, width: int) -> Floats:
    """(T, width) windows centred on each token, zeros beyond the ends, without their mean."""
    centres = stretch.centres()
    padded = np.pad(stretch.samples, width // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[centres]
    return np.asarray(frames - frames.mean(axis=1, keepdims=True), np.float32)


def _power(frames: Floats, n_fft: int) -> Floats:
    """Power (T, n_fft / 2 + 1), summing to the mean square of the frame under a Hann window."""
    from scipy.fft import rfft

    width = frames.shape[1]
    window = np.hanning(width + 1)[:-1].astype(np.float32)
    spectra = rfft(frames * window, n_fft, axis=1)
    power = np.asarray(spectra.real**2 + spectra.imag**2, np.float32)
    power[:, 1:-1] *= 2
    return np.asarray(power / np.float32(n_fft * np.sum(window**2)), np.float32)


def _decibels(power: NDArray[Any]) -> Floats:
    return np.asarray(10 * np.log10(power + _EPSILON), np.float32)


def _within(hz: NDArray[Any], low_hz: float, high_hz: float) -> NDArray[np.bool_]:
    return np.asarray((hz >= low_hz) & (hz < high_hz))


def _slope(level: Floats, hz: NDArray[Any], low_hz: float, high_hz: float) -> Floats:
    inside = (hz >= low_hz) & (hz <= high_hz)
    centred = (hz[inside] - hz[inside].mean()) / 1000
    return np.asarray(level[:, inside] @ centred / np.sum(centred**2), np.float32)


def _perturbation(stretch: Stretch, find_periods: PeriodFinder) -> tuple[Floats, Floats]:
    jitter, shimmer = find_periods(stretch.samples - stretch.samples.mean(dtype=np.float64), stretch.f0_hz)
    n_tokens = len(stretch.centres())
    told: list[Floats] = []
    for ratio in (jitter, 20 * np.log10(1 + shimmer)):
        pairs = np.full((n_tokens, 2), np.nan, np.float32)
        pairs.reshape(-1)[: min(len(ratio), 2 * n_tokens)] = ratio[: 2 * n_tokens]
        seen = np.isfinite(pairs)
        mean = np.where(seen, pairs, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        told.append(np.where(seen.any(axis=1), mean, np.nan))
    return told[0], told[1]


class _Peaks:
    """The highest level of a harmonic spectrum around a frequency."""

    def __init__(self, frames: Floats, f0_hz: Floats) -> None:
        n_fft = 2 * _LONG
        self._level = _decibels(_power(frames, n_fft))
        self._hz = np.arange(n_fft // 2 + 1, dtype=np.float32) * RATE_HZ / n_fft
        self._f0_hz = f0_hz

    def near(self, hz: Floats, reach: float) -> Floats:
        """Level in dB (V,) of the strongest bin within `reach` times F0 of each `hz` (V, 1); NaN at NaN."""
        inside = np.abs(self._hz - hz) <= reach * self._f0_hz
        highest = np.where(inside, self._level, -np.inf).max(axis=1)
        return np.where(np.isfinite(highest), highest, np.nan).astype(np.float32)


def _harmonicity_db(frames: Floats, f0_hz: Floats) -> Floats:
    """Harmonics against noise (V,) from the autocorrelation one period away (eGeMAPS: HNRdBACF)."""
    from scipy.fft import irfft, rfft

    window = np.hanning(_LONG + 1)[:-1].astype(np.float32)
    own = irfft(np.abs(rfft(window, 2 * _LONG)) ** 2)[:_LONG]
    lagged = irfft(np.abs(rfft(frames * window, 2 * _LONG, axis=1)) ** 2, axis=1)[:, :_LONG]
    ratio = lagged / np.maximum(lagged[:, :1], 1e-12) * (own[0] / np.maximum(own, 1e-9 * own[0]))
    period = RATE_HZ / f0_hz
    # The track's pitch is good to a few per cent: the best lag near its period is taken.
    lags = np.clip(np.rint(period[:, None] * np.linspace(0.95, 1.05, 21)), 1, _LONG - 1).astype(np.intp)
    best = np.clip(np.take_along_axis(ratio, lags, axis=1).max(axis=1), 1e-3, 1 - 1e-5)
    return np.asarray(10 * np.log10(best / (1 - best)), np.float32)


def _formants(frames: Floats) -> tuple[Floats, Floats]:
    """Frequencies and bandwidths (V, 3) in Hz of the lowest three resonances, NaN where there are fewer.

    Roots of the linear predictor of the spectrum under 5.5 kHz: a root at angle w and radius r is a resonance at
    w / (2 pi) of the rate with a bandwidth of -ln(r) / pi of it (Markel & Gray 1976).
    """
    from scipy.fft import irfft

    power = _power(frames, 2 * _SHORT)
    n_bins = 2 * _SHORT * _FORMANT_RATE_HZ // (2 * RATE_HZ) + 1
    turn = 2 * np.pi * np.arange(n_bins) / (2 * _SHORT)
    kept = np.exp(-2 * np.pi * _EMPHASIS_HZ / RATE_HZ)
    lifted = power[:, :n_bins].astype(np.float64) * np.abs(1 - kept * np.exp(-1j * turn)) ** 2
    lags = np.asarray(irfft(lifted, axis=1)[:, : _LPC_ORDER + 1], np.float64)
    predictor = _predict(lags)
    companion = np.zeros((len(frames), _LPC_ORDER, _LPC_ORDER))
    companion[:, 0] = -predictor
    companion[:, np.arange(1, _LPC_ORDER), np.arange(_LPC_ORDER - 1)] = 1
    roots = np.linalg.eigvals(companion)
    hz = np.angle(roots) * _FORMANT_RATE_HZ / (2 * np.pi)
    bandwidth_hz = -np.log(np.maximum(np.abs(roots), 1e-9)) * _FORMANT_RATE_HZ / np.pi
    hz = np.where((hz >= _FORMANT_HZ[0]) & (hz <= _FORMANT_HZ[1]), hz, np.inf)
    lowest = np.argsort(hz, axis=1)[:, :3]
    hz, bandwidth_hz = np.take_along_axis(hz, lowest, axis=1), np.take_along_axis(bandwidth_hz, lowest, axis=1)
    found = np.isfinite(hz)
    return np.where(found, hz, np.nan).astype(np.float32), np.where(found, bandwidth_hz, np.nan).astype(np.float32)


def _predict(lags: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients (V, p) of the linear predictor 1 + a1 z^-1 + ... by Levinson's recursion over autocorrelations."""
    n, order = len(lags), lags.shape[1] - 1
    coefficients = np.zeros((n, order + 1))
    coefficients[:, 0] = 1
    # A trace of white noise keeps the recursion stable on a pure tone (1e-9 is 90 dB down).
    error = lags[:, 0] * (1 + 1e-9) + 1e-30
    for i in range(1, order + 1):
        reflection = -np.einsum("vk,vk->v", coefficients[:, :i], lags[:, i:0:-1]) / error
        coefficients[:, : i + 1] += reflection[:, None] * coefficients[:, i::-1]
        error = error * np.maximum(1 - reflection**2, 1e-12)
    return coefficients[:, 1:]
