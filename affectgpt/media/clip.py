"""`open_clip`: what a file holds, proven by one decoded frame, before any work is spent on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.errors import ImageTooLarge, MediaNotFound, MediaTooLong, UnreadableMedia
from affectgpt.media.animation import open_animation
from affectgpt.media.container import (
    TEXT_SUBTITLE_CODECS,
    audio_stream,
    clip_origin_s,
    decode_tolerantly,
    demux_tolerantly,
    open_container,
    to_seconds,
    video_stream,
)
from affectgpt.media.frames import picture_size, quarter_turns
from affectgpt.media.stills import open_still
from affectgpt.records import Clip

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame

__all__ = ["MAX_DURATION_S", "MAX_PIXELS", "media_hash", "open_clip"]

MAX_DURATION_S = 3600.0
MAX_PIXELS = 50_000_000
"""About 8660 x 5770: above every camera's still, and 150 MB as RGB."""

_HASH_BLOCK_BYTES = 1 << 20
_TAIL_S = 5.0
"""How far before the claimed end the check for truncation looks."""
_END_TOLERANCE_S = 0.5
"""How far the last packet's end may lie before the claimed end (or two frames, if that is more)."""
_GUESSING_FORMATS = frozenset({"mp3", "aac", "ac3", "amr", "mpegts", "mpeg"})
"""Demuxers that guess the duration from the bit rate, or stop looking early."""
_SYNC_WORD_FORMATS = frozenset({"mp3", "aac", "ac3"})
"""Demuxers that look for a sync word: 200 kB of random bytes named .mp3 hold 35 "packets", of which one may decode."""
_N_TRIED_PACKETS = 32


@dataclass(frozen=True, slots=True)
class _Proof:
    """The first decoded frame of each kind; None where the file holds none."""

    picture: VideoFrame | None
    sound: AudioFrame | None


def open_clip(path: str | Path, *, max_duration_s: float = MAX_DURATION_S, max_pixels: int = MAX_PIXELS) -> Clip:
    """Read a media file's header and decode one frame of each kind, so that what the Clip promises is there.

    Any video, sound or still image; cover art in a sound file is no video. Where the header gives no duration, or one
    that the file does not reach (truncated, streamed through a pipe), the packets are counted without decoding: then
    `duration_s` is where the file breaks off. `has_audio` is False for a sound stream that holds no sound.

    Raises:
        MediaNotFound: no such file, or a directory.
        UnreadableMedia: empty, damaged, not media, or a codec without a decoder here.
        MediaTooLong: longer than `max_duration_s` seconds.
        ImageTooLarge: a picture of more than `max_pixels` pixels.
    """
    path = _existing_file(Path(path))
    pictures = open_still(path, max_pixels) or open_animation(path, max_duration_s, max_pixels)
    if pictures is not None:
        return pictures
    with open_container(path) as container:
        _check_pixels(container, path, max_pixels)
        proof = _prove(container, path)
    with open_container(path) as container:
        duration_s = _duration_s(container, path, max_duration_s)
        if duration_s > max_duration_s:
            raise MediaTooLong(
                f"{path}: longer than {max_duration_s:g} s", "cut the clip, or raise the limit (--max-duration)"
            )
        return _describe(container, path, duration_s, proof)


