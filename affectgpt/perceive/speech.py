"""What was said: subtitles before a given text, both before a recogniser, and otherwise nothing, said plainly."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt import media
from affectgpt.errors import TranscriptError, UnreadableMedia
from affectgpt.perceive.sound import SoundStream
from affectgpt.perceive.vad import FRAME_SAMPLES, RATE_HZ, SileroVad, find_speech
from affectgpt.records import Clip, Transcript, TranscriptSource, Utterance, Waveform, Word

__all__ = ["Transcriber", "find_transcript", "in_order", "read_text", "speech_pieces"]

Floats = NDArray[np.float32]

MAX_TEXT_BYTES = 5_000_000
"""A plain transcript's limit, the same as for subtitles."""
PIECE_S = 30.0
"""Whisper's window."""
_EARLIEST_CUT_S = 10.0
_PAUSE_FRAMES = 6
"""A pause is judged over 0.2 s."""
_LEAD_S = 0.2
_REMEDY = "add a .srt or .vtt beside the clip, give --transcript, or give a model with --whisper"


class Transcriber(Protocol):
    """Recognises speech."""

    name: str

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        """What is said in a sound given in blocks, in order.

        Raises:
            UnreadableMedia: blocks that are not mono or change their rate.
        """


def find_transcript(
    clip: Clip | None,
    *,
    transcript: str | None = None,
    transcript_path: Path | None = None,
    transcriber: Transcriber | None = None,
) -> Transcript:
    """The words of a clip from the first source that has any.

    The order: a .srt or .vtt beside the clip, a subtitle stream inside it, what was given (`transcript_path`, a .srt,
    .vtt or .txt file, or the text `transcript`), then a recogniser: `transcriber`, or else a whisper model that is at
    hand (see `whisper.find_whisper`). `note` says what was passed over and why. Nothing found gives a transcript
    without utterances, its `note` listing what was looked for and the remedy.

    Raises:
        TranscriptError: the given file cannot be read, also when it would have been outranked.
        ModelError, MissingDependency: the whisper model that AFFECTGPT_WHISPER names cannot be had.
        UnreadableMedia: the clip's sound cannot be read.
    """
    given = _given(transcript, transcript_path)
    sources: list[tuple[TranscriptSource, Callable[[], tuple[Utterance, ...]]]] = []
    if clip is not None:
        sources.append((TranscriptSource.SIDECAR, lambda: _sidecar(clip)))
        sources.append((TranscriptSource.STREAM, lambda: _stream(clip)))
    sources.append((TranscriptSource.GIVEN, lambda: given))
    passed: list[str] = []
    for source, look in sources:
        try:
            utterances = look()
        except (TranscriptError, UnreadableMedia) as error:
            # What was found by itself may be broken; what was asked for was read above and has raised.
            passed.append(f"the {source} could not be read: {error.what}")
            continue
        if utterances:
            return Transcript(utterances, source, note=_join(passed + _outranked(source, given, transcriber)))
        passed.append(f"no {source}")
    return _recognised(clip, transcriber, passed)


def read_text(text: str) -> tuple[Utterance, ...]:
    """One utterance a line of plain text, without times; control characters and blank lines are left out."""
    lines = ("".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines())
    return tuple(Utterance(" ".join(line.split()), None, None) for line in lines if line)


def speech_pieces(blocks: Iterable[Waveform]) -> Iterator[tuple[float, Floats]]:
    """(start in seconds, samples (N,) at 16 kHz) of what is spoken, in pieces of 30 s at most, cut at pauses.

    Pieces without speech are left out, for recognisers invent words in silence. Memory holds a piece and a block.
    """
    stream, vad = SoundStream(blocks), SileroVad()
    held, probabilities = np.zeros(0, np.float32), np.zeros(0, np.float32)
    n_passed, n_longest = 0, int(PIECE_S * RATE_HZ) // FRAME_SAMPLES
    for samples in stream:
        held = np.concatenate([held, samples])
        probabilities = np.concatenate([probabilities, vad.push(samples)])
        while len(probabilities) > n_longest:
            n_frames = _cut(probabilities[:n_longest])
            n_samples = n_frames * FRAME_SAMPLES
            yield from _piece(held[:n_samples], probabilities[:n_frames], stream.start_s + n_passed / RATE_HZ)
            held, probabilities = held[n_samples:], probabilities[n_frames:]
            n_passed += n_samples
    probabilities = np.concatenate([probabilities, vad.flush()])
    yield from _piece(held, probabilities, stream.start_s + n_passed / RATE_HZ)


