"""Animated WebP, which FFmpeg here cannot demux, through Pillow; GIF and animated PNG go the way of videos."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.errors import ImageTooLarge, MediaTooLong, UnreadableMedia
from affectgpt.media.frames import on_grid
from affectgpt.media.stills import flatten, is_webp, opened_image
from affectgpt.records import Clip, Frame

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["AnimationReader", "open_animation"]

_MS = Fraction(1, 1000)
_DEFAULT_MS = 100
"""How long browsers show a frame whose duration is given as zero."""


def open_animation(path: Path, max_duration_s: float, max_pixels: int) -> Clip | None:
    """The Clip of an animated WebP, every frame decoded once for its duration; None when `path` is none.

    Raises:
        ImageTooLarge, MediaTooLong: over the limits.
        UnreadableMedia: a damaged animation.
    """
    if not is_webp(path):
        return None
    with opened_image(path) as image:
        if image is None or not getattr(image, "is_animated", False):
            return None
        width_px, height_px = image.size
        if width_px * height_px > max_pixels:
            raise ImageTooLarge(f"{path}: {width_px}x{height_px} pixels, the limit is {max_pixels}", "scale it down")
        duration_s, n_frames = 0.0, 0
        for _, length, _ in _timed(image):
            duration_s, n_frames = duration_s + float(length), n_frames + 1
            if duration_s > max_duration_s:
                raise MediaTooLong(f"{path}: longer than {max_duration_s:g} s", "cut it, or raise the limit")
    if not n_frames:
        raise UnreadableMedia(f"{path}: no frame of it can be decoded", "export it again")
    return Clip(path, duration_s, n_frames / duration_s, True, False, width_px, height_px)


def _timed(image: Image.Image) -> Iterator[tuple[Fraction, Fraction, Image.Image]]:
    """(time, duration, image) of every frame, up to the first damaged one; the image is the same object, moved on."""
    time = Fraction(0)
    for index in range(getattr(image, "n_frames", 1)):
        try:
            image.seek(index)
            image.load()
        except (EOFError, OSError, ValueError, RuntimeError, SyntaxError):
            return
        length = (int(image.info.get("duration") or 0) or _DEFAULT_MS) * _MS
        yield time, length, image
        time += length


class AnimationReader:
    """Frames of an animated WebP; transparent parts over white."""

    name = "pillow"

    def read(self, clip: Clip, rate_hz: Fraction | None, max_side_px: int | None) -> Iterator[Frame]:
        """See `FrameReader.read`."""
        with opened_image(clip.path) as image:
            if image is None:
                raise UnreadableMedia(f"{clip.path}: no longer the animation that was opened", "open it again")
            # on_grid looks one frame ahead and Pillow moves on in place, so each frame is copied out first.
            timed = (
                (time, length, flatten(frame.copy(), clip.path, max_side_px)) for time, length, frame in _timed(image)
            )
            for time, pixels in on_grid(timed, rate_hz, _MS):
                yield Frame(pixels, float(time))
