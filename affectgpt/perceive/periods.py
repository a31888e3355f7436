"""Glottal periods one by one, for jitter and shimmer.

The walk follows Praat's "To PointProcess (cc)" (Boersma & Weenink): from the loudest point of a voiced stretch, each
next period is where the waveform repeats itself best. Which pairs of periods count follows Praat's defaults for jitter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.pitch import stretches
from affectgpt.perceive.vad import RATE_HZ

__all__ = ["find_periods"]

Floats = NDArray[np.float32]

_HOP = 160
_MIN_FRAMES = 3
_SEARCH = (0.8, 1.25)
"""Praat looks for the next pulse between 0.8 and 1.25 periods away."""
_MIN_CORRELATION = 0.7
"""Praat stops a walk where the waveform no longer repeats itself this well."""
_MAX_PERIOD_FACTOR = 1.3
_MAX_AMPLITUDE_FACTOR = 1.6
"""Pairs that differ by more are voice breaks, not perturbation (Praat's defaults)."""


def find_periods(samples: Floats, f0_hz: Floats) -> tuple[Floats, Floats]:
    """Jitter and shimmer (T,): relative change of length and of amplitude from one period to the next, NaN where none.

    `samples` (N,) at 16 kHz, `f0_hz` (T,) every 10 ms. Averaged over frames these are "local" jitter and shimmer.
    """
    jitter = np.full(len(f0_hz), np.nan, np.float32)
    shimmer = jitter.copy()
    for start, stop in stretches(np.isfinite(f0_hz)):
        if stop - start >= _MIN_FRAMES:
            marks = _walk(samples, f0_hz, start, stop)
            if len(marks) >= 4:
                _spread(marks, samples, jitter, shimmer)
    return jitter, shimmer


def _walk(samples: Floats, f0_hz: Floats, start: int, stop: int) -> NDArray[np.float64]:
    """Times of the pulses, in samples, of the voiced frames [start, stop)."""
    low, high = start * _HOP, min((stop - 1) * _HOP, len(samples) - 1)
    middle = (low + high) // 2
    period = RATE_HZ / float(f0_hz[(start + stop) // 2])
    around = slice(max(middle - int(period / 2), 0), middle + int(period / 2) + 1)
    origin = around.start + int(np.abs(samples[around]).argmax())
    marks = [float(origin)]
    for direction in (1, -1):
        at = float(origin)
        found: list[float] = []
        while (step := _next_mark(samples, at, f0_hz, direction)) is not None and low <= step <= high:
            found.append(step)
            at = step
        marks = marks + found if direction == 1 else found[::-1] + marks
    return np.array(marks)


def _next_mark(samples: Floats, at: float, f0_hz: Floats, direction: int) -> float | None:
    frame = min(max(round(at / _HOP), 0), len(f0_hz) - 1)
    f0 = float(f0_hz[frame])
    if not np.isfinite(f0):
        return None
    period = RATE_HZ / f0
    half = int(period / 2)
    centre = round(at)
    shortest, longest = int(_SEARCH[0] * period), int(np.ceil(_SEARCH[1] * period))
    if direction > 0:
        first, last = centre + shortest - half, centre + longest + half + 1
    else:
        first, last = centre - longest - half, centre - shortest + half + 1
    if min(first, centre - half) < 0 or max(last, centre + half + 1) > len(samples):
        return None
    template = samples[centre - half : centre + half + 1]
    windows = np.lib.stride_tricks.sliding_window_view(samples[first:last], len(template))
    energy = np.einsum("ij,ij->i", windows, windows) * float(template @ template)
    match = windows @ template / np.sqrt(energy + 1e-12)
    best = int(match.argmax())
    if match[best] < _MIN_CORRELATION:
        return None
    # The grid is round(at); the fraction of `at` is carried over, or the rounding would count as jitter.
    return first + half + best + _peak_shift(match, best) + (at - centre)


def _peak_shift(match: Floats, best: int) -> float:
    if not 0 < best < len(match) - 1:
        return 0.0
    before, centre, after = float(match[best - 1]), float(match[best]), float(match[best + 1])
    bend = before - 2 * centre + after
    return 0.5 * (before - after) / bend if bend < -1e-9 else 0.0


def _spread(marks: NDArray[np.float64], samples: Floats, jitter: Floats, shimmer: Floats) -> None:
    """Write the change at each pulse to its frame; a frame with several keeps their mean."""
    periods = np.diff(marks)
    amplitudes = _amplitudes(marks, samples)
    middle = marks[1:-1]
    ratio = periods[1:] / periods[:-1]
    steady = np.maximum(ratio, 1 / ratio) <= _MAX_PERIOD_FACTOR
    change = np.abs(np.diff(periods)) / ((periods[1:] + periods[:-1]) / 2)
    _write(jitter, middle[steady], change[steady])
    pair = amplitudes[2:] / np.maximum(amplitudes[1:-1], 1e-9)
    level = np.maximum(pair, 1 / np.maximum(pair, 1e-9)) <= _MAX_AMPLITUDE_FACTOR
    swing = np.abs(amplitudes[2:] - amplitudes[1:-1]) / np.maximum((amplitudes[2:] + amplitudes[1:-1]) / 2, 1e-9)
    _write(shimmer, middle[steady & level], swing[steady & level])


def _amplitudes(marks: NDArray[np.float64], samples: Floats) -> NDArray[np.float64]:
    """RMS under a Hann window of 0.4 periods on each pulse, as Praat measures a period's amplitude."""
    reach = max(round(0.2 * float(np.median(np.diff(marks)))), 1)
    window = np.hanning(2 * reach + 3)[1:-1]
    at = np.rint(marks).astype(int)[:, None] + np.arange(-reach, reach + 1)
    values = samples[np.clip(at, 0, len(samples) - 1)].astype(np.float64)
    return np.asarray(np.sqrt((values**2 * window).sum(axis=1) / window.sum()))


def _write(contour: Floats, marks: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    frames = np.clip(np.rint(marks / _HOP).astype(int), 0, len(contour) - 1)
    total = np.bincount(frames, values, minlength=len(contour))
    count = np.bincount(frames, minlength=len(contour))
    contour[count > 0] = (total[count > 0] / count[count > 0]).astype(np.float32)
