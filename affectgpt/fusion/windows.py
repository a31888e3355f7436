"""A stream of sound in windows that overlap: what a network or a meter hears at once, and which part of it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import UnreadableMedia
from affectgpt.records import Waveform

__all__ = ["RATE_HZ", "Window", "cut_windows"]

RATE_HZ: Final = 16_000
"""What every speech encoder here was trained at, and what `media.waveform` gives."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of sound with its surroundings.

    samples (N,) float32 begin at sample `first` of the stream, which begins at `start_s` on the clip's clock;
    [`core_from`, `core_to`), counted in the stream, belong to this window alone.
    """

    samples: NDArray[np.float32]
    first: int
    core_from: int
    core_to: int
    start_s: float


def cut_windows(blocks: Iterable[Waveform], n_core: int, n_margin: int) -> Iterator[Window]:
    """Windows whose cores tile the sound, each with up to `n_margin` samples more on both sides; none of no sound.

    They do not depend on the blocks' sizes. At most one window and one block are held. Samples that are not finite
    become 0.

    Raises:
        UnreadableMedia: blocks that are not mono at 16 kHz.
    """
    held = np.zeros(0, np.float32)
    start_s: float | None = None
    first = core_from = 0
    for block in blocks:
        start_s = block.start_s if start_s is None else start_s
        held = np.concatenate([held, _checked(block)])
        while first + len(held) >= core_from + n_core + n_margin:
            core_to = core_from + n_core
            yield Window(held[: core_to + n_margin - first], first, core_from, core_to, start_s)
            keep_from = max(core_to - n_margin, 0)
            held, first, core_from = held[keep_from - first :], keep_from, core_to
    end = first + len(held)
    while core_from < end and start_s is not None:
        core_to = min(core_from + n_core, end)
        low, high = max(core_from - n_margin, first), core_to + n_margin
        yield Window(held[low - first : high - first], low, core_from, core_to, start_s)
        core_from = core_to


def _checked(block: Waveform) -> NDArray[np.float32]:
    samples = np.asarray(block.samples, np.float32)
    if samples.ndim != 1 or block.rate_hz != RATE_HZ:
        raise UnreadableMedia(
            f"a sound block of shape {samples.shape} at {block.rate_hz} Hz",
            f"give mono sound at {RATE_HZ} Hz, as media.waveform does",
        )
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
