"""Intervals for what is computed from points that follow one another: the stationary bootstrap, in whole arrays.

Points near in time resemble each other, so resampling them one by one gives intervals that are too narrow. The
stationary bootstrap (Politis & Romano 1994, J. Am. Stat. Assoc. 89, 1303-1313) draws blocks of random length instead.
A figure over pairs of neighbours resamples whole pairs, so that no seam between two blocks passes for a change (blocks
of blocks: Künsch 1989, Ann. Stat. 17, 1217-1241). The mean length of a block follows from the series (Politis & White
2004, Econometric Reviews 23, 53-70, as corrected by Patton, Politis & White 2009, ibid. 28, 372-375).

The arch package has both; it would bring pandas and statsmodels along, and calls Python once a resample, where one
array operation serves a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from affectgpt.errors import OptionError
from affectgpt.trends.series import Floats, Ints

__all__ = ["LEAST_UNITS", "LEVEL", "Bounds", "Figure", "Resampling", "Units", "block_length", "bootstrap", "draw"]

LEVEL = 0.95
"""Coverage that every interval aims at."""

LEAST_UNITS = 10
"""Units (points, pairs, episodes) from which an interval is drawn. Ten have 92,378 different resamples, C(19, 10) (Hall
1992, The Bootstrap and Edgeworth Expansion, appendix I); seven have fewer than two thousand."""

_MOST_LOST = 0.05
"""Share of resamples that may lack the figure; beyond it an interval would leave out what is hard to tell."""

_MOST_DRAWN = 250_000
"""Numbers drawn at once: 2 MB an array, which a processor's cache holds, however long the series."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn: how often, and from which seed. Raises OptionError for fewer than 100 resamples."""

    n_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """The ends of a 95 % interval need some resamples beyond them."""
        if self.n_resamples < 100:
            raise OptionError(f"{self.n_resamples} resamples", "give 100 or more")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The ends of an interval, or why there is none, in words."""

    low: float | None = None
    high: float | None = None
    reason: str = ""


Figure = Callable[..., Floats]
"""The columns of resampled units, (R, n) each -> the figure of each resample (R,), NaN where it cannot be told."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What is resampled together: n units in order of time, as columns (n,), and the mean length of a block of them."""

    columns: tuple[Floats | Ints, ...]
    block: float = 1.0

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.columns[0])


def bootstrap(units: Units, figures: Mapping[str, Figure], how: Resampling) -> dict[str, tuple[float, Bounds]]:
    """Each figure of the units and its interval, all from the same resamples.

    Bias-corrected percentiles (Efron 1987, J. Am. Stat. Assoc. 82, 171-185, without the acceleration), which matters
    for entropies and variances: their resamples lie low. The percentiles are widened for few units as Student's t is
    (Hesterberg 2015, Am. Stat. 69, 371-386), the blocks counting as units. Deterministic in `how.seed`.
    """
    with np.errstate(all="ignore"):  # a resample may be constant: its NaN is counted below
        values = {name: float(figure(*(c[None] for c in units.columns))[0]) for name, figure in figures.items()}
        told = [name for name, value in values.items() if np.isfinite(value)]
        if units.n < LEAST_UNITS:
            few = Bounds(reason=f"an interval needs {LEAST_UNITS}, here are {units.n}")
            return {name: (value, few) for name, value in values.items()}
        drawn: dict[str, list[Floats]] = {name: [] for name in told}
        for at in draw(units.n, units.block, how) if told else ():
            columns = [column[at] for column in units.columns]
            for name in told:
                drawn[name].append(figures[name](*columns))
    ends = {name: _bounds(np.concatenate(kept), values[name], units.n / units.block) for name, kept in drawn.items()}
    return {name: (value, ends.get(name, Bounds())) for name, value in values.items()}


def draw(n: int, block: float, how: Resampling) -> Iterator[NDArray[np.intp]]:
    """Resamples of units 0 .. n-1 as (R, n) of their numbers, a part of all resamples at a time.

    Blocks have a geometric length of mean `block`, start anywhere, and go on from the first unit after the last.
    """
    rng = np.random.default_rng(how.seed)
    rows = max(1, _MOST_DRAWN // n)
    place = np.arange(n)
    for done in range(0, how.n_resamples, rows):
        size = (min(rows, how.n_resamples - done), n)
        fresh = rng.random(size) < 1.0 / block
        fresh[:, 0] = True
        began = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
        start = np.take_along_axis(rng.integers(0, n, size), began, axis=1)
        yield (start + place - began) % n


def block_length(values: Floats) -> float:
    """The mean block for this series, at least 1: one for noise, more the longer it remembers.

    Of the values and of their squared distance from the mean, whichever is longer, since figures of spread follow the
    second.
    """
    centred = values - values.mean() if len(values) else values
    return max(_block_length(centred), _block_length(centred**2))


def _block_length(values: Floats) -> float:
    n = len(values)
    centred = values - values.mean() if n else values
    if n < LEAST_UNITS or not np.any(np.abs(centred) > 1e-12):
        return 1.0
    widest = int(np.ceil(np.sqrt(n))) + max(5, int(np.sqrt(np.log10(n))))
    covariance = _autocovariance(centred, min(widest, n - 1))
    small = np.abs(covariance[1:] / covariance[0]) < 2 * np.sqrt(np.log10(n) / n)
    still = max(5, int(np.sqrt(np.log10(n))))  # so many small ones in a row end the memory
    ended = np.flatnonzero(np.convolve(small, np.ones(still), "valid") == still) if len(small) >= still else small[:0]
    last = int(ended[0]) if len(ended) else (int(np.flatnonzero(~small)[-1]) + 1 if not small.all() else 0)
    reach = min(2 * max(last, 1), len(covariance) - 1)
    lag = np.arange(1, reach + 1)
    weight = np.clip(2 * (1 - lag / reach), 0, 1)
    bias = 2 * float(np.sum(weight * lag * covariance[1 : reach + 1]))
    spectrum = float(covariance[0] + 2 * np.sum(weight * covariance[1 : reach + 1]))
    longest = np.ceil(min(3 * np.sqrt(n), n / 3))
    if spectrum <= 0:
        return 1.0
    return float(np.clip((bias**2 / spectrum**2 * n) ** (1 / 3), 1.0, longest))


def _autocovariance(centred: Floats, lags: int) -> Floats:
    n = len(centred)
    return np.array([centred[: n - k] @ centred[k:] for k in range(lags + 1)]) / n


def _bounds(resampled: Floats, value: float, n_blocks: float) -> Bounds:
    from scipy.stats import t

    kept = resampled[np.isfinite(resampled)]
    if len(kept) < (1 - _MOST_LOST) * len(resampled):
        return Bounds(reason=f"{1 - len(kept) / len(resampled):.0%} of the resamples do not have it")
    below = (np.sum(kept < value) + 0.5 * np.sum(kept == value)) / len(kept)
    shift = float(ndtri(np.clip(below, 1 / (len(kept) + 1), len(kept) / (len(kept) + 1))))
    edge = float(t.ppf((1 + LEVEL) / 2, n_blocks - 1) * np.sqrt(n_blocks / (n_blocks - 1)))
    low, high = np.quantile(kept, ndtr([2 * shift - edge, 2 * shift + edge]))
    few = f"{n_blocks:.0f} independent stretches at most: the interval may be too narrow"
    return Bounds(float(low), float(high), few if n_blocks < LEAST_UNITS else "")
