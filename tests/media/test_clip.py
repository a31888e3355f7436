"""open_clip: what it promises is there, and what it refuses it names."""

from __future__ import annotations

import contextlib
import hashlib
import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import even_times_ms, tone, write_sound, write_video
from PIL import Image

from affectgpt.errors import ImageTooLarge, InputError, MediaNotFound, MediaTooLong, UnreadableMedia
from affectgpt.media import frames, media_hash, open_clip, waveform


@pytest.mark.parametrize("name", ["nothing.mp4", "a/b/c.mp4", "x\x00y.mp4", "n" * 5000])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaNotFound):
        open_clip(tmp_path / name)
    with pytest.raises(MediaNotFound):
        media_hash(tmp_path / name)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFound, match="directory"):
        open_clip(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    with pytest.raises(UnreadableMedia, match="empty"):
        open_clip(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.wav", "a.mp3", "a.jpg", "a.h264", "noextension"])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_bytes(tmp_path: Path, name: str, seed: int) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(seed).bytes(200_000))
    with pytest.raises(UnreadableMedia):
        open_clip(path)


@pytest.mark.parametrize(
    "text",
    [
        "only words\n" * 500,
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost/x.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/hostname\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "1\n00:00:00,000 --> 00:00:02,000\nhello\n",
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    ],
)
def test_text_and_playlists_named_mp4_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_text(text)
    with pytest.raises(UnreadableMedia):
        open_clip(path)


def test_a_name_that_looks_like_a_protocol_is_a_file(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", even_times_ms(3)).rename(tmp_path / "concat:a|b.mp4")
    with contextlib.chdir(tmp_path):
        assert open_clip("concat:a|b.mp4").has_video


def test_zero_length_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    with pytest.raises(UnreadableMedia):
        open_clip(path)


def test_a_sound_stream_without_sound_is_no_sound(tmp_path: Path) -> None:
    empty = np.zeros((1, 0), np.float32)
    clip = open_clip(write_video(tmp_path / "a.mkv", even_times_ms(5), sound=empty, audio_codec="pcm_s16le"))
    assert clip.has_video
    assert not clip.has_audio
    assert list(waveform(clip)) == []


def test_too_long_is_told_from_the_header(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [k * 60_000 for k in range(121)])  # two hours at a frame a minute
    with pytest.raises(MediaTooLong, match="max-duration"):
        open_clip(path)
    assert open_clip(path, max_duration_s=9000).duration_s > 7000


def test_too_long_is_found_without_a_header(tmp_path: Path) -> None:
    data = io.BytesIO()
    source = write_video(tmp_path / "a.mp4", [k * 60_000 for k in range(121)])
    _pipe(source, data)
    path = tmp_path / "piped.mkv"
    path.write_bytes(data.getvalue())
    with pytest.raises(MediaTooLong):
        open_clip(path)


def _pipe(source: Path, target: io.BytesIO) -> None:
    """Remux as through a pipe: no seeking back, hence no duration and no index."""

    class Pipe:
        def write(self, data: bytes) -> int:
            return target.write(data)

    with av.open(str(source)) as original, av.open(Pipe(), "w", format="matroska") as container:
        stream = original.streams.video[0]
        copy = container.add_stream_from_template(stream)
        for packet in original.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)


def test_the_duration_of_a_piped_file_is_counted(tmp_path: Path) -> None:
    data = io.BytesIO()
    _pipe(write_video(tmp_path / "a.mp4", even_times_ms(50)), data)
    path = tmp_path / "piped.mkv"
    path.write_bytes(data.getvalue())
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = open_clip(path)
    assert clip.duration_s == pytest.approx(2.0, abs=0.05)
    assert len(list(frames(clip, None))) == 50


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libopus")],
)
def test_sound_alone(tmp_path: Path, name: str, codec: str) -> None:
    clip = open_clip(write_sound(tmp_path / name, tone(2.0)[None], codec))
    assert (clip.has_video, clip.has_audio, clip.is_image, clip.fps) == (False, True, False, 0.0)
    assert clip.duration_s == pytest.approx(2.0, abs=0.08)
    assert list(frames(clip, 5)) == []


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "JPEG")
    # ID3v2.3 with one APIC frame (id3.org, 4.15): encoding, MIME type, picture type 3 (cover), description, data
    body = b"\x00image/jpeg\x00\x03\x00" + picture.getvalue()
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    n = len(frame)
    size = bytes((n >> shift) & 0x7F for shift in (21, 14, 7, 0))
    sound = write_sound(tmp_path / "plain.mp3", tone(1.0)[None], "libmp3lame").read_bytes()
    path = tmp_path / "cover.mp3"
    path.write_bytes(b"ID3\x03\x00\x00" + size + frame + sound[sound.index(b"\xff\xfb") :])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1  # FFmpeg does see a video stream
    clip = open_clip(path)
    assert not clip.has_video
    assert clip.has_audio


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", even_times_ms(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])  # the index stood at the end
    with pytest.raises(UnreadableMedia, match=r"a\.mp4"):
        open_clip(path)


