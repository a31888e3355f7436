"""Whisper (Radford et al. 2022, MIT licence) by faster-whisper or by openai-whisper, from what is on this machine.

Both decode at temperature 0, so that the same clip gives the same words twice; a segment that repeats itself, or that
the model itself doubts to be speech, is left out and counted in the note.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import AffectError, MissingDependency, ModelError, OptionError
from affectgpt.perceive.speech import Transcriber, in_order, speech_pieces
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.records import Transcript, TranscriptSource, Utterance, Waveform, Word

__all__ = ["ENVIRONMENT_VARIABLE", "WhisperTranscriber", "find_whisper", "open_whisper"]

Floats = NDArray[np.float32]

ENVIRONMENT_VARIABLE = "AFFECTGPT_WHISPER"
_MAX_COMPRESSION = 2.4
_MAX_NO_SPEECH = 0.6
_MIN_LOG_PROBABILITY = -1.0
"""Whisper's own limits: a text that packs better than this repeats itself; more doubt than this is no speech."""
_NEEDED = ("model.bin", "config.json", "tokenizer.json")
_PREFERRED = ("small", "small.en", "base", "base.en", "tiny", "tiny.en", "medium", "large-v3-turbo", "large-v3")
"""Models looked for on disk, the best first that keeps up with speech on two cores."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What either library gives, with times in the piece that was heard."""

    text: str
    start_s: float
    end_s: float
    log_probability: float
    compression: float
    no_speech: float
    words: tuple[Word, ...]

    @property
    def is_doubtful(self) -> bool:
        """Whether Whisper's own limits say that this is no transcript."""
        unsure = self.no_speech > _MAX_NO_SPEECH and self.log_probability < _MIN_LOG_PROBABILITY
        return unsure or self.compression > _MAX_COMPRESSION


class Recogniser(Protocol):
    """One of the two libraries, with a model."""

    def hear(self, samples: Floats, language: str | None) -> tuple[list[Segment], str]:
        """Segments of `samples` (N,) at 16 kHz, 30 s at most, and the language's code."""


class WhisperTranscriber:
    """Speech to text, piece by piece: memory does not grow with the clip. The first piece decides on the language."""

    name = "whisper"

    def __init__(self, recogniser: Recogniser, model: str) -> None:
        self.model = model
        self._recogniser = recogniser

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        """See `Transcriber.transcribe`."""
        language: str | None = None
        utterances: list[Utterance] = []
        n_doubtful = 0
        for start_s, samples in speech_pieces(blocks):
            segments, language = self._recogniser.hear(samples, language)
            good = [s for s in segments if s.text.strip() and not s.is_doubtful]
            n_doubtful += len(segments) - len(good)
            utterances += _place(good, start_s, start_s + len(samples) / RATE_HZ)
        notes = [] if utterances else ["no speech was recognised"]
        notes += [f"{n_doubtful} doubtful segments left out"] if n_doubtful else []
        return Transcript(tuple(utterances), TranscriptSource.WHISPER, language, self.model, "; ".join(notes))


class FasterWhisper:
    """faster-whisper (MIT licence) with a CTranslate2 folder."""

    def __init__(self, folder: Path) -> None:
        library = _library("faster_whisper", "whisper")
        try:
            self._model = library.WhisperModel(str(folder), device="cpu", compute_type="default", local_files_only=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"{folder}: not a readable CTranslate2 whisper model ({error})", _CONVERT) from error

    def hear(self, samples: Floats, language: str | None) -> tuple[list[Segment], str]:
        """See `Recogniser.hear`."""
        found, info = self._model.transcribe(
            samples,
            language=language,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
        )
        return [
            Segment(
                s.text,
                s.start,
                s.end,
                s.avg_logprob,
                s.compression_ratio,
                s.no_speech_prob,
                tuple(Word(w.word.strip(), w.start, w.end, w.probability) for w in s.words or () if w.word.strip()),
            )
            for s in found
        ], str(info.language)


class OpenAiWhisper:
    """openai-whisper (MIT licence) with a .pt checkpoint; torch loads the weights only, never code."""

    def __init__(self, path: Path) -> None:
        self._library = _library("whisper", "openai-whisper")
        try:
            self._model = self._library.load_model(str(path), device="cpu")
        except Exception as error:  # torch's unpickler fails in as many ways as there are damaged files
            raise ModelError(f"{path}: not a readable openai-whisper checkpoint ({error})", "fetch it again") from error

    def hear(self, samples: Floats, language: str | None) -> tuple[list[Segment], str]:
        """See `Recogniser.hear`."""
        found = self._library.transcribe(
            self._model,
            samples,
            language=language,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            fp16=False,
        )
        return [
            Segment(
                s["text"],
                s["start"],
                s["end"],
                s["avg_logprob"],
                s["compression_ratio"],
                s["no_speech_prob"],
                tuple(
                    Word(w["word"].strip(), w["start"], w["end"], w["probability"])
                    for w in s.get("words", ())
                    if w["word"].strip()
                ),
            )
            for s in found["segments"]
        ], str(found["language"])


