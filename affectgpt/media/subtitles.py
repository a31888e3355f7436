"""Subtitles beside a clip or inside it -> Utterances: text without markup, who speaks, and when."""

from __future__ import annotations

import codecs
import html
import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.errors import TranscriptError
from affectgpt.media.container import (
    clip_origin_s,
    demux_tolerantly,
    open_container,
    subtitle_stream,
    to_seconds,
)
from affectgpt.records import Clip, Utterance

if TYPE_CHECKING:
    from av.packet import Packet

__all__ = ["MAX_SUBTITLE_BYTES", "read_subtitles", "stream_subtitles", "subtitle_path"]

MAX_SUBTITLE_BYTES = 5_000_000
"""A three-hour film's subtitles hold about 150 kB."""

_EXTENSIONS = (".srt", ".vtt")
_TAGGED = re.compile(r"(.+)\.[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?\.(?:srt|vtt)", re.IGNORECASE | re.DOTALL)
_SETTLED_NS = 2 * 10**9
"""A folder's time of change is as coarse as its file system's clock: two seconds on FAT, milliseconds elsewhere."""
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_ARROW = "-->"
_NEGATIVE_TIME = re.compile(r"(?<![\d:.,-])-(?:\d{1,4}:)?\d{1,2}:\d{1,2}[.,]\d{1,3}")
# Every quantifier is bounded or stops at the next opening sign: hostile text must not cost quadratic time.
_VOICE = re.compile(r"<v(?:\.[^\s<>]{1,80})?[ \t]+([^<>\n]{1,120})>")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>|</?[A-Za-z]>|<\d[\d:.]{0,20}>")
_OVERRIDE = re.compile(r"\{\\[^{}]{0,300}\}")
_TURN = r"^\s*(?:[-–—]|>{2,3})\s*"  # a dash, or the chevrons of American captions
_NAME = re.compile(
    rf"(?:{_TURN}|^\s*)([^\W\d_a-z][^\Wa-z]*(?:[ .'’-]{{1,2}}[^\W_a-z]+){{0,3}})(?: \([^()\n]{{1,30}}\))?:[ \t]+(?=\S)"
)
_DASH = re.compile(_TURN + r"(?=\S)")


def subtitle_path(clip_path: str | Path) -> Path | None:
    """The subtitle file beside a clip: `name.srt`, `name.vtt`, then `name.LANG.srt` or `.vtt`, English first."""
    clip_path = Path(clip_path)
    for extension in _EXTENSIONS:
        exact = clip_path.with_suffix(extension)
        if exact.is_file() and exact != clip_path:
            return exact
    tagged = [p for p in _tagged(clip_path.parent).get(clip_path.stem.lower(), ()) if p.is_file()]
    return min(tagged, key=lambda p: (not p.stem.lower().endswith((".en", ".eng")), p.name), default=None)


def _tagged(folder: Path) -> Mapping[str, list[Path]]:
    """The subtitles of a folder whose names hold a language, by the clip's name in lower case.

    A folder that has not changed is not listed again: with 100,000 clips in it, each would cost a tenth of a second.
    """
    try:
        changed_ns = folder.stat().st_mtime_ns
        if time.time_ns() - changed_ns < _SETTLED_NS:  # the next change may not show in the folder's time
            return _list_tagged(folder)
        return _listed_tagged(folder, changed_ns)
    except OSError:
        return {}


