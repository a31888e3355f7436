"""What a file is, told from its first bytes and from nothing that anybody says of it.

The signatures are those of the formats' own specifications, as the WHATWG MIME Sniffing Standard and libmagic list
them. Only kinds that this package reads have one. A signature promises a kind, never a whole file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from serve.events import MediaKind

__all__ = ["N_HEAD_BYTES", "Sniffed", "sniff"]

N_HEAD_BYTES: Final = 4096
"""As much of a file as `sniff` wants to see; less is enough where the file is shorter."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A kind of media and the suffix that its file is given; the kind of a container is a first guess."""

    kind: MediaKind
    suffix: str


_SIGNATURES: Final[tuple[tuple[int, bytes, Sniffed], ...]] = (
    (0, b"\xff\xd8\xff", Sniffed("image", ".jpg")),
    (0, b"\x89PNG\r\n\x1a\n", Sniffed("image", ".png")),
    (0, b"GIF87a", Sniffed("image", ".gif")),
    (0, b"GIF89a", Sniffed("image", ".gif")),
    (0, b"II*\x00", Sniffed("image", ".tif")),
    (0, b"MM\x00*", Sniffed("image", ".tif")),
    (8, b"WEBP", Sniffed("image", ".webp")),
    (8, b"WAVE", Sniffed("audio", ".wav")),
    (8, b"AVI ", Sniffed("video", ".avi")),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", Sniffed("audio", ".w64")),
    (0, b"fLaC", Sniffed("audio", ".flac")),
    (0, b"OggS", Sniffed("audio", ".ogg")),
    (0, b"ID3", Sniffed("audio", ".mp3")),
    (0, b"#!AMR", Sniffed("audio", ".amr")),
    (0, b"caff", Sniffed("audio", ".caf")),
    (8, b"AIFF", Sniffed("audio", ".aiff")),
    (8, b"AIFC", Sniffed("audio", ".aiff")),
    (0, b"\x0b\x77", Sniffed("audio", ".ac3")),
    (0, b"\x1a\x45\xdf\xa3", Sniffed("video", ".mkv")),
    (0, b"FLV\x01", Sniffed("video", ".flv")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Sniffed("video", ".wmv")),
    (0, b"\x00\x00\x01\xba", Sniffed("video", ".mpg")),
)
_BITMAP_HEADERS: Final = frozenset({12, 40, 108, 124})
_RIFF: Final = {b"WEBP": (b"RIFF",), b"AVI ": (b"RIFF",), b"WAVE": (b"RIFF", b"RF64")}
_FORM: Final = {b"AIFF": (b"FORM",), b"AIFC": (b"FORM",)}
_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
"""What a QuickTime file may begin with where it has no `ftyp` (QuickTime File Format, 2001)."""
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"F4A "})
_PICTURE_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_TS_PACKET: Final = 188
_NO_TRANSCRIPT: Final = (b"<", b"%PDF", b"%!PS", b"{\\rtf", b"#EXTM3U", b"ffconcat")
"""Text that is markup, a program for a printer, or a list of other files."""
_CUE: Final = re.compile(rb"\d{1,2}:\d{2}[:.,]\d{2,3}[^\n]{0,12}-->")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def sniff(head: bytes) -> Sniffed | None:
    """The kind of a file that begins with `head`, at best its first `N_HEAD_BYTES`; None for one that is not read."""
    head = head[:N_HEAD_BYTES]
    for offset, mark, sniffed in _SIGNATURES:
        if head.startswith(mark, offset) and _is_wrapped(head, mark):
            return sniffed
    return _bitmap(head) or _boxed(head) or _framed(head) or _transport(head) or _text(head)


def _is_wrapped(head: bytes, mark: bytes) -> bool:
    """Whether a form type at byte 8 stands in the container that it belongs to."""
    wrappers = _RIFF.get(mark) or _FORM.get(mark)
    return wrappers is None or head.startswith(wrappers)


def _bitmap(head: bytes) -> Sniffed | None:
    """BMP: two letters are little to go by, so the reserved fields must be zero and the header of a known size."""
    is_bitmap = (
        head[:2] == b"BM"
        and head[6:10] == bytes(4)
        and head[14:18] in {bytes((n, 0, 0, 0)) for n in (12, 40, 108, 124)}
    )
    return Sniffed("image", ".bmp") if is_bitmap else None


def _boxed(head: bytes) -> Sniffed | None:
    """ISO base media (ISO/IEC 14496-12): MP4, QuickTime, 3GP, AVIF."""
    if head[4:8] in _BOXES and len(head) >= 16:
        return Sniffed("video", ".mov")
    if head[4:8] != b"ftyp":
        return None
    brands = head[8 : min(int.from_bytes(head[:4], "big"), 256)]
    if b"avif" in brands or b"avis" in brands:
        return Sniffed("image", ".avif")
    if head[8:12] in _PICTURE_BRANDS:
        return None
    return Sniffed("audio", ".m4a") if head[8:12] in _AUDIO_BRANDS else Sniffed("video", ".mp4")


def _framed(head: bytes) -> Sniffed | None:
    """Bare MPEG audio: an ADTS header (ISO/IEC 13818-7, 6.2) or an MPEG audio frame's (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return Sniffed("audio", ".aac") if head[2] >> 2 & 0xF < 13 else None
    # Layers II and III; nobody writes layer I, and its mark is that of text in UTF-16.
    is_frame = head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08 and head[1] & 0x06 in (2, 4)
    is_playable = head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return Sniffed("audio", ".mp3") if is_frame and is_playable else None


def _transport(head: bytes) -> Sniffed | None:
    """MPEG transport stream: a sync byte each 188 bytes (ISO/IEC 13818-1), or each 192 after a time code."""
    for offset, stride in ((0, _TS_PACKET), (4, _TS_PACKET + 4)):
        marks = head[offset : offset + 5 * stride : stride]
        if len(marks) >= 3 and set(marks) == {0x47}:
            return Sniffed("video", ".ts")
    return None


def _text(head: bytes) -> Sniffed | None:
    """WebVTT, SubRip, or plain text. Only subtitles may be in another encoding than UTF-8: there the times prove it."""
    is_wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if is_wide:
        plain = head[: len(head) & ~1].decode("utf-16", "replace").encode()
    else:
        plain = head.removeprefix(b"\xef\xbb\xbf")
    start = plain.lstrip()
    if not start or start.startswith(_NO_TRANSCRIPT):
        return None
    try:
        # A character may be cut at the end of the head.
        text = plain.decode("utf-8") if len(head) < N_HEAD_BYTES else plain.decode("utf-8", "ignore")
        is_utf8 = len(head) < N_HEAD_BYTES or len(text.encode()) > len(plain) - 4
    except UnicodeDecodeError:
        text, is_utf8 = plain.decode("latin-1"), False
    if _CONTROL.search(text):
        return None
    if start.startswith(b"WEBVTT"):
        return Sniffed("transcript", ".vtt")
    if _CUE.search(plain):
        return Sniffed("transcript", ".srt")
    return Sniffed("transcript", ".txt") if is_utf8 and not is_wide else None