def test_a_truncated_file_with_its_index_in_front_ends_where_it_breaks(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", even_times_ms(200), options={"movflags": "faststart"})
    whole = open_clip(path).duration_s
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    clip = open_clip(path)
    last_s = list(frames(clip, None))[-1].time_s
    assert whole == pytest.approx(8.0, abs=0.1)
    assert last_s < clip.duration_s < 7.0


def test_pictures_too_large_are_refused_in_video_too(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", even_times_ms(3))
    with pytest.raises(ImageTooLarge, match="160x96"):
        open_clip(path, max_pixels=10_000)


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    data = bytes(range(256)) * 9000
    path.write_bytes(data)
    assert media_hash(path) == hashlib.sha256(data).hexdigest()


HEADS = [
    b"",
    b"\x00\x00\x00\x18ftypmp42",
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"RIFF\x00\x10\x00\x00WEBPVP8X",
    b"GIF89a",
    b"OggS",
    b"fLaC",
    b"ID3\x03",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\x00",
    b"#EXTM3U\n",
    b"\xff\xfb\x90",
]


@given(data=st.binary(max_size=2000), head=st.sampled_from(HEADS))
def test_any_bytes_give_a_clip_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.mp4"
    path.write_bytes(head + data)
    with contextlib.suppress(InputError):  # any other error fails the test
        clip = open_clip(path)
        list(frames(clip, 5))
        list(waveform(clip))


@given(position=st.floats(0.0, 1.0), junk=st.binary(min_size=1, max_size=64))
def test_a_damaged_file_never_fails_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, position: float, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    source = write_video(folder / "a.mp4", even_times_ms(8), sound=tone(0.3)[None])
    data = bytearray(source.read_bytes())
    at = int(position * (len(data) - 1))
    data[at : at + len(junk)] = junk
    source.write_bytes(data)
    try:
        clip = open_clip(source)
        n_frames = sum(1 for _ in frames(clip, 5))
        n_samples = sum(w.samples.size for w in waveform(clip))
    except InputError:
        return
    assert n_frames <= 200_000
    assert n_samples <= 16_000 * (clip.duration_s + 60)


@pytest.mark.shared
def test_every_real_clip_opens_and_keeps_its_promise(shared_data: Path) -> None:
    paths = sorted(p for p in (shared_data / "clips").rglob("*") if p.suffix in {".mp4", ".mov"})
    assert len(paths) == 33
    for path in paths:
        clip = open_clip(path)
        first = next(frames(clip, 2))
        assert first.pixels.shape == (clip.height_px, clip.width_px, 3)
        assert first.time_s == 0.0 or clip.has_audio
        assert next(waveform(clip), None) is not None or not clip.has_audio
