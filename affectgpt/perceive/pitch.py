"""Pitch by pYIN, every 10 ms, computed for all frames at once.

The method is Mauch & Dixon 2014 (ICASSP, "pYIN: a fundamental frequency estimator using probabilistic threshold
distributions") on de Cheveigné & Kawahara 2002 (JASA 111:1917), with the constants and the conventions of
`librosa.pyin` 0.11 (ISC licence), which a test holds it equal to. It exists because librosa compiles for half a minute
on a fresh machine and for some seconds in every process, and decodes with a dense transition matrix; the matrix is a
narrow band, and one numpy operation a frame decodes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.vad import RATE_HZ

__all__ = ["CEILING_HZ", "FLOOR_HZ", "repair_octaves", "stretches", "track_pitch"]

Floats = NDArray[np.float32]

FLOOR_HZ = 60.0
CEILING_HZ = 600.0
"""Voices reach from creaky male speech (60 Hz) to screams (600 Hz)."""
_HOP = 160
_WINDOW = 1024
_BINS_PER_SEMITONE = 5
_N_BINS = int(12 * _BINS_PER_SEMITONE * np.log2(CEILING_HZ / FLOOR_HZ)) + 1
_MIN_PERIOD = int(RATE_HZ // CEILING_HZ)
_MAX_PERIOD = int(np.ceil(RATE_HZ / FLOOR_HZ))
# librosa.pyin's defaults: thresholds ~ Beta(2, 18), troughs ~ Boltzmann(2), 35.92 octaves/s, .01 to switch voicing,
# .01 for a frame without a trough under the threshold.
_N_THRESHOLDS = 100
_BETA = (2.0, 18.0)
_BOLTZMANN = 2.0
_OCTAVES_PER_S = 35.92
_SWITCH = 0.01
_NO_TROUGH = 0.01


def track_pitch(samples: Floats, speech: NDArray[np.bool_]) -> Floats:
    """F0 in Hz (T,) every 10 ms, NaN where unvoiced or where `speech` (T,) is False; `samples` (N,) at 16 kHz."""
    f0_hz = np.full(len(speech), np.nan, np.float32)
    where = np.flatnonzero(speech)
    if not len(where) or not np.any(samples):
        return f0_hz
    observed, candidates_hz = _observe(_difference(_frames(samples, where)))
    at = 0
    for start, stop in stretches(speech):
        part = slice(at, at + stop - start)
        f0_hz[start:stop] = _decode(observed[part], candidates_hz[part])
        at = part.stop
    return f0_hz


def stretches(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def repair_octaves(f0_hz: Floats) -> Floats:
    """F0 (T,) with jumps of an octave folded back and values that no speaker reaches removed.

    A frame within 10 % of twice or half the median of the voiced frames within 0.15 s around it is folded. Then what
    lies outside [0.75 * lower quartile, 2.5 * upper quartile] is unvoiced: the bounds of De Looze & Hirst 2008 for
    the pitch range of a speaker, the upper one widened for expressive speech as Hirst 2011 recommends.
    """
    voiced = np.flatnonzero(np.isfinite(f0_hz))
    if len(voiced) < 10:
        return f0_hz.copy()
    padded = np.pad(f0_hz, 15, constant_values=np.nan)
    around = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 31)[voiced], axis=1)
    values = f0_hz[voiced].copy()
    values[np.abs(values / around - 2.0) < 0.2] /= 2
    values[np.abs(values / around - 0.5) < 0.05] *= 2
    low, high = np.percentile(values, [25, 75])
    values[(values < 0.75 * low) | (values > 2.5 * high)] = np.nan
    repaired = f0_hz.copy()
    repaired[voiced] = values
    return repaired


def _frames(samples: Floats, where: NDArray[np.intp]) -> Floats:
    reach = int(where[-1]) * _HOP + _WINDOW
    padded = np.zeros(reach, np.float32)
    kept = samples[: reach - _WINDOW // 2]
    padded[_WINDOW // 2 : _WINDOW // 2 + len(kept)] = kept
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[where * _HOP], np.float32)


def _difference(frames: Floats) -> Floats:
    """The cumulative mean normalised difference (F, lags) at lags _MIN_PERIOD.._MAX_PERIOD (YIN's equation 8)."""
    from scipy.fft import irfft, rfft

    power = np.abs(rfft(frames, 2 * _WINDOW, axis=1)) ** 2
    correlation = irfft(power, axis=1)[:, : _MAX_PERIOD + 1]
    energy = np.cumsum(frames[:, :_MAX_PERIOD] ** 2, axis=1)
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - energy
    mean = np.cumsum(difference, axis=1) / np.arange(1, _MAX_PERIOD + 1)
    tiny = np.finfo(np.float32).tiny
    return np.asarray(difference[:, _MIN_PERIOD - 1 :] / (mean[:, _MIN_PERIOD - 1 :] + tiny), np.float32)


def _observe(difference: Floats) -> tuple[NDArray[np.float64], Floats]:
    """Probability of each pitch bin (F, bins), and the exact candidate in Hz behind it (F, bins)."""
    frame, lag = np.nonzero(_troughs(difference))
    observed = np.zeros((len(difference), _N_BINS))
    candidates_hz = np.full((len(difference), _N_BINS), np.nan, np.float32)
    if not len(frame):
        return observed, candidates_hz
    probability = _trough_probabilities(difference[frame, lag], frame, len(difference))
    hz = RATE_HZ / (_MIN_PERIOD + lag + _parabolic_shift(difference, frame, lag))
    bins = np.clip(np.rint(12 * _BINS_PER_SEMITONE * np.log2(hz / FLOOR_HZ)), 0, _N_BINS).astype(int)
    kept = (probability > 0) & (bins < _N_BINS)
    observed[frame[kept], bins[kept]] = probability[kept]
    candidates_hz[frame[kept], bins[kept]] = hz[kept]
    return observed, candidates_hz


def _troughs(curves: Floats) -> NDArray[np.bool_]:
    low = np.zeros(curves.shape, bool)
    low[:, 1:-1] = (curves[:, 1:-1] < curves[:, :-2]) & (curves[:, 1:-1] <= curves[:, 2:])
    low[:, 0] = curves[:, 0] < curves[:, 1]
    low[:, -1] = curves[:, -1] < curves[:, -2]
    return low


def _trough_probabilities(heights: Floats, frame: NDArray[np.intp], n_frames: int) -> NDArray[np.float64]:
    """Probability (troughs,) that a trough is the period: the prior over thresholds, shared among the troughs below."""
    thresholds, weights = _threshold_prior()
    below = heights[:, None] < thresholds
    counts = np.cumsum(below, axis=0, dtype=np.int32)
    first = np.flatnonzero(np.diff(frame, prepend=-1))
    last = np.append(first[1:], len(frame)) - 1
    owner = np.repeat(np.arange(len(first)), last - first + 1)
    base = counts[first] - below[first]
    position = counts - base[owner] - 1
    total = (counts[last] - base)[owner]
    # Boltzmann's distribution truncated to the troughs present; shorter periods weigh more.
    share = np.where(below, np.exp(-_BOLTZMANN * np.maximum(position, 0)), 0.0)
    norm = (1 - np.exp(-_BOLTZMANN)) / (1 - np.exp(-_BOLTZMANN * np.maximum(total, 1)))
    probability = (share * norm) @ weights
    lowest = np.minimum.reduceat(heights, first)
    is_lowest = np.flatnonzero(heights == lowest[owner])
    deepest = is_lowest[np.unique(owner[is_lowest], return_index=True)[1]]
    probability[deepest] += _NO_TROUGH * (~below[deepest] @ weights)
    return np.asarray(probability, np.float64)


@cache
def _threshold_prior() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.special import betainc

    edges = np.linspace(0, 1, _N_THRESHOLDS + 1)
    return edges[1:], np.diff(betainc(*_BETA, edges))


def _parabolic_shift(curves: Floats, frame: NDArray[np.intp], lag: NDArray[np.intp]) -> Floats:
    """Where between lags the trough lies, in [-1, 1]; 0 at the ends."""
    inner = (lag > 0) & (lag < curves.shape[1] - 1)
    at = np.clip(lag, 1, curves.shape[1] - 2)
    before, centre, after = curves[frame, at - 1], curves[frame, at], curves[frame, at + 1]
    bend, tilt = after + before - 2 * centre, (after - before) / 2
    usable = inner & (np.abs(tilt) < np.abs(bend))
    return np.asarray(np.where(usable, -tilt / np.where(usable, bend, 1.0), 0.0), np.float32)


@cache
def _band() -> tuple[NDArray[np.float64], int]:
    """Log transition probabilities (bins, 2h + 1) into each bin from the bins around it, and h."""
    semitones = round(_OCTAVES_PER_S * 12 * _HOP / RATE_HZ)
    half = semitones * _BINS_PER_SEMITONE // 2
    width = semitones * _BINS_PER_SEMITONE + 1
    triangle = 1 - np.abs(np.arange(width) - (width - 1) / 2) / ((width + 1) / 2 if width % 2 else width / 2)
    offsets = np.arange(width) - width // 2
    target = np.arange(_N_BINS)[:, None] + offsets
    rows = np.where((target >= 0) & (target < _N_BINS), triangle, 0.0)
    rows /= rows.sum(axis=1, keepdims=True)
    # rows[i, o] goes from i to i + offset; what arrives in j from j + offset is rows[j + offset, -offset].
    source = np.arange(_N_BINS)[:, None] + np.arange(-half, half + 1)
    inside = (source >= 0) & (source < _N_BINS)
    column = np.broadcast_to(2 * (width // 2) - (np.arange(-half, half + 1) + width // 2), source.shape)
    arriving = np.where(inside, rows[np.clip(source, 0, _N_BINS - 1), column], 0.0)
    return np.log(arriving + np.finfo(np.float64).tiny), half


def _decode(observed: NDArray[np.float64], candidates_hz: Floats) -> Floats:
    """The most probable path through voiced and unvoiced pitch bins; F0 (F,), NaN where unvoiced."""
    band, half = _band()
    n = len(observed)
    tiny = np.finfo(np.float64).tiny
    voiced = np.log(observed + tiny)
    unvoiced = np.log((1 - np.clip(observed.sum(axis=1), 0, 1)) / _N_BINS + tiny)
    stay, switch = np.log(1 - _SWITCH), np.log(_SWITCH)
    padded = np.full((2, _N_BINS + 2 * half), -np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
    score = np.stack([voiced[0], np.full(_N_BINS, unvoiced[0])]) - np.log(2 * _N_BINS)
    came_from = np.zeros((n, 2, _N_BINS), np.int32)
    rows, bins = np.arange(2)[:, None], np.arange(_N_BINS)
    for t in range(1, n):
        padded[:, half : half + _N_BINS] = score
        arriving = views + band
        step = arriving.argmax(axis=2)
        best = arriving[rows, bins, step]
        crossed = best[::-1] + switch > best + stay
        source = np.where(crossed, 1 - rows, rows)
        came_from[t] = source * _N_BINS + bins + step[source, bins] - half
        score = best[source, bins] + np.where(crossed, switch, stay)
        score[0] += voiced[t]
        score[1] += unvoiced[t]
    return _walk_back(came_from, int(score.argmax()), candidates_hz)


def _walk_back(came_from: NDArray[np.int32], state: int, candidates_hz: Floats) -> Floats:
    flat = came_from.reshape(len(came_from), -1)
    f0_hz = np.full(len(flat), np.nan, np.float32)
    for t in range(len(flat) - 1, -1, -1):
        if state < _N_BINS:
            exact = candidates_hz[t, state]
            f0_hz[t] = exact if np.isfinite(exact) else FLOOR_HZ * 2 ** (state / (12 * _BINS_PER_SEMITONE))
        state = int(flat[t, state])
    return f0_hz
