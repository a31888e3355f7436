"""A voice over time: blocks of sound in, a VoiceTrack out, in memory that does not grow with the samples.

Only the 10-ms contours are kept (80 bytes a frame, 29 MB an hour). Sound is measured in chunks of 20.48 s with
0.64 s more on both sides, whatever the blocks' size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affectgpt.perceive.acoustics import HOP_S, HOP_SAMPLES, ContourMeter, Contours, LibrosaMeter, n_frames
from affectgpt.perceive.measures import (
    Norms,
    cut_phrases,
    load_norms,
    measure_span,
    own_baseline,
    snr_db,
    spoken_mask,
    standardise,
)
from affectgpt.perceive.pitch import repair_octaves
from affectgpt.perceive.sound import Chunk, SoundStream, cut_chunks
from affectgpt.perceive.vad import FRAME_SAMPLES, SileroVad, SpeechRules, find_speech
from affectgpt.records import BaselineKind, Interval, VoiceTrack, VoiceWindow, Waveform

__all__ = ["LibrosaVoice", "MeteredVoice", "VoiceReader"]

Floats = NDArray[np.float32]

CHUNK_SAMPLES = 128 * 2560
"""20.48 s: a whole number of 10-ms frames and of the detector's 32-ms frames."""
MARGIN_SAMPLES = 4 * 2560
"""0.64 s, ten times the longest analysis window."""
_PITCH_THRESHOLD = 0.2
_PITCH_REACH_FRAMES = 10
"""Pitch is looked for where a segment could still go on (`SpeechRules`: 0.35 - 0.15), and 0.1 s around."""


class VoiceReader(Protocol):
    """Reads one voice."""

    name: str

    def read(self, blocks: Iterable[Waveform]) -> VoiceTrack:
        """The track of a sound given in blocks, in order; of no blocks, a track without frames.

        Raises:
            UnreadableMedia: blocks that are not mono or change their rate.
        """


class MeteredVoice:
    """A reader around a meter: speech detection, phrases and baselines are the same whatever measures the contours.

    `z` of the whole clip is always against the population (a clip against itself would be zero); `windows` are against
    `baseline`: this speaker's own with 4 phrases and 8 s of speech or more, else the population's. A measure that
    depends on the microphone (`level_db`) has no population mean and so no such z.
    """

    def __init__(self, meter: ContourMeter, norms: Norms | None = None, rules: SpeechRules = SpeechRules()) -> None:
        self.name = meter.name
        self._meter = meter
        self._norms = load_norms(meter.name) if norms is None else norms
        self._rules = rules

    def read(self, blocks: Iterable[Waveform]) -> VoiceTrack:
        """See `VoiceReader.read`."""
        stream = SoundStream(blocks)
        contours, probabilities = self._measure(stream)
        speech = find_speech(probabilities, stream.duration_s, self._rules)
        spans = cut_phrases(speech, contours.level_db)
        found = [(span, measure_span(contours, speech, span)) for span in spans]
        whole = measure_span(contours, speech, Interval(0.0, stream.duration_s))
        own = own_baseline(found, self._norms)
        kind: BaselineKind = "population" if own is None else "own"
        baseline = self._norms.between if own is None else own
        talk = spoken_mask(len(contours), speech)
        return VoiceTrack(
            times_s=stream.start_s + np.arange(len(contours)) * HOP_S,
            f0_hz=contours.f0_hz,
            level_db=contours.level_db,
            speech=_shift(speech, stream.start_s),
            measures=whole,
            z=standardise(whole, self._norms.between),
            windows=tuple(
                VoiceWindow(s.start_s + stream.start_s, s.end_s + stream.start_s, m, standardise(m, baseline))
                for s, m in found
            ),
            baseline=baseline,
            baseline_kind=kind,
            population=self._norms.between,
            bands_db=contours.bands_db,
            reader=self.name,
            duration_s=stream.duration_s,
            snr_db=snr_db(contours, speech),
            clipped_ratio=stream.clipped_ratio,
            voiced_ratio=float(np.isfinite(contours.f0_hz[talk]).mean()) if talk.any() else 0.0,
        )

    def _measure(self, stream: SoundStream) -> tuple[Contours, Floats]:
        """Contours (T,) and speech probabilities (F,) of the stream."""
        vad = SileroVad()
        probabilities: list[Floats] = []
        parts: list[Contours] = []

        def listen() -> Iterator[Floats]:
            for samples in stream:
                probabilities.append(vad.push(samples))
                yield samples
            probabilities.append(vad.flush())

        for chunk in cut_chunks(listen(), CHUNK_SAMPLES, MARGIN_SAMPLES):
            heard = np.concatenate(probabilities)
            probabilities[:] = [heard]
            measured = self._meter.measure(chunk.samples, _pitch_mask(heard, chunk))
            parts.append(measured[_core(chunk)])
        contours = Contours.join(parts)
        heard = np.concatenate([*probabilities, np.zeros(0, np.float32)])
        return replace(contours, f0_hz=repair_octaves(contours.f0_hz)), heard


class LibrosaVoice(MeteredVoice):
    """The default reader; see `LibrosaMeter`."""

    def __init__(self) -> None:
        super().__init__(LibrosaMeter())


def _core(chunk: Chunk) -> slice:
    first = (chunk.core_from - chunk.first) // HOP_SAMPLES
    return slice(first, first + n_frames(chunk.core_to - chunk.core_from))


def _pitch_mask(probabilities: Floats, chunk: Chunk) -> NDArray[np.bool_]:
    """(T,) True where the chunk may hold a voice. Only the chunk's own probabilities count, however much was heard."""
    from scipy.ndimage import binary_dilation

    count = n_frames(len(chunk.samples))
    last = (chunk.first + len(chunk.samples) - 1) // FRAME_SAMPLES
    frames = (chunk.first + np.arange(count) * HOP_SAMPLES) // FRAME_SAMPLES
    likely = probabilities[: last + 1][np.minimum(frames, min(last, len(probabilities) - 1))] >= _PITCH_THRESHOLD
    return np.asarray(binary_dilation(likely, iterations=_PITCH_REACH_FRAMES))


def _shift(speech: Sequence[Interval], by_s: float) -> tuple[Interval, ...]:
    return tuple(Interval(s.start_s + by_s, s.end_s + by_s) for s in speech)