def media_hash(path: str | Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal, read in blocks.

    Raises:
        MediaNotFound: no such file, or a directory.
    """
    digest = hashlib.sha256()
    with _existing_file(Path(path)).open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _existing_file(path: Path) -> Path:
    try:
        if path.is_dir():
            raise MediaNotFound(f"{path}: a directory", "name one file; for many clips use `affectgpt batch`")
        if not path.is_file():
            raise MediaNotFound(f"{path}: no such file", "check the path")
        if path.stat().st_size == 0:
            raise UnreadableMedia(f"{path}: the file is empty", "copy or record it again")
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise MediaNotFound(f"{str(path)!r}: cannot be opened ({error})", "check path and permissions") from error


def _check_pixels(container: InputContainer, path: Path, max_pixels: int) -> None:
    video = video_stream(container)
    if video is not None and video.width * video.height > max_pixels:
        raise ImageTooLarge(
            f"{path}: pictures of {video.width}x{video.height} pixels, the limit is {max_pixels}",
            "scale the video down: ffmpeg -i FILE -vf scale=1280:-2 out.mp4",
        )


def _prove(container: InputContainer, path: Path) -> _Proof:
    """Decode until one frame of each stream has come; without any, say what is wrong."""
    video, audio = video_stream(container), audio_stream(container)
    wanted: list[Stream] = [s for s in (video, audio) if s is not None]
    found: dict[int, VideoFrame | AudioFrame] = {}
    if wanted:
        for packet in demux_tolerantly(container, *wanted):
            if packet.stream_index not in found:
                for frame in decode_tolerantly(packet)[:1]:
                    found[packet.stream_index] = frame  # type: ignore[assignment]
            if len(found) == len(wanted):
                break
    picture = found.get(video.index) if video else None
    sound = found.get(audio.index) if audio else None
    is_chance = container.format.name in _SYNC_WORD_FORMATS and not _mostly_decodes(path)
    if is_chance or (picture is None and (video is not None or sound is None)):
        kinds = ", ".join(sorted({f"{s.type} {s.codec_context.name}" for s in wanted})) or "no streams"
        raise UnreadableMedia(
            f"{path}: nothing in it can be decoded ({kinds})",
            "check that the file is complete, or convert it: ffmpeg -i FILE -c:v libx264 -c:a aac out.mp4",
        )
    return _Proof(picture, sound)  # type: ignore[arg-type]


def _mostly_decodes(path: Path) -> bool:
    """Whether at least half of the first sound packets decode, as they do in a real file."""
    n_tried = n_decoded = 0
    with open_container(path) as container:
        audio = audio_stream(container)
        if audio is None:
            return False
        for packet in demux_tolerantly(container, audio):
            n_tried += bool(packet.size)
            n_decoded += bool(decode_tolerantly(packet))
            if n_tried == _N_TRIED_PACKETS:
                break
    return 2 * n_decoded >= n_tried


def _describe(container: InputContainer, path: Path, duration_s: float, proof: _Proof) -> Clip:
    subtitles = [s for s in container.streams.subtitles if s.codec_context is not None]
    n_subtitles = sum(s.codec_context.name in TEXT_SUBTITLE_CODECS for s in subtitles)
    video, picture = video_stream(container), proof.picture
    if video is None or picture is None:
        return Clip(path, duration_s, 0.0, False, True, n_subtitle_streams=n_subtitles)
    width_px, height_px = picture_size(picture, video.sample_aspect_ratio)
    turns = quarter_turns(picture)
    if turns % 2:
        width_px, height_px = height_px, width_px
    return Clip(
        path,
        duration_s,
        float(video.average_rate or video.guessed_rate or 0),
        has_video=True,
        has_audio=proof.sound is not None,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=-turns % 4 * 90,
        n_subtitle_streams=n_subtitles,
    )


def _duration_s(container: InputContainer, path: Path, limit_s: float) -> float:
    """The end of the last stream on the clip's clock; counting stops soon after `limit_s`."""
    import av

    origin_s = clip_origin_s(container)
    claimed_s = _claimed_end_s(container) - origin_s
    if claimed_s > limit_s:
        return claimed_s
    is_guess = container.format.name in _GUESSING_FORMATS
    if claimed_s > 0 and not is_guess:
        try:
            container.seek(int((origin_s + max(0.0, claimed_s - _TAIL_S)) * av.time_base))
        except (av.FFmpegError, OverflowError):
            is_guess = True
        else:
            if _last_packet_end_s(container, limit_s + origin_s) - origin_s >= claimed_s - _tolerance_s(container):
                return claimed_s
    with open_container(path) as fresh:
        return max(0.0, _last_packet_end_s(fresh, limit_s + origin_s) - origin_s)


def _tolerance_s(container: InputContainer) -> float:
    video = video_stream(container)
    return max(_END_TOLERANCE_S, 2.0 / float(video.average_rate)) if video and video.average_rate else _END_TOLERANCE_S


def _claimed_end_s(container: InputContainer) -> float:
    """The latest end that the header states for picture or sound, in container time; 0 where it states none."""
    import av

    ends_s = [0.0]
    for stream in (video_stream(container), audio_stream(container)):
        length_s = to_seconds(stream.duration, stream.time_base) if stream else None
        if stream is not None and length_s is not None:
            ends_s.append((to_seconds(stream.start_time, stream.time_base) or 0.0) + length_s)
    if len(ends_s) == 1 and container.duration is not None:
        ends_s.append((container.duration + max(0, container.start_time or 0)) / av.time_base)
    return max(ends_s)


def _last_packet_end_s(container: InputContainer, limit_s: float) -> float:
    """The end of the last packet of picture or sound in container time, not decoded; stops once past `limit_s`."""
    streams: list[Stream] = [s for s in (video_stream(container), audio_stream(container)) if s is not None]
    end_s = 0.0
    for packet in demux_tolerantly(container, *streams):
        start_s = to_seconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
        if start_s is not None and packet.size:
            end_s = max(end_s, start_s + (to_seconds(packet.duration, packet.time_base) or 0.0))
        if end_s > limit_s + _TAIL_S:
            break
    return end_s
