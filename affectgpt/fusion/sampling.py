"""Which pictures of a clip are encoded: at a rate, evenly, or around what happens.

The event-driven recipe is StimuVAR's (arXiv 2409.00304): dense optical flow tells how much moves, its peaks are events,
and most pictures are taken around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.records import Frame

__all__ = ["EventSampler", "OpenFrames", "RateSampler", "Sampler", "UniformSampler", "choose_frames", "find_events"]

OpenFrames = Callable[[float | None], Iterable[Frame]]
"""See `features.Signals.open_frames`."""

EVENT_RATE_HZ: Final = 30.0
"""The recipe counts in frames of ordinary video; clips of other rates are read at this one."""
SMOOTH_FRAMES: Final = 6.0
LEAST_DISTANCE_FRAMES: Final = 30
LEAST_PROMINENCE: Final = 0.3
AROUND_FRAMES: Final = 15
"""The recipe's: a Gaussian of this deviation, peaks this far apart and this prominent of 1, pictures this near them."""
_FLOW_SIDE_PX: Final = 256
"""Pictures are shrunk to this before the flow is found: only its course over time is used, not its size."""
_MOST_FRAMES: Final = 1024


class Sampler(Protocol):
    """Chooses pictures. `name` is part of an encoder's version."""

    name: str

    def sample(self, open_frames: OpenFrames) -> Iterator[Frame]:
        """The chosen pictures in time order, one in memory at a time; may read the clip twice."""
        ...


class RateSampler:
    """Every picture at a rate, for a clip of any length."""

    def __init__(self, rate_hz: float) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise OptionError(f"a frame rate of {rate_hz} Hz", "give a positive number")
        self.rate_hz = rate_hz
        self.name = f"{rate_hz:g}hz"

    def sample(self, open_frames: OpenFrames) -> Iterator[Frame]:
        """See `Sampler.sample`."""
        yield from open_frames(self.rate_hz)


class UniformSampler:
    """As many pictures as asked for, evenly over the clip: the middle of each of n equal parts; all of a shorter clip.

    Eight are AffectGPT's; more than 16 gain nothing there (arXiv 2501.16566).
    """

    def __init__(self, n_frames: int = 8) -> None:
        self.n_frames = _checked(n_frames)
        self.name = f"uniform{n_frames}"

    def sample(self, open_frames: OpenFrames) -> Iterator[Frame]:
        """See `Sampler.sample`."""
        n_all = sum(1 for _ in open_frames(None))
        yield from _picked(open_frames(None), _spread(np.arange(n_all), self.n_frames))


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """How much moves at each frame (T,) in [0, 1], smoothed, and the frames at which most does."""

    movement: NDArray[np.float64]
    peaks: NDArray[np.intp]


class EventSampler:
    """StimuVAR's pictures: around the peaks of movement, the remainder evenly from elsewhere; without peaks, evenly."""

    def __init__(self, n_frames: int = 6) -> None:
        self.n_frames = _checked(n_frames)
        self.name = f"events{n_frames}"

    def sample(self, open_frames: OpenFrames) -> Iterator[Frame]:
        """See `Sampler.sample`. Costs a dense optical flow a frame."""
        events = find_events(open_frames(EVENT_RATE_HZ))
        chosen = choose_frames(len(events.movement), events.peaks, self.n_frames)
        yield from _picked(open_frames(EVENT_RATE_HZ), chosen)


def find_events(frames: Iterable[Frame]) -> Events:
    """Movement and its peaks, by Farnebäck's dense flow (2003) between neighbouring frames, which are not kept.

    The mean length of the flow at a frame, from the least to the most of the clip, smoothed by a Gaussian of 6 frames;
    peaks at least 30 frames apart that stand out by 0.3. A clip in which nothing moves has none.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    lengths = np.fromiter(_flow_lengths(frames), np.float64)
    span = float(np.ptp(lengths)) if len(lengths) else 0.0
    # Below a thousandth of a pixel it is the flow's own noise that moves.
    if span < 1e-3:
        return Events(np.zeros(len(lengths)), np.zeros(0, np.intp))
    movement = gaussian_filter1d((lengths - lengths.min()) / span, SMOOTH_FRAMES)
    peaks, _ = find_peaks(movement, distance=LEAST_DISTANCE_FRAMES, prominence=LEAST_PROMINENCE)
    return Events(movement, np.asarray(peaks, np.intp))


def choose_frames(n_all: int, peaks: Sequence[int] | NDArray[np.intp], n_frames: int) -> NDArray[np.intp]:
    """The indices of at most `n_frames` of `n_all` frames, ascending.

    With P peaks, 0 < P and P + 1 < n_frames: n = n_frames // (P + 1) from the 15 frames on both sides of each peak, 30
    // n apart, the remainder evenly from the frames near no peak; otherwise evenly from all.
    """
    n_frames = _checked(n_frames)
    n_peaks = len(peaks)
    if not 0 < n_peaks < n_frames - 1:
        return _spread(np.arange(n_all), n_frames)
    n_each = n_frames // (n_peaks + 1)
    near = np.zeros(n_all, bool)
    chosen: set[int] = set()
    for peak in peaks:
        low, high = max(int(peak) - AROUND_FRAMES, 0), min(int(peak) + AROUND_FRAMES, n_all)
        near[low:high] = True
        stride = max(2 * AROUND_FRAMES // n_each, 1)
        chosen.update(range(low, high, stride)[:n_each])
    elsewhere = np.flatnonzero(~near)
    chosen.update(_spread(elsewhere, max(n_frames - len(chosen), 0)).tolist())
    return np.array(sorted(chosen)[:n_frames], np.intp)


def _flow_lengths(frames: Iterable[Frame]) -> Iterator[float]:
    """The mean length of the flow into each frame, in pixels; as long at the first frame as at the second."""
    import cv2

    before: NDArray[np.uint8] | None = None
    n_told = 0
    for frame in frames:
        grey: Any = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
        size = before.shape[::-1] if before is not None else _shrunk(frame.pixels)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        if before is not None:
            flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
            length = float(np.hypot(flow[..., 0], flow[..., 1]).mean())
            yield from [length] * (2 if n_told == 0 else 1)
            n_told += 1
        before = grey
    if before is not None and n_told == 0:
        yield 0.0


def _shrunk(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height with the longer side at most 256."""
    height, width = pixels.shape[:2]
    scale = min(_FLOW_SIDE_PX / max(height, width), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _spread(indices: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """The middle one of each of `n` equal parts; all where there are no more."""
    if len(indices) <= n:
        return indices
    return indices[((np.arange(n) + 0.5) * len(indices) / n).astype(np.intp)]


def _picked(frames: Iterable[Frame], chosen: NDArray[np.intp]) -> Iterator[Frame]:
    wanted = iter(chosen.tolist())
    goal = next(wanted, None)
    for index, frame in enumerate(frames):
        if goal is None:
            return
        if index == goal:
            yield frame
            goal = next(wanted, None)


def _checked(n_frames: int) -> int:
    if not 1 <= n_frames <= _MOST_FRAMES:
        raise OptionError(f"{n_frames} pictures of a clip", f"give 1 to {_MOST_FRAMES}")
    return n_frames
