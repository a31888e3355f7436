"""How a voice's loudness, colour and melody move together: the covariances of its frames, laid out flat.

A mean and a spread of each contour say nothing of what rises with what. The covariance of a clip's frames does; its
matrix logarithm (Arsigny et al. 2006, log-Euclidean metrics, Magnetic Resonance in Medicine 56:411) makes of it numbers
that may be added and averaged. Five views of the same frames: fast movement (with first and second slopes) and slow
(with changes over 50 to 400 ms), each in dB, where a gain is a constant and so leaves no trace, and as loudness over
the clip's mean loudness, where what is soft counts little; and the melody with the level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUPLINGS", "Frames", "cosines", "couplings", "slopes"]

Floats = NDArray[np.float32]

_FAST_CEPSTRA = 6
"""Colour in six numbers: the finer ones tell vowels and throats apart more than feelings."""
_SLOW_CEPSTRA = 3
_LAGS = (5, 10, 20, 40)
"""Frames of 10 ms over which slow change is taken."""
_VOICING = 10.0
"""Being voiced counts as much as 10 dB."""
_LEAST = {"db": 0.05, "loudness": 0.01}
"""Variance added to each direction, of the order of a frame's rounding: no logarithm of nothing."""
_ZWICKER_PER_DB = 0.03
"""Loudness grows as intensity to the power of 0.3 (Zwicker & Fastl 1999), so by this power of ten a dB."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Contours of T frames.

    level_db (T,) · limited_db (T, M) mel bands without the noise floor · bands_db (T, M) as heard · semitones (T,) NaN
    where unvoiced, or throughout where no melody can be told · talk (T,) which frames count.
    """

    level_db: Floats
    limited_db: Floats
    bands_db: Floats
    semitones: Floats
    talk: NDArray[np.bool_]


def couplings(frames: Frames) -> Iterator[float]:
    """The numbers in the order of `COUPLINGS`; NaN for those with a melody that cannot be told."""
    heard = 10 ** (_ZWICKER_PER_DB * frames.bands_db)
    heard = heard / heard[frames.talk].mean()
    colours = {"db": (frames.level_db, frames.limited_db), "loudness": (2 * heard.mean(1), heard)}
    for unit, (whole, bands) in colours.items():
        yield from _flat_log(_fast(_coloured(whole, bands, _FAST_CEPSTRA))[frames.talk], _LEAST[unit])
    for unit, (whole, bands) in colours.items():
        yield from _flat_log(_slow(_coloured(whole, bands, _SLOW_CEPSTRA))[frames.talk], _LEAST[unit])
    voiced = np.flatnonzero(np.isfinite(frames.semitones))
    if not len(voiced):
        yield from np.full(_n_flat(3 * (3 + _SLOW_CEPSTRA)), np.nan)
        return
    line = np.interp(np.arange(len(frames.semitones)), voiced, frames.semitones[voiced])
    sung = _coloured(frames.level_db, frames.limited_db, _SLOW_CEPSTRA)
    sung = np.column_stack([sung, line, _VOICING * np.isfinite(frames.semitones)])
    yield from _flat_log(_fast(sung)[frames.talk], _LEAST["db"])


def _coloured(whole: Floats, bands: Floats, n_cepstra: int) -> Floats:
    return np.column_stack([whole, bands @ cosines(bands.shape[1], n_cepstra).T])


def _fast(rows: Floats) -> Floats:
    first = slopes(rows)
    return np.column_stack([rows, first, slopes(first)])


def _slow(rows: Floats) -> Floats:
    last = len(rows) - 1
    return np.column_stack([rows, *(rows[np.minimum(np.arange(last + 1) + k, last)] - rows for k in _LAGS)])


def _flat_log(rows: Floats, least: float) -> NDArray[np.float64]:
    """The matrix logarithm of rows' covariance: its upper triangle, lengths kept."""
    width = rows.shape[1]
    spread, axes = np.linalg.eigh(np.cov(rows.T.astype(np.float64)) + least * np.eye(width))
    log = (axes * np.log(np.maximum(spread, least))) @ axes.T
    at, weight = _triangle(width)
    return np.asarray(log[at] * weight)


@cache
def _triangle(width: int) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]]:
    at = np.triu_indices(width)
    return at, np.where(at[0] == at[1], 1.0, np.sqrt(2.0))


def _n_flat(width: int) -> int:
    return width * (width + 1) // 2


@cache
def cosines(n_bands: int, n_cepstra: int) -> Floats:
    """(C, M): the cosine transform that turns mel bands into cepstra 1 to C (Davis & Mermelstein 1980)."""
    centre = (np.arange(n_bands) + 0.5) / n_bands
    return np.asarray(np.cos(np.pi * np.outer(np.arange(1, n_cepstra + 1), centre)) * 2 / n_bands, np.float32)


def slopes(values: Floats) -> Floats:
    """Slope of each column over five frames (Furui 1986)."""
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    return np.asarray((2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10, np.float32)


def _views() -> Mapping[str, list[str]]:
    """What each view's columns are, in the order in which `couplings` gives the views."""
    fast, slow = (["level", *(f"cepstrum_{i + 1}" for i in range(n))] for n in (_FAST_CEPSTRA, _SLOW_CEPSTRA))
    sung = [*slow, "pitch", "voicing"]
    moving = ("", "_slope", "_bend")
    late = ("", *(f"_in_{10 * k}_ms" for k in _LAGS))
    return {
        "db": [name + end for end in moving for name in fast],
        "loudness": [name + end for end in moving for name in fast],
        "slow_db": [name + end for end in late for name in slow],
        "slow_loudness": [name + end for end in late for name in slow],
        "melody": [name + end for end in moving for name in sung],
    }


def _names() -> Iterator[str]:
    for view, columns in _views().items():
        first, second = _triangle(len(columns))[0]
        yield from (f"{view}_{columns[i]}_with_{columns[j]}" for i, j in zip(first, second, strict=True))


COUPLINGS: tuple[str, ...] = tuple(_names())
"""The name of each number, in order."""
