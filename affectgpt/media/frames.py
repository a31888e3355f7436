"""`frames`: the pictures of a clip, one at a time, sampled by presentation time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from affectgpt.errors import OptionError
from affectgpt.media.container import (
    clip_origin_s,
    decode_tolerantly,
    demux_tolerantly,
    open_container,
    video_stream,
)
from affectgpt.media.stills import is_webp, read_still
from affectgpt.records import Clip, Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

__all__ = ["FrameReader", "PyavReader", "fit_size", "frames", "on_grid", "picture_size", "quarter_turns"]

_MAX_TOLERANCE_S = Fraction(1, 1000)
_MAX_DECODED_PIXELS = 1 << 27
"""A picture that turns larger than this in mid-stream is skipped by the decoder (header sizes are checked before)."""
_SANE_ASPECT = (Fraction(1, 4), Fraction(4))
_T = TypeVar("_T")


class FrameReader(Protocol):
    """Decodes a video's frames: the seam between PyAV and decord."""

    name: str

    def read(self, clip: Clip, rate_hz: Fraction | None, max_side_px: int | None) -> Iterator[Frame]:
        """Frames in time order on the grid of `rate_hz` (None: all), longer side at most `max_side_px`."""
        ...


def frames(
    clip: Clip, rate_hz: float | None, *, backend: str = "pyav", max_side_px: int | None = None
) -> Iterator[Frame]:
    """The clip's pictures as RGB (H, W, 3) uint8, upright, with square pixels, one in memory at a time.

    For every grid time k / `rate_hz` from the first picture, the frame on screen at that time, judged by PTS (exact for
    a variable frame rate); a frame on screen at several grid times comes once, so a rate above the source's gives each
    source frame once. None gives every frame. `Frame.time_s` is the frame's own PTS on the clip's clock
    (`container.clip_origin_s`), not the grid's. `max_side_px` scales larger pictures down while they are converted. A
    still image gives one Frame at 0.0; a clip without pictures gives none. Damaged packets are skipped, and the frames
    end where the file breaks off.

    Raises:
        OptionError: a rate or a size that is not positive, or an unknown backend.
        MissingDependency: backend "decord" without the package.
        UnreadableMedia: the file can no longer be opened, or the backend cannot decode its codec.
    """
    rate = _checked_rate(rate_hz)
    if max_side_px is not None and max_side_px < 1:
        raise OptionError(f"a longest side of {max_side_px} px", "give at least 1")
    reader = _reader(backend)
    if clip.is_image:
        return iter((read_still(clip, max_side_px),))
    if is_webp(clip.path):
        from affectgpt.media.animation import AnimationReader

        reader = AnimationReader()
    return reader.read(clip, rate, max_side_px) if clip.has_video else iter(())


def _checked_rate(rate_hz: float | None) -> Fraction | None:
    if rate_hz is None:
        return None
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise OptionError(f"a frame rate of {rate_hz} Hz", "give a positive number, or None for every frame")
    return Fraction(rate_hz).limit_denominator(1_000_000) or Fraction(1, 1_000_000)


def _reader(backend: str) -> FrameReader:
    if backend == "pyav":
        return PyavReader()
    if backend == "decord":
        from affectgpt.media.decord_frames import DecordReader

        return DecordReader()
    raise OptionError(f"no video backend named {backend!r}", "choose pyav or decord")


def on_grid(
    timed: Iterable[tuple[Fraction, Fraction, _T]], rate: Fraction | None, tick: Fraction
) -> Iterator[tuple[Fraction, _T]]:
    """Of (time, duration, item) in presentation order, those on screen at some k / `rate` seconds after the first.

    An item is on screen from its time up to the next one's, the last for its duration (0: as long as the one before).
    Times are known to one `tick` of the time base, so a frame due at 66.67 ms and stamped 67 ms is on time. An item
    that is not later than the one before it is never on screen.
    """
    tolerance = min(tick, _MAX_TOLERANCE_S)
    start: Fraction | None = None
    held: tuple[Fraction, Fraction, _T] | None = None
    for time, length, item in timed:
        if held is None or start is None:
            start = time
        elif time <= held[0]:
            continue
        elif _meets_grid(held[0] - start, time - start, rate, tolerance):
            yield held[0], held[2]
        held = (time, length or (time - held[0] if held else Fraction(0)), item)
    if held is not None and start is not None:
        since = held[0] - start
        if not since or _meets_grid(since, since + held[1], rate, tolerance):
            yield held[0], held[2]


def _meets_grid(since: Fraction, until: Fraction, rate: Fraction | None, tolerance: Fraction) -> bool:
    return rate is None or math.ceil((since - tolerance) * rate) < (until - tolerance) * rate


def quarter_turns(frame: VideoFrame) -> int:
    """Counterclockwise quarter turns (0 to 3) that put the picture upright, from the display matrix."""
    return round(frame.rotation / 90) % 4


def picture_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels, before rotation: the width is stretched by the pixel aspect, as players do."""
    if not pixel_aspect or not _SANE_ASPECT[0] <= pixel_aspect <= _SANE_ASPECT[1]:
        return frame.width, frame.height
    return max(1, round(frame.width * pixel_aspect)), frame.height


def fit_size(size: tuple[int, int], max_side_px: int | None) -> tuple[int, int]:
    """`size` scaled down, never up, so that its longer side is at most `max_side_px`."""
    longer = max(size)
    if max_side_px is None or longer <= max_side_px:
        return size
    width, height = (max(1, round(side * max_side_px / longer)) for side in size)
    return width, height


class PyavReader:
    """FFmpeg through PyAV: every codec of the wheel, exact PTS, flat memory."""

    name = "pyav"

    def read(self, clip: Clip, rate_hz: Fraction | None, max_side_px: int | None) -> Iterator[Frame]:
        """See `FrameReader.read`; the file is closed when the iterator ends or is closed."""
        from av.video.reformatter import VideoReformatter

        with open_container(clip.path) as container:
            stream = video_stream(container)
            if stream is None or stream.time_base is None:
                return
            origin_s = clip_origin_s(container)
            scaler = VideoReformatter()
            for time, picture in on_grid(_timed(container, stream), rate_hz, stream.time_base):
                size = fit_size(picture_size(picture, stream.sample_aspect_ratio), max_side_px)
                yield Frame(_to_rgb(picture, size, scaler), max(0.0, float(time) - origin_s))


def _timed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction, Fraction, VideoFrame]]:
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(_MAX_DECODED_PIXELS)}
    base = stream.time_base or Fraction(1, 1000)
    gap = 1 / (stream.average_rate or stream.guessed_rate or Fraction(25))
    last = Fraction(stream.start_time or 0) * base - gap
    for packet in demux_tolerantly(container, stream):
        for frame in decode_tolerantly(packet):
            # Only raw streams in AVI leave a frame without any time; it then follows the one before.
            time = last + gap if frame.pts is None else frame.pts * (frame.time_base or base)
            last = time
            yield time, (frame.duration or 0) * base, frame  # type: ignore[misc]


def _to_rgb(frame: VideoFrame, size: tuple[int, int], scaler: VideoReformatter) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) uint8 upright; size and colour change in one pass of libswscale, with the frame's own colour matrix."""
    rgb = scaler.reformat(frame, width=size[0], height=size[1], format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), quarter_turns(frame)), dtype=np.uint8)