def in_order(words: Iterable[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Words with times that never run backwards and stay in [start_s, end_s], as recognisers do not promise."""
    tidy: list[Word] = []
    at_s = start_s
    for word in words:
        begin_s = min(max(word.start_s, at_s), end_s)
        tidy.append(replace(word, start_s=begin_s, end_s=min(max(word.end_s, begin_s), end_s)))
        at_s = tidy[-1].end_s
    return tuple(tidy)


def _cut(probabilities: Floats) -> int:
    """The frame to cut before: the quietest pause after 10 s, the later of equals."""
    first = int(_EARLIEST_CUT_S * RATE_HZ) // FRAME_SAMPLES
    smooth = np.convolve(probabilities[first:], np.ones(_PAUSE_FRAMES) / _PAUSE_FRAMES, "valid").round(2)
    return first + _PAUSE_FRAMES // 2 + int(np.flatnonzero(smooth == smooth.min())[-1])


def _piece(samples: Floats, probabilities: Floats, start_s: float) -> Iterator[tuple[float, Floats]]:
    spans = find_speech(probabilities, len(samples) / RATE_HZ)
    if spans:
        first = max(int((spans[0].start_s - _LEAD_S) * RATE_HZ), 0)
        yield start_s + first / RATE_HZ, samples[first : int((spans[-1].end_s + _LEAD_S) * RATE_HZ)]


def _sidecar(clip: Clip) -> tuple[Utterance, ...]:
    path = media.subtitle_path(clip.path)
    return media.read_subtitles(path) if path else ()


def _stream(clip: Clip) -> tuple[Utterance, ...]:
    return media.stream_subtitles(clip) if clip.n_subtitle_streams else ()


def _given(text: str | None, path: Path | None) -> tuple[Utterance, ...]:
    if path is not None and path.suffix.lower() in {".srt", ".vtt"}:
        return media.read_subtitles(path)
    if path is not None:
        return read_text(_read_plain(path))
    return read_text(text or "")


def _read_plain(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_TEXT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TranscriptError(f"{str(path)!r}: cannot be read ({error})", "check the path") from error
    if len(data) > MAX_TEXT_BYTES or b"\x00" in data.removeprefix(codecs.BOM_UTF8)[:4096]:
        raise TranscriptError(f"{path}: not a plain text of {MAX_TEXT_BYTES} bytes at most", "give a UTF-8 text file")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _recognised(clip: Clip | None, transcriber: Transcriber | None, passed: list[str]) -> Transcript:
    if clip is None or not clip.has_audio:
        passed.append("no sound to recognise speech in")
        return Transcript((), TranscriptSource.NONE, note=_join(passed))
    if transcriber is None:
        from affectgpt.perceive.whisper import find_whisper

        transcriber = find_whisper()
    if transcriber is None:
        passed.append("no whisper model at hand")
        return Transcript((), TranscriptSource.NONE, note=f"{_join(passed)}; {_REMEDY}")
    found = transcriber.transcribe(media.waveform(clip, RATE_HZ))
    # "No sidecar" is what one expects before a recogniser; only what is broken is worth a note.
    broken = [reason for reason in passed if "could not be read" in reason]
    return replace(found, note=_join([*broken, found.note]))


def _outranked(source: TranscriptSource, given: tuple[Utterance, ...], transcriber: Transcriber | None) -> list[str]:
    beaten = ["the given transcript was not used"] if given and source is not TranscriptSource.GIVEN else []
    beaten += [f"{transcriber.name} was not run"] if transcriber is not None else []
    return [f"{', and '.join(beaten)}: the {source} comes first"] if beaten else []


def _join(reasons: list[str]) -> str:
    return "; ".join(reason for reason in reasons if reason)