def _list_tagged(folder: Path) -> Mapping[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    with os.scandir(folder) as listed:
        for entry in listed:
            if match := _TAGGED.fullmatch(entry.name):
                found.setdefault(match[1].lower(), []).append(Path(entry.path))
    return found


@lru_cache(maxsize=8)
def _listed_tagged(folder: Path, changed_ns: int) -> Mapping[str, list[Path]]:
    return _list_tagged(folder)


def read_subtitles(path: str | Path) -> tuple[Utterance, ...]:
    """The utterances of a SubRip or WebVTT file, by start time; overlaps are kept as they are.

    UTF-8, UTF-16 (with or without a mark) and, failing those, Windows-1252 or Latin-1. Markup is taken off; `<v Anna>`
    and `ANNA:` at a line's start name the speaker and begin an utterance of their own. Times below zero become zero; a
    cue that ends before it starts ends where it starts; a cue without words is left out. An empty file gives ().

    Raises:
        TranscriptError: no such file, over `MAX_SUBTITLE_BYTES`, or text without one timed cue.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SUBTITLE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TranscriptError(f"{str(path)!r}: cannot be read ({error})", "check the path") from error
    if len(data) > MAX_SUBTITLE_BYTES:
        raise TranscriptError(f"{path}: over {MAX_SUBTITLE_BYTES} bytes", "give a subtitle file, or a part of it")
    text = _decode(data)
    cues = list(_cues(text))
    if not cues and text.strip() and not _is_bare_vtt(text):
        raise TranscriptError(f"{path}: no timed line in it", "give SubRip (.srt) or WebVTT (.vtt)")
    found = (u for start_s, end_s, raw in cues for u in _utterances(raw, start_s, end_s))
    return tuple(sorted(found, key=lambda u: u.start_s or 0.0))


def _decode(data: bytes) -> str:
    """Bytes to text with plain newlines; never fails, since Latin-1 takes any byte."""
    bom = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    names = [bom] if bom else []
    if not bom and data.count(0) > len(data) // 4:
        # Text in UTF-16 without a mark: for Latin letters every other byte is zero, and on which side tells the order.
        names.append("utf-16-le" if data[1::2].count(0) >= data[0::2].count(0) else "utf-16-be")
    for name in (*names, "utf-8", "cp1252"):
        try:
            text = data.decode(name)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = data.decode("latin-1")
    return re.sub(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]", "\n", text).replace("\x00", "")


def _is_vtt(text: str) -> bool:
    return text.lstrip("\ufeff \n\t").startswith("WEBVTT")


def _is_bare_vtt(text: str) -> bool:
    return _is_vtt(text) and _ARROW not in text


def _cues(text: str) -> Iterator[tuple[float, float, str]]:
    """(start, end, raw text) of every timed cue, parsed by pysubs2."""
    import pysubs2

    is_vtt = _is_vtt(text)
    prepared = _prepare(text, is_vtt)
    if _ARROW not in prepared:
        return
    try:
        events = pysubs2.SSAFile.from_string(prepared, format_="vtt" if is_vtt else "srt", keep_html_tags=True)
    except (pysubs2.exceptions.Pysubs2Error, ValueError, OverflowError) as error:
        raise TranscriptError(f"a subtitle that cannot be parsed ({error})", "give SubRip or WebVTT") from error
    for event in events:
        start_s = event.start / 1000
        yield start_s, max(start_s, event.end / 1000), event.text.replace(r"\N", "\n")


def _prepare(text: str, is_vtt: bool) -> str:
    """What pysubs2 needs mended: negative times; and of WebVTT only the cues, as it takes notes and names for text."""
    lines = [_NEGATIVE_TIME.sub("00:00:00.000", s) if _ARROW in s else s.rstrip() for s in text.split("\n")]
    if not is_vtt:
        # pysubs2 takes a last line of digits for the next cue's number: the closing 0 saves a cue that ends in "1984".
        return re.sub(r"\n{3,}", "\n\n", "\n".join([*lines, "", "0", ""]))
    kept = ["WEBVTT", ""]
    is_cue = False
    for line in lines:
        is_cue = bool(line) and (is_cue or _ARROW in line)
        kept += [line] if is_cue else [""] if kept[-1] else []
    return "\n".join(kept)


def _utterances(raw: str, start_s: float | None, end_s: float | None) -> Iterator[Utterance]:
    """A cue's turns: a new one where a voice tag or a `NAME:` begins, or a dash in a cue of several dashed lines."""
    lines = _VOICE.sub(lambda m: f"\n\x01{m[1].strip()}\x02", raw.replace("\x01", "").replace("\x02", "")).split("\n")
    is_dialogue = sum(bool(_DASH.match(_plain(s))) for s in lines) > 1
    speaker: str | None = None
    words: list[str] = []
    for line in lines:
        voice, _, rest = line[1:].partition("\x02") if line.startswith("\x01") else ("", "", line)
        rest = _plain(rest)
        name = _NAME.match(rest)
        is_turn = bool(voice or name or (is_dialogue and _DASH.match(rest)))
        if is_turn:
            yield from _turn(words, speaker, start_s, end_s)
            speaker, words = (_plain(voice).strip() or (name[1] if name else None)), []
        words.append(_DASH.sub("", rest[name.end() :] if name and not voice else rest))
    yield from _turn(words, speaker, start_s, end_s)


def _turn(words: list[str], speaker: str | None, start_s: float | None, end_s: float | None) -> Iterator[Utterance]:
    text = " ".join(" ".join(words).split())
    if text:
        yield Utterance(text, start_s, end_s, speaker=speaker)


def _plain(text: str) -> str:
    return html.unescape(_OVERRIDE.sub("", _TAG.sub("", text))).replace(r"\h", " ").replace("\u200e", "")


def stream_subtitles(clip: Clip) -> tuple[Utterance, ...]:
    """The utterances of the clip's own text subtitle stream on the clip's clock; () without one.

    SubRip, WebVTT, mov_text and ASS; the default stream, else the first that is not `forced`. Subtitles that are
    pictures (DVD, Blu-ray) are not read.

    Raises:
        UnreadableMedia: the file can no longer be opened.
    """
    if not clip.n_subtitle_streams:
        return ()
    found: list[Utterance] = []
    with open_container(clip.path) as container:
        stream = subtitle_stream(container)
        if stream is None:
            return ()
        origin_s, codec = clip_origin_s(container), stream.codec_context.name
        for packet in demux_tolerantly(container, stream):
            start_s = to_seconds(packet.pts, packet.time_base)
            if start_s is not None and packet.size:
                start_s = max(0.0, start_s - origin_s)
                end_s = start_s + max(0.0, to_seconds(packet.duration, packet.time_base) or 0.0)
                found += _utterances(_payload(packet, codec), start_s, end_s)
    return tuple(sorted(found, key=lambda u: u.start_s or 0.0))


def _payload(packet: Packet[Any], codec: str) -> str:
    """The text of one packet as the container stores it: decoding it first would lose the voice tags."""
    data = bytes(packet)
    if codec == "mov_text":  # 3GPP TS 26.245, 5.17: a 16-bit length, the text, then style boxes
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = _decode(data)
    if codec in {"ass", "ssa"}:  # Matroska: ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text
        text = text.split(",", 8)[-1].replace(r"\N", "\n").replace(r"\n", "\n")
    return text