def open_whisper(model: str) -> Transcriber:
    """A model by folder (CTranslate2), by .pt file (openai-whisper), by name, or by hub id `owner/name`.

    A name ("small") is looked for on this machine only; a hub id, which nobody types by chance, is fetched when absent.

    Raises:
        OptionError: no such file, folder or name.
        ModelError: the model is incomplete, damaged or not on this machine.
        MissingDependency: the library for it is not installed.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return WhisperTranscriber(FasterWhisper(_checked(path)), path.resolve().name)
    if path.is_file():
        return WhisperTranscriber(OpenAiWhisper(path), path.name)
    if path.suffix == ".pt" or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise OptionError(f"no whisper model at {model}", "give a faster-whisper folder, a .pt file, or a name")
    cached = _openai_cache() / f"{model}.pt"
    if cached.is_file() and not _is_cached(model):
        return WhisperTranscriber(OpenAiWhisper(cached), cached.name)
    return WhisperTranscriber(FasterWhisper(_checked(_fetched(model))), model)


def find_whisper() -> Transcriber | None:
    """The model that AFFECTGPT_WHISPER names, else the first of the usual ones in this machine's caches, else None.

    Raises:
        OptionError, ModelError, MissingDependency: the one that the variable names cannot be had.
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE, "").strip():
        return open_whisper(named)
    for name in _PREFERRED:
        if _is_cached(name) or (_openai_cache() / f"{name}.pt").is_file():
            try:
                return open_whisper(name)
            except AffectError:
                continue  # a cache may be half filled, or belong to a library that is not installed
    return None


_CONVERT = "convert one with ct2-transformers-converter, copying tokenizer.json and preprocessor_config.json"


def _checked(folder: Path) -> Path:
    """The folder, if complete: without tokenizer.json faster-whisper would silently go to the hub for another's."""
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if not any(folder.glob("vocabulary.*")):
        missing.append("vocabulary.json or vocabulary.txt")
    if missing:
        raise ModelError(f"{folder} is no faster-whisper model: it lacks {', '.join(missing)}", _CONVERT)
    return folder


def _fetched(name: str) -> Path:
    library = _library("faster_whisper", "whisper")
    if "/" not in name and name not in library.available_models():
        known = ", ".join(library.available_models())
        raise OptionError(f"no whisper model {name!r}", f"give a folder, a .pt file, owner/name, or one of: {known}")
    from faster_whisper.utils import download_model

    try:
        return Path(download_model(name, local_files_only=True))
    except Exception as absent:  # the hub's client has a dozen ways to say that a file is not there
        if "/" not in name:
            raise ModelError(
                f"the whisper model {name!r} is not on this machine", "give a folder, or a hub id to fetch"
            ) from absent
    try:
        return Path(download_model(name))
    except Exception as error:
        raise ModelError(f"the whisper model {name!r} cannot be fetched: {error}", "give a local folder") from error


def _is_cached(name: str) -> bool:
    """Whether the hub's cache holds the CTranslate2 model of this name; no heavy import."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    return any(cache.glob(f"models--*--faster-whisper-{name}/snapshots/*/model.bin"))


def _openai_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "whisper"


def _library(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(f"{module} is not installed", f"pip install 'affectgpt[{extra}]'") from error


def _place(segments: Iterable[Segment], start_s: float, end_s: float) -> Iterator[Utterance]:
    """Utterances on the clip's clock, one after another and inside [start_s, end_s]."""
    at_s = start_s
    for segment in segments:
        begin_s = min(max(start_s + segment.start_s, at_s), end_s)
        until_s = min(max(start_s + segment.end_s, begin_s), end_s)
        words = (Word(w.text, start_s + w.start_s, start_s + w.end_s, w.confidence) for w in segment.words)
        confidence = float(np.exp(min(segment.log_probability, 0.0)))
        tidy = in_order(words, begin_s, until_s)
        yield Utterance(segment.text.strip(), begin_s, until_s, confidence, words=tidy)
        at_s = until_s
