"""Small media for the tests, written with PyAV: every picture carries its number in bits, every sound a known tone."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, N_BITS = 160, 96, 10
CELL_PX = WIDTH_PX // N_BITS
MS = Fraction(1, 1000)
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Text\n"
)
AUDIO_RATE_HZ = 48_000
ENCODER_OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "8", "crf": "20", "svtav1-params": "lp=1"},
}

os.environ.setdefault("SVT_LOG", "1")  # this encoder writes to stderr past libav's log; 1: errors only


def paint(number: int) -> NDArray[np.uint8]:
    """(H, W, 3): `number` in bits along the bottom (white 1, black 0), a red mark top left, grey elsewhere."""
    picture = np.full((HEIGHT_PX, WIDTH_PX, 3), 128, np.uint8)
    picture[:24, :24] = (220, 20, 20)
    for bit in range(N_BITS):
        picture[-32:, bit * CELL_PX : (bit + 1) * CELL_PX] = 235 if number >> bit & 1 else 16
    return picture


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number that `paint` wrote, at any scale, from an upright picture."""
    height, width = picture.shape[:2]
    row = picture[round(height * 5 / 6)].mean(axis=1)
    return sum(1 << bit for bit in range(N_BITS) if row[int((bit + 0.5) * width / N_BITS)] > 128)


def is_upright(picture: NDArray[np.uint8]) -> bool:
    """Whether the red mark lies top left."""
    red, green, blue = (int(c) for c in picture[picture.shape[0] // 12, picture.shape[1] // 20])
    return red > 150 and green < 90 and blue < 90


def tone(length_s: float, rate_hz: int = AUDIO_RATE_HZ, level: float = 0.5, hz: float = 440.0) -> NDArray[np.float32]:
    """(N,) a sine."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(length_s * rate_hz)) / rate_hz)).astype(np.float32)


def even_times_ms(n_frames: int, fps: float = 25.0) -> list[int]:
    """Presentation times of a constant frame rate."""
    return [round(k * 1000 / fps) for k in range(n_frames)]


def write_video(
    path: Path,
    times_ms: Sequence[int],
    *,
    codec: str = "libx264",
    sound: NDArray[np.float32] | None = None,
    sound_at_ms: int = 0,
    audio_codec: str = "aac",
    options: dict[str, str] | None = None,
) -> Path:
    """A video whose k-th picture shows k at `times_ms[k]`; `sound` (channels, N) at 48 kHz starts at `sound_at_ms`."""
    with av.open(str(path), "w", options=options or {}) as container:
        rate = Fraction(25)
        video = container.add_stream(codec, rate=rate, options=ENCODER_OPTIONS.get(codec, {}))
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        # MPEG-4 part 2 and AVI count frames; the others take milliseconds.
        base = 1 / rate if codec == "mpeg4" else MS
        video.codec_context.time_base = base
        audio = container.add_stream(audio_codec, rate=AUDIO_RATE_HZ) if sound is not None else None
        if audio is not None:
            audio.layout = "stereo" if sound is not None and sound.shape[0] == 2 else "mono"
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(paint(number), "rgb24")
            frame.pts, frame.time_base = round(time_ms * MS / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            _write_sound(container, audio, sound, sound_at_ms)
    return path


def write_sound(path: Path, samples: NDArray[np.float32], codec: str, *, rate_hz: int = AUDIO_RATE_HZ) -> Path:
    """A sound file of (channels, N) samples."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
        _write_sound(container, stream, samples, 0, rate_hz)
    return path


def write_gapped_sound(path: Path, pieces: Sequence[tuple[float, NDArray[np.float32]]]) -> Path:
    """A Matroska file of mono PCM whose pieces start at the given seconds, whatever lies between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=AUDIO_RATE_HZ)
        stream.layout = "mono"
        for start_s, samples in pieces:
            _write_sound(container, stream, samples[None], round(start_s * 1000), flush=False)
        container.mux(stream.encode(None))
    return path


def _write_sound(container, stream, samples, at_ms, rate_hz=AUDIO_RATE_HZ, flush=True):  # type: ignore[no-untyped-def]
    resampler = av.AudioResampler(stream.format, stream.layout, rate_hz)
    n_step = 1024
    for start in range(0, samples.shape[1], n_step):
        piece = np.ascontiguousarray(samples[:, start : start + n_step])
        frame = av.AudioFrame.from_ndarray(piece, "fltp", stream.layout.name)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = at_ms * rate_hz // 1000 + start
        for out in resampler.resample(frame):
            container.mux(stream.encode(out))
    if flush:
        container.mux(stream.encode(None))


def add_subtitles(source: Path, path: Path, codec: str, cues: Sequence[tuple[int, int, str]]) -> Path:
    """A copy of `source` with a text subtitle stream of (start ms, end ms, raw text) cues."""
    with av.open(str(source)) as original, av.open(str(path), "w") as container:
        kept = [s for s in original.streams if s.type in ("video", "audio")]
        copies = {s.index: container.add_stream_from_template(s) for s in kept}
        subtitles = container.add_stream(codec)
        subtitles.time_base = MS
        if codec != "ass":
            subtitles.codec_context.subtitle_header = ASS_HEADER
        for packet in original.demux(*[original.streams[i] for i in copies]):
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
        for start_ms, end_ms, text in cues:
            data = text.encode()
            packet = av.Packet(struct.pack(">H", len(data)) + data if codec == "mov_text" else data)
            packet.pts = packet.dts = start_ms
            packet.duration, packet.time_base, packet.stream = end_ms - start_ms, MS, subtitles
            container.mux(packet)
    return path


def rotate_mp4(path: Path, clockwise_deg: int) -> Path:
    """Rewrite the first track's display matrix (ISO 14496-12, 8.3.2), as a phone does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9I", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise_deg]
    one = 1 << 16
    struct.pack_into(">9i", data, at, cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
