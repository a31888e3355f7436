"""Opening a media file through FFmpeg (PyAV), safely: which formats, which streams, where the clip's clock starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from affectgpt.errors import UnreadableMedia

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.frame import Frame as AvFrame
    from av.packet import Packet
    from av.stream import Stream
    from av.subtitles.stream import SubtitleStream
    from av.video.stream import VideoStream

__all__ = [
    "SOUND_LEAD_LIMIT_S",
    "TEXT_SUBTITLE_CODECS",
    "audio_stream",
    "clip_origin_s",
    "decode_tolerantly",
    "demux_tolerantly",
    "open_container",
    "subtitle_stream",
    "to_seconds",
    "video_stream",
]

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,gif,apng,mp3,wav,w64,flac,ogg,aac,aiff,caf,amr,ac3"
)
"""Demuxers that may open a user's file. Left out on purpose: playlists and scripts (hls, concat, dash, sdp), which name
other files or hosts to open, and headerless raw codecs, which any random bytes can pass for."""

SOUND_LEAD_LIMIT_S = 0.1
"""Sound that starts up to this long before the first picture is a codec's priming or a cut's rounding (AAC: 1024
samples, 23 ms at 44.1 kHz; Opus: 6.5 ms; both below): it is cut. A longer lead is real sound, and the clock then starts
with it."""

TEXT_SUBTITLE_CODECS = frozenset({"subrip", "srt", "text", "webvtt", "mov_text", "ass", "ssa"})

_PICTURE_DISPOSITIONS = ("attached_pic", "timed_thumbnails", "still_image")
_StreamT = TypeVar("_StreamT", bound="Stream")


@contextmanager
def open_container(path: Path, **options: str) -> Iterator[InputContainer]:
    """Open `path` for reading and close it whatever happens.

    Only local files are opened, only in the formats of `FORMATS`: a file that names another file or a host is refused.
    libav's own log stays silent, which is PyAV's default.

    Raises:
        UnreadableMedia: no demuxer of the list takes the file.
    """
    import av

    safe = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        # The `file:` prefix keeps a name such as `concat:a|b` or `http:x` from being read as a protocol.
        container = av.open(f"file:{path}", mode="r", options={**safe, **options}, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise UnreadableMedia(
            f"{path}: not a video, sound or picture that can be read ({_reason(error)})",
            "check that the file is complete, or convert it: ffmpeg -i FILE out.mp4",
        ) from error
    try:
        yield container
    finally:
        container.close()


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()


def to_seconds(ticks: int | None, time_base: Fraction | None) -> float | None:
    """`ticks` of `time_base` in seconds, None where either is unknown."""
    return None if ticks is None or time_base is None else float(ticks * time_base)


def video_stream(container: InputContainer) -> VideoStream | None:
    """The moving picture: the default video stream, else the first; cover art and thumbnails do not count."""
    return _preferred([s for s in container.streams.video if _has_codec(s) and not _is_picture(s)])


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The sound: the default audio stream that a decoder exists for, else the first such."""
    return _preferred([s for s in container.streams.audio if _has_codec(s)])


def subtitle_stream(container: InputContainer) -> SubtitleStream | None:
    """The default text subtitle stream, else the first that is not for foreign passages only (`forced`)."""
    texts = [s for s in container.streams.subtitles if _has_codec(s) and s.codec_context.name in TEXT_SUBTITLE_CODECS]
    return _preferred([s for s in texts if not _is(s, "forced")] or texts)


def _preferred(streams: list[_StreamT]) -> _StreamT | None:
    defaults = [s for s in streams if _is(s, "default")]
    return next(iter(defaults or streams), None)


def _has_codec(stream: Stream) -> bool:
    return stream.codec_context is not None


def _is_picture(stream: Stream) -> bool:
    return any(_is(stream, name) for name in _PICTURE_DISPOSITIONS)


def _is(stream: Stream, disposition: str) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition[disposition])


def clip_origin_s(container: InputContainer) -> float:
    """The container time that is 0.0 on the clip's clock; one value for pictures, sound and subtitles.

    It is the first picture's PTS, so that the offset between sound and picture is kept: sound that starts later has a
    positive `start_s`. Sound that leads the picture by more than `SOUND_LEAD_LIMIT_S` starts the clock instead, as in
    every player, and the first picture then comes after 0.0. No time on the clock is negative.
    """
    video, audio = video_stream(container), audio_stream(container)
    video_start_s = to_seconds(video.start_time, video.time_base) if video else None
    audio_start_s = to_seconds(audio.start_time, audio.time_base) if audio else None
    if video_start_s is None:
        return audio_start_s or 0.0
    if audio_start_s is not None and video_start_s - audio_start_s > SOUND_LEAD_LIMIT_S:
        return audio_start_s
    return video_start_s


def demux_tolerantly(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """The packets of `streams` in file order, up to the end or to where the file breaks off."""
    import av

    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, OSError):
            return
        yield packet


def decode_tolerantly(packet: Packet[Any]) -> list[AvFrame]:
    """The frames that a packet completes; none where the packet is damaged."""
    import av

    try:
        return list(packet.decode())
    except (av.FFmpegError, ValueError, MemoryError):
        return []
