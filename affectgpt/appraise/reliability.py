"""How well each modality of a stretch could be read: a quality in [0, 1] from what the tracks say of themselves.

A quality is about the reading, not about the feeling: how much of the face was seen and how large, how far speech
stands out of the noise, how sure the recogniser was of the words. What was not seen or heard has quality 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from affectgpt.records import EmotionDistribution, FaceTrack, Utterance, VoiceTrack

__all__ = ["of_face", "of_voice", "of_words"]

FULL_WIDTH_PX = 64.0
"""Face width from which landmarks lose nothing: a third of the 192 pixels that FaceMesh looks at."""
FULL_SNR_DB = 20.0
"""Signal-to-noise ratio from which pitch and spectrum are trusted; at 0 dB they are not at all. The appraiser's recall
with 10 dB of noise lies about half-way between (see the card of `voice_raw`)."""
UNKNOWN_SNR = 0.7
"""Quality of a recording without a pause in which noise could be measured."""
FULL_SPEECH_S = 1.0
"""Seconds of speech from which functionals settle; under 0.3 s none are taken."""
CLIPPING = 10.0
"""A tenth of all samples clipped leaves nothing to trust."""
NEUTRAL_WORDS = 0.7
"""How much quality words lose that name no feeling: most of what the angry or glad say is about something else."""


def of_face(track: FaceTrack) -> float:
    """Share of frames with a usable face x its size x how far the reader can be trusted on its units."""
    if not track.found.any():
        return 0.0
    width = float(np.nanmedian(track.width_px[track.found]))
    size = min(1.0, width / FULL_WIDTH_PX) if math.isfinite(width) else 1.0
    return float(track.found.mean()) * size * float(track.reliability.mean() if len(track.reliability) else 1.0)


def of_voice(track: VoiceTrack) -> float:
    """Enough speech x how far it stands out of the noise x how little of it is clipped."""
    spoken_s = sum(span.end_s - span.start_s for span in track.speech)
    clear = UNKNOWN_SNR if math.isnan(track.snr_db) else min(1.0, max(0.0, track.snr_db / FULL_SNR_DB))
    return min(1.0, spoken_s / FULL_SPEECH_S) * clear * max(0.0, 1.0 - CLIPPING * track.clipped_ratio)


def of_words(utterances: Sequence[Utterance], read: EmotionDistribution) -> float:
    """The recogniser's confidence a word, less where the words name no feeling."""
    counts = [len(u.text.split()) for u in utterances]
    if not sum(counts):
        return 0.0
    sure = sum(u.confidence * n for u, n in zip(utterances, counts, strict=True)) / sum(counts)
    return sure * (1.0 - NEUTRAL_WORDS * read.probabilities.get("neutral", 0.0))
