"""Frames through decord: an optional second backend, fast and exact on h264, unmaintained since 2022, no AV1."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from affectgpt.errors import MissingDependency, UnreadableMedia
from affectgpt.media.container import clip_origin_s, demux_tolerantly, open_container, video_stream
from affectgpt.media.frames import fit_size, on_grid
from affectgpt.records import Clip, Frame

if TYPE_CHECKING:
    from av.video.reformatter import VideoReformatter

__all__ = ["DecordReader"]

_REMEDY = "use backend pyav, or convert it: ffmpeg -i FILE -c:v libx264 out.mp4"
_N_THREADS = 2
_EXACT_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
"""Containers in which decord's frames were compared with PyAV's; in MPEG-TS they were found to be shifted."""


class DecordReader:
    """decord's pixels on PyAV's clock: decord keeps times as float32, which in an hour is off by milliseconds."""

    name = "decord"

    def __init__(self) -> None:
        try:
            import decord
        except ImportError as error:
            raise MissingDependency(
                "the video backend decord is not installed", "pip install 'affectgpt[decord]', or use backend pyav"
            ) from error
        decord.logging.set_level(decord.logging.QUIET)
        self._decord: Any = decord

    def read(self, clip: Clip, rate_hz: Fraction | None, max_side_px: int | None) -> Iterator[Frame]:
        """See `FrameReader.read`.

        Raises:
            UnreadableMedia: a codec that decord's FFmpeg 4.1 lacks (AV1), or a file it cannot index.
        """
        from av.video.reformatter import VideoReformatter

        size = fit_size((clip.width_px, clip.height_px), max_side_px)
        scaler = VideoReformatter()
        times, tick, origin_s = _packet_times(clip)
        try:
            reader = self._decord.VideoReader(str(clip.path), ctx=self._decord.cpu(0), num_threads=_N_THREADS)
        except (RuntimeError, AssertionError, self._decord.DECORDError) as error:
            raise UnreadableMedia(f"{clip.path}: decord cannot decode it", _REMEDY) from error
        if len(times) != len(reader):
            raise UnreadableMedia(f"{clip.path}: decord sees {len(reader)} frames of {len(times)}", _REMEDY)
        timed = ((time, length, index) for index, (time, length) in enumerate(times))
        n_read = 0
        for time, index in on_grid(timed, rate_hz, tick):
            pixels = self._pixels(reader, index, index - n_read, clip)
            yield Frame(_scale(pixels, size, scaler), max(0.0, float(time) - origin_s))
            n_read = index + 1

    def _pixels(self, reader: Any, index: int, n_skipped: int, clip: Clip) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Frame `index`, `n_skipped` after the last one read, as (H, W, 3) uint8."""
        try:
            if n_skipped:
                reader.skip_frames(n_skipped)
            pixels: np.ndarray[Any, np.dtype[np.uint8]] = reader.next().asnumpy()
        except (RuntimeError, StopIteration, self._decord.DECORDError) as error:
            raise UnreadableMedia(f"{clip.path}: decord stops at frame {index}", _REMEDY) from error
        if pixels.ndim != 3 or pixels.shape[2] != 3:  # seen with pictures narrower than 64 pixels
            raise UnreadableMedia(f"{clip.path}: decord gives pictures of shape {pixels.shape}", _REMEDY)
        return pixels


def _scale(
    pixels: np.ndarray[Any, np.dtype[np.uint8]], size: tuple[int, int], scaler: VideoReformatter
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Upright RGB scaled to (width, height) by PyAV's libswscale, so that both backends scale alike."""
    import av

    if pixels.shape[1::-1] == size:
        return pixels
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
    return np.ascontiguousarray(scaler.reformat(frame, *size).to_ndarray(), dtype=np.uint8)


def _packet_times(clip: Clip) -> tuple[list[tuple[Fraction, Fraction]], Fraction, float]:
    """(PTS, duration) of every frame in presentation order, the time base, and the clip's origin; nothing decoded."""
    with open_container(clip.path) as container:
        stream = video_stream(container)
        if stream is None or stream.time_base is None:
            raise UnreadableMedia(f"{clip.path}: holds no video", _REMEDY)
        base = stream.time_base
        if container.format.name not in _EXACT_FORMATS:
            raise UnreadableMedia(
                f"{clip.path}: decord does not count frames right in {container.format.name}", _REMEDY
            )
        spans = [
            (packet.pts * base, (packet.duration or 0) * base)
            for packet in demux_tolerantly(container, stream)
            if packet.pts is not None and packet.size and not packet.is_discard
        ]
        return sorted(spans), base, clip_origin_s(container)
