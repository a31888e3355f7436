"""A stream of sound made fit to measure: 16 kHz, no DC, no NaN, cut into overlapping chunks of fixed size.

The chunks do not depend on the size of the blocks that come in, so neither does anything measured from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import UnreadableMedia
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.records import Waveform

__all__ = ["Chunk", "SoundStream", "cut_chunks"]

Floats = NDArray[np.float32]

_CLIP_LEVEL = 0.99
"""A sample at or above this share of full scale counts as clipped when its neighbour is there too."""
_HIGHPASS_HZ = 40.0
"""Below the lowest voice pitch measured (60 Hz), above mains-free DC drift."""
_LONGEST_GAP_S = 600.0


class SoundStream:
    """Iterates float32 arrays at 16 kHz from Waveform blocks of any rate; read once.

    Samples that are not finite become 0.0. A gap between blocks of more than 20 ms is filled with silence, so that
    times hold. After the iteration `start_s`, `n_samples` (at 16 kHz) and `clipped_ratio` are known.

    Raises:
        UnreadableMedia: the rate changes between blocks, is not positive, or a block is not mono.
    """

    def __init__(self, blocks: Iterable[Waveform]) -> None:
        self._blocks = blocks
        self._resampler: Any = None
        self._highpass: Any = None
        self._rate_hz = 0
        self._n_read = 0
        self._n_clipped = 0
        self.start_s = 0.0
        self.n_samples = 0

    @property
    def duration_s(self) -> float:
        """Seconds of sound given out so far."""
        return self.n_samples / RATE_HZ

    @property
    def clipped_ratio(self) -> float:
        """Share of the samples that stand, with a neighbour, at 99 % of full scale or beyond."""
        return self._n_clipped / self._n_read if self._n_read else 0.0

    def __iter__(self) -> Iterator[Floats]:
        for block in self._blocks:
            samples = self._take(block)
            if len(samples):
                yield from self._emit(samples, last=False)
        if self._rate_hz:
            yield from self._emit(np.zeros(0, np.float32), last=True)

    def _take(self, block: Waveform) -> Floats:
        samples = np.asarray(block.samples, np.float32)
        if samples.ndim != 1 or block.rate_hz <= 0:
            raise UnreadableMedia(f"a sound block of shape {samples.shape} at {block.rate_hz} Hz", "give mono sound")
        if not self._rate_hz:
            self._open(block)
        elif block.rate_hz != self._rate_hz:
            raise UnreadableMedia(
                f"the sound's rate changes from {self._rate_hz} to {block.rate_hz} Hz", "re-encode the clip"
            )
        samples = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -8.0, 8.0)
        self._n_clipped += _count_clipped(samples)
        gap_s = block.start_s - self.start_s - self._n_read / self._rate_hz
        if 0.02 < gap_s < _LONGEST_GAP_S:
            samples = np.concatenate([np.zeros(round(gap_s * self._rate_hz), np.float32), samples])
        self._n_read += len(samples)
        return samples

    def _open(self, block: Waveform) -> None:
        self._rate_hz, self.start_s = block.rate_hz, block.start_s
        if block.rate_hz != RATE_HZ:
            import soxr  # type: ignore[import-untyped]

            self._resampler = soxr.ResampleStream(block.rate_hz, RATE_HZ, 1, dtype="float32")

    def _emit(self, samples: Floats, *, last: bool) -> Iterator[Floats]:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        if len(samples):
            self.n_samples += len(samples)
            yield self._remove_dc(samples)

    def _remove_dc(self, samples: Floats) -> Floats:
        from scipy.signal import butter, sosfilt, sosfilt_zi

        if self._highpass is None:
            sections = butter(2, _HIGHPASS_HZ, "highpass", fs=RATE_HZ, output="sos")
            self._highpass = (sections, sosfilt_zi(sections) * float(samples[0]))
        sections, state = self._highpass
        filtered, state = sosfilt(sections, samples, zi=state)
        self._highpass = (sections, state)
        return np.asarray(filtered, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A stretch of sound with its surroundings.

    samples (N,) start at sample `first` of the stream; [`core_from`, `core_to`), counted in the stream, belong to this
    chunk alone.
    """

    samples: Floats
    first: int
    core_from: int
    core_to: int


def cut_chunks(stream: Iterable[Floats], n_core: int, n_margin: int) -> Iterator[Chunk]:
    """Chunks whose cores tile the stream, each with up to `n_margin` samples more on both sides."""
    parts: list[Floats] = []
    n_held, first, core_from = 0, 0, 0
    for part in stream:
        parts.append(part)
        n_held += len(part)
        while first + n_held >= core_from + n_core + n_margin:
            held = np.concatenate(parts)
            core_to = core_from + n_core
            yield Chunk(held[: core_to + n_margin - first], first, core_from, core_to)
            keep_from = max(core_to - n_margin, 0)
            parts, n_held = [held[keep_from - first :]], first + n_held - keep_from
            first, core_from = keep_from, core_to
    end = first + n_held
    while core_from < end:
        held = np.concatenate(parts)
        core_to = min(core_from + n_core, end)
        yield Chunk(
            held[max(core_from - n_margin, first) - first : core_to + n_margin - first],
            max(core_from - n_margin, first),
            core_from,
            core_to,
        )
        core_from = core_to


def _count_clipped(samples: Floats) -> int:
    full = np.abs(samples) >= _CLIP_LEVEL
    beside = np.zeros_like(full)
    beside[1:] |= full[:-1]
    beside[:-1] |= full[1:]
    return int(np.count_nonzero(full & beside))
