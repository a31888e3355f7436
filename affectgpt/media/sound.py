"""`waveform`: a clip's sound as mono blocks on the clip's clock, in memory that does not grow with the clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from affectgpt.errors import OptionError
from affectgpt.media.container import (
    audio_stream,
    clip_origin_s,
    decode_tolerantly,
    demux_tolerantly,
    open_container,
    to_seconds,
)
from affectgpt.records import Clip, Waveform

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.container import InputContainer

__all__ = ["waveform"]

GAP_S = 0.05
"""A jump in PTS beyond this is a hole, filled with silence; below, it is rounding (Matroska: 1 ms) or a priming."""

_SILENCE_BLOCK_S = 10.0
_Samples = np.ndarray[Any, np.dtype[np.float32]]


def waveform(clip: Clip, rate_hz: int = 16_000, *, block_s: float = 30.0) -> Iterator[Waveform]:
    """The clip's sound as contiguous mono blocks of `block_s` seconds, the last one shorter; none without sound.

    `samples` (N,) float32 in [-1, 1] at `rate_hz`: the channels' weighted mean, so that full scale stays full scale.
    `start_s` is on the clip's clock (`container.clip_origin_s`): sound that starts after the first picture has a first
    block that starts later than 0.0, with no silence put before it. A hole in the stream's times of over 50 ms,
    and what a damaged packet leaves out, becomes silence, so that sample n is always at `start_s + n / rate_hz`.
    Packets that overlap the ones before are taken as if they followed.

    Raises:
        OptionError: a rate or a block that is not positive.
        UnreadableMedia: the file can no longer be opened.
    """
    if not 1000 <= rate_hz <= 384_000:
        raise OptionError(f"a sampling rate of {rate_hz} Hz", "give 1000 to 384000")
    if not (math.isfinite(block_s) and block_s * rate_hz >= 1):
        raise OptionError(f"a block of {block_s} s", "give a positive length")
    return _blocks(clip, rate_hz, round(block_s * rate_hz)) if clip.has_audio else iter(())


def _blocks(clip: Clip, rate_hz: int, n_block: int) -> Iterator[Waveform]:
    """Cut the stream of pieces into blocks of `n_block` samples."""
    with open_container(clip.path) as container:
        start_s: float | None = None
        held: list[_Samples] = []
        n_held = n_done = 0
        for piece_s, piece in _pieces(container, rate_hz, clip.duration_s):
            start_s = piece_s if start_s is None else start_s
            held.append(piece)
            n_held += piece.size
            while n_held >= n_block:
                joined = np.concatenate(held)
                yield Waveform(joined[:n_block], rate_hz, start_s + n_done / rate_hz)
                held = [joined[n_block:]]
                n_held -= n_block
                n_done += n_block
        if n_held and start_s is not None:
            yield Waveform(np.concatenate(held), rate_hz, start_s + n_done / rate_hz)


def _pieces(container: InputContainer, rate_hz: int, end_s: float) -> Iterator[tuple[float, _Samples]]:
    """(where the sound starts on the clip's clock, samples) of contiguous pieces, holes filled, nothing before 0.0.

    `end_s` bounds the silence, so that a forged PTS cannot ask for years of it.
    """
    joiner = _Joiner(rate_hz)
    begin_s: float | None = None
    for frame_s, frame in _timed(container):
        if begin_s is None:
            begin_s = max(0.0, frame_s)
            joiner.skip(max(0.0, -frame_s))
            clock_s = frame_s
        hole_s = min(frame_s, max(end_s, clock_s)) - clock_s
        if hole_s > GAP_S:
            for piece in (*joiner.flush(), *_silence(hole_s, rate_hz)):
                yield begin_s, joiner.keep(piece)
            clock_s += hole_s
        for piece in joiner.push(frame):
            yield begin_s, joiner.keep(piece)
        clock_s += frame.samples / frame.sample_rate
    if begin_s is not None:
        for piece in joiner.flush():
            yield begin_s, joiner.keep(piece)


def _timed(container: InputContainer) -> Iterator[tuple[float, AudioFrame]]:
    """Decoded sound with its time on the clip's clock; a frame without PTS follows the one before."""
    stream = audio_stream(container)
    if stream is None:
        return
    origin_s = clip_origin_s(container)
    next_s = (to_seconds(stream.start_time, stream.time_base) or origin_s) - origin_s
    for packet in demux_tolerantly(container, stream):
        for frame in decode_tolerantly(packet):
            if not frame.samples or not frame.sample_rate:  # type: ignore[attr-defined]
                continue
            time_s = to_seconds(frame.pts, frame.time_base)
            start_s = next_s if time_s is None else time_s - origin_s
            next_s = start_s + frame.samples / frame.sample_rate  # type: ignore[attr-defined]
            yield start_s, frame  # type: ignore[misc]


def _silence(length_s: float, rate_hz: int) -> Iterator[_Samples]:
    n_left = round(length_s * rate_hz)
    n_piece = round(_SILENCE_BLOCK_S * rate_hz)
    while n_left > 0:
        yield np.zeros(min(n_left, n_piece), np.float32)
        n_left -= n_piece


class _Joiner:
    """A resampler that survives a change of format in mid-stream and can drop samples at the start."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._format: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None
        self._n_to_skip = 0

    def skip(self, length_s: float) -> None:
        """Leave out the first `length_s` seconds of what follows."""
        self._n_to_skip = round(length_s * self._rate_hz)

    def keep(self, piece: _Samples) -> _Samples:
        """`piece` without what is still to be skipped."""
        n_cut = min(self._n_to_skip, piece.size)
        self._n_to_skip -= n_cut
        return piece[n_cut:]

    def push(self, frame: AudioFrame) -> list[_Samples]:
        """Resample one frame."""
        import av

        is_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        pieces: list[_Samples] = []
        if is_format != self._format:
            pieces = self.flush()
            self._format = is_format
        if self._resampler is None:
            # Without rematrix_maxval FFmpeg's float downmix does not normalise: two channels at 0.9 give 1.27.
            self._resampler = av.AudioResampler("fltp", "mono", self._rate_hz, options={"rematrix_maxval": "1.0"})
        # The resampler counts samples itself; stream times, already used to place the frame, would only confuse it.
        frame.pts = None
        return pieces + [_mono(out) for out in self._resampler.resample(frame)]

    def flush(self) -> list[_Samples]:
        """What the resampler still holds; it then starts afresh."""
        resampler, self._resampler = self._resampler, None
        return [] if resampler is None else [_mono(out) for out in resampler.resample(None) if out is not None]


def _mono(frame: AudioFrame) -> _Samples:
    samples: _Samples = np.nan_to_num(frame.to_ndarray()[0].astype(np.float32, copy=False))
    np.clip(samples, -1.0, 1.0, out=samples)
    return samples
