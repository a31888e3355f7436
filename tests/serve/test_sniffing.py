"""A file is what its first bytes say, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import paint, tone, write_sound, write_video
from PIL import Image

from serve.incoming.sniffing import N_HEAD_BYTES, sniff


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".mp4", "video"), (".mov", "video"), (".mkv", "video"), (".webm", "video"), (".avi", "video"), (".ts", "video"),
     (".flv", "video"), (".3gp", "video"), (".mpg", "video"), (".wmv", "video")],
)  # fmt: skip
def test_films_are_known(tmp_path: Path, suffix: str, kind: str) -> None:
    codec = {".webm": "libvpx-vp9", ".flv": "flv1", ".3gp": "h263", ".mpg": "mpeg2video", ".wmv": "wmv2"}.get(
        suffix, "mpeg4"
    )
    path = tmp_path / f"clip{suffix}"
    with av.open(str(path), "w", format={".wmv": "asf", ".mpg": "mpeg"}.get(suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = (176, 144, "yuv420p")
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((144, 176, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    sniffed = sniff(path.read_bytes()[:N_HEAD_BYTES])
    assert sniffed is not None
    assert sniffed.kind == kind


@pytest.mark.parametrize(
    ("suffix", "codec", "kept"),
    [(".wav", "pcm_s16le", ".wav"), (".mp3", "libmp3lame", ".mp3"), (".flac", "flac", ".flac"),
     (".opus", "libopus", ".ogg"), (".m4a", "aac", ".m4a"), (".aac", "aac", ".aac"), (".aiff", "pcm_s16be", ".aiff"),
     (".ac3", "ac3", ".ac3"), (".caf", "pcm_s16le", ".caf"), (".w64", "pcm_s16le", ".w64")],
)  # fmt: skip
def test_sounds_are_known(tmp_path: Path, suffix: str, codec: str, kept: str) -> None:
    path = write_sound(tmp_path / f"sound{suffix}", tone(0.3)[None], codec)
    sniffed = sniff(path.read_bytes()[:N_HEAD_BYTES])
    assert sniffed is not None
    assert (sniffed.kind, sniffed.suffix) == ("audio", kept)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif", ".webp", ".bmp", ".avif"])
def test_pictures_are_known(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(paint(1)).save(path)
    sniffed = sniff(path.read_bytes()[:N_HEAD_BYTES])
    assert sniffed is not None
    assert (sniffed.kind, sniffed.suffix) == ("image", suffix)


SRT = "1\r\n00:00:00,000 --> 00:00:01,500\r\nWëll.\r\n"
VTT = "WEBVTT\n\n00:00.000 --> 00:01.500\nWëll.\n"


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (SRT.encode(), ".srt"),
        (SRT.encode("utf-8-sig"), ".srt"),
        (SRT.encode("utf-16"), ".srt"),
        (SRT.encode("latin-1"), ".srt"),
        (VTT.encode(), ".vtt"),
        (VTT.encode("utf-8-sig"), ".vtt"),
        ("I am fine. Ich schäme mich. 悲しい".encode(), ".txt"),
        (("ä" * 3000).encode(), ".txt"),
        (("x" + "ä" * 3000).encode(), ".txt"),
        (("悲" * 3000).encode(), ".txt"),
    ],
)
def test_words_are_known(data: bytes, suffix: str) -> None:
    sniffed = sniff(data)
    assert sniffed is not None
    assert (sniffed.kind, sniffed.suffix) == ("transcript", suffix)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   \n",
        b"\x00" * 100,
        b"%PDF-1.7\n",
        b"%!PS-Adobe",
        b"PK\x03\x04" + bytes(60),
        b"\x7fELF\x02\x01\x01",
        b"MZ\x90\x00",
        b"<!DOCTYPE html><p>hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        "schäme".encode("latin-1"),
        "plain words".encode("utf-16"),
        b"RIFF\x00\x00\x00\x00NOPE",
        b"FORM\x00\x00\x00\x00ILBM",
        b"xxxx\x00\x00\x00\x00WAVE",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        b"BM" + bytes(3),
        b"BMW drives well\x00",
        b"\xff\xff\xff\xff",
        b"G" * 100 + b"\x00",
        b"\x1b[31mred",
    ],
)
def test_other_files_are_not(data: bytes) -> None:
    assert sniff(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_of_a_kind_or_of_none(data: bytes) -> None:
    sniffed = sniff(data)
    assert sniffed is None or sniffed.suffix.startswith(".")


@given(st.binary(min_size=64, max_size=300).filter(lambda data: b"\x00" in data[:64]))
def test_binary_is_never_words(data: bytes) -> None:
    sniffed = sniff(b"\x01" + data)
    assert sniffed is None or sniffed.kind != "transcript"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip), st.data())
def test_where_a_long_text_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    words = ("well " + text) * (N_HEAD_BYTES // len(text.encode()) + 1)
    sniffed = sniff(words.encode()[:N_HEAD_BYTES])
    assert sniffed is not None
    assert sniffed.kind == "transcript"


def test_films_with_a_real_encoder_too(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 40, 80])
    sniffed = sniff(path.read_bytes())
    assert sniffed is not None
    assert sniffed.suffix == ".mp4"
