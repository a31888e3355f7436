"""The clip as bytes that a browser plays: the file itself where it can be played, else a small copy, else a note."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from affectgpt import media
from affectgpt.errors import AffectError
from affectgpt.records import Clip, Frame, Waveform

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["LARGEST_MB", "Embedded", "embed"]

LARGEST_MB = 40
"""A file up to this size is put in as it is. In base64 that is a page of 53 MB, which a phone still opens."""

_MILLISECOND = Fraction(1, 1000)
COPY_SIDE_PX = 640
COPY_RATE_HZ = 25.0
COPY_SOUND_HZ = 44_100
LONGEST_COPY_S = 300.0
"""A longer clip is not copied: two cores write some 100 copied frames a second, so five minutes take about one."""

# What Chromium, Firefox and Safari all play, by container and codec:
# https://developer.mozilla.org/en-US/docs/Web/Media/Guides/Formats/Containers
_PLAYABLE: dict[str, tuple[str, frozenset[str], frozenset[str]]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", frozenset({"h264", "av1"}), frozenset({"aac", "mp3", "opus", "flac"})),
    "matroska,webm": ("webm", frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})),
    "mp3": ("mpeg", frozenset(), frozenset({"mp3"})),
    "wav": ("wav", frozenset(), frozenset({"pcm_s16le", "pcm_u8"})),
    "flac": ("flac", frozenset(), frozenset({"flac"})),
}
_PLAYABLE_PIXELS = frozenset({"yuv420p", "yuvj420p"})
_SHOWN_STILLS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the page shows: `kind` decides the element, `data` is empty where there is only the `note`."""

    kind: Literal["video", "audio", "image", "none"]
    mime: str = ""
    data: bytes = b""
    note: str = ""


def embed(clip: Clip | None) -> Embedded:
    """The clip for a page. Never raises for a clip that cannot be shown: it says so in the note."""
    if clip is None:
        return Embedded("none", note="A transcript alone: there is no clip to show.")
    try:
        return _embed_still(clip) if clip.is_image else _embed_moving(clip)
    except (AffectError, OSError, ValueError) as error:
        return Embedded("none", note=f"The clip could not be put into this page: {error}")


def _embed_still(clip: Clip) -> Embedded:
    from PIL import Image

    small_enough = clip.path.stat().st_size <= LARGEST_MB * 1_000_000 // 10
    with Image.open(clip.path) as image:
        form = _SHOWN_STILLS.get(image.format or "")
    if form and small_enough:
        return Embedded("image", f"image/{form}", clip.path.read_bytes())
    frame = next(iter(media.frames(clip, None, max_side_px=2 * COPY_SIDE_PX)))
    out = io.BytesIO()
    Image.fromarray(frame.pixels).save(out, "JPEG", quality=88)
    return Embedded("image", "image/jpeg", out.getvalue(), "A smaller copy of the picture.")


def _embed_moving(clip: Clip) -> Embedded:
    mime, why = _playable_as(clip)
    size_mb = clip.path.stat().st_size / 1e6
    if mime and size_mb <= LARGEST_MB:
        return Embedded("video" if clip.has_video else "audio", mime, clip.path.read_bytes())
    reason = why or f"the file is {size_mb:.0f} MB"
    if clip.duration_s > LONGEST_COPY_S:
        note = f"The clip is not in this page: {reason}, and {clip.duration_s:.0f} s are too long to copy."
        return Embedded("none", note=note)
    kind: Literal["video", "audio"] = "video" if clip.has_video else "audio"
    return Embedded(kind, f"{kind}/mp4", _copy(clip), f"A smaller copy of the clip, made for this page: {reason}.")


def _playable_as(clip: Clip) -> tuple[str, str]:
    """The file's MIME type where browsers play it, else an empty one and the reason."""
    import av

    try:
        with av.open(str(clip.path)) as container:
            kinds = _PLAYABLE.get(container.format.name)
            if kinds is None:
                return "", f"not every browser opens {container.format.long_name or container.format.name}"
            form, video, audio = kinds
            for stream in container.streams:
                known = {"video": video, "audio": audio}.get(stream.type)
                name = stream.codec_context.codec.canonical_name if known is not None else ""
                if known is not None and name not in known:
                    return "", f"not every browser plays {name}"
            pixels = container.streams.video[0].codec_context.pix_fmt if container.streams.video else None
            if pixels and pixels not in _PLAYABLE_PIXELS:
                return "", f"not every browser shows {pixels} pictures"
    except av.FFmpegError as error:
        return "", f"its header is damaged ({error.strerror})"
    return f"{'video' if clip.has_video else 'audio'}/{form}", ""


def _copy(clip: Clip) -> bytes:
    """The clip as an mp4 of H.264 and AAC, upright, at most `COPY_SIDE_PX` on its longer side.

    Raises:
        UnreadableMedia: nothing in it decodes. ValueError: this build of PyAV writes no H.264.
    """
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        frames = media.frames(clip, COPY_RATE_HZ, max_side_px=COPY_SIDE_PX) if clip.has_video else iter(())
        first = next(frames, None)
        if first is not None:
            pictures = _video_stream(container, first)
        sound = container.add_stream("aac", rate=COPY_SOUND_HZ, layout="mono") if clip.has_audio else None
        if first is not None:
            _write_pictures(container, pictures, chain([first], frames))
        if sound is not None:
            _write_sound(container, sound, media.waveform(clip, COPY_SOUND_HZ))
    return out.getvalue()


def _video_stream(container: OutputContainer, first: Frame) -> VideoStream:
    height, width = (side - side % 2 for side in first.pixels.shape[:2])  # H.264 in 4:2:0 has even sides
    stream = container.add_stream("libx264", rate=round(COPY_RATE_HZ), options={"crf": "26", "preset": "veryfast"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = _MILLISECOND
    return stream


def _write_pictures(container: OutputContainer, stream: VideoStream, frames: Iterable[Frame]) -> None:
    import av

    last = -1
    for frame in frames:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels[: stream.height, : stream.width]))
        last = max(last + 1, round(frame.time_s * 1000))  # strictly rising, as the muxer wants
        picture.pts, picture.time_base = last, _MILLISECOND
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def _write_sound(container: OutputContainer, stream: AudioStream, blocks: Iterable[Waveform]) -> None:
    import av

    for block in blocks:
        sound = av.AudioFrame.from_ndarray(block.samples[None, :], format="fltp", layout="mono")
        sound.sample_rate, sound.time_base = block.rate_hz, Fraction(1, block.rate_hz)
        sound.pts = max(0, round(block.start_s * block.rate_hz))
        container.mux(stream.encode(sound))
    container.mux(stream.encode(None))
