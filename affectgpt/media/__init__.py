"""Media in: a path becomes a Clip; a Clip gives frames, sound in blocks, and subtitles.

The clip's clock starts at its first picture (`container.clip_origin_s` has the one exception), for pictures, sound and
embedded subtitles alike, so the offset between sound and picture is kept as the file has it.
"""

from __future__ import annotations

from affectgpt.media.clip import MAX_DURATION_S, MAX_PIXELS, media_hash, open_clip
from affectgpt.media.frames import FrameReader, frames
from affectgpt.media.sound import waveform
from affectgpt.media.subtitles import read_subtitles, stream_subtitles, subtitle_path

__all__ = [
    "MAX_DURATION_S",
    "MAX_PIXELS",
    "FrameReader",
    "frames",
    "media_hash",
    "open_clip",
    "read_subtitles",
    "stream_subtitles",
    "subtitle_path",
    "waveform",
]
