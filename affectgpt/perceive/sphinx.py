"""pocketsphinx: words without any model file to fetch, and wrong too often to lean on.

Its word error rate was measured at 0.23 on clear read speech and 0.4 to 1.0 on spontaneous or synthetic speech, so it
runs only on request and its words never carry a confidence above 0.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from affectgpt.perceive.speech import in_order, speech_pieces
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.records import Transcript, TranscriptSource, Utterance, Waveform, Word

__all__ = ["MAX_CONFIDENCE", "PocketSphinx"]

MAX_CONFIDENCE = 0.3
_FRAMES_PER_S = 100
_PEAK = 0.3
"""The level the sound is brought to: at full scale the same speech was recognised with twice the errors."""
_NOTE = "recognised by pocketsphinx: low confidence, many words are wrong"


class PocketSphinx:
    """The English model inside the pocketsphinx wheel (BSD licence).

    Raises:
        MissingDependency: pocketsphinx is not installed.
    """

    name = "pocketsphinx"

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise MissingDependency("pocketsphinx is not installed", "pip install 'affectgpt[pocketsphinx]'") from error
        self._decoder: Any = Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def transcribe(self, blocks: Iterable[Waveform]) -> Transcript:
        """See `Transcriber.transcribe`."""
        found = (self._utterance(samples, start_s) for start_s, samples in speech_pieces(blocks))
        utterances = tuple(u for u in found if u is not None)
        note = _NOTE if utterances else f"{_NOTE}; no speech was recognised"
        return Transcript(utterances, TranscriptSource.POCKETSPHINX, "en", "pocketsphinx en-us", note)

    def _utterance(self, samples: NDArray[np.float32], start_s: float) -> Utterance | None:
        if len(samples) < RATE_HZ // 10:  # a tenth of a second: the decoder fails on less
            return None
        self._decoder.start_utt()
        pcm = (samples * (_PEAK / max(float(np.abs(samples).max()), 1e-4)) * 32767).astype("<i2").tobytes()
        self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        self._decoder.end_utt()
        segments = self._decoder.seg() if self._decoder.hyp() is not None else ()
        heard = [w for w in (self._word(s, start_s) for s in segments or ()) if w is not None]
        words = in_order(heard, start_s, start_s + len(samples) / RATE_HZ)
        if not words:
            return None
        confidence = min(MAX_CONFIDENCE, float(np.mean([w.confidence for w in words])))
        text = " ".join(w.text for w in words)
        return Utterance(text, words[0].start_s, words[-1].end_s, confidence, words=words)

    def _word(self, segment: Any, start_s: float) -> Word | None:
        text = re.sub(r"\(\d+\)$", "", segment.word)  # "read(2)" is a second pronunciation
        if not text or text[0] in "<[+":
            return None
        probability = min(MAX_CONFIDENCE, float(self._decoder.get_logmath().exp(int(segment.prob))))
        begin_s = start_s + segment.start_frame / _FRAMES_PER_S
        return Word(text, begin_s, start_s + (segment.end_frame + 1) / _FRAMES_PER_S, probability)
