"""What the voice says: a VoiceTrack's functionals through a fitted head to feelings.

Two heads of the default set. `voice_raw` reads one clip alone. `voice_normalised` reads several clips of one speaker,
each number as its distance from that speaker's own mean in that speaker's own deviations, which takes away the throat,
the microphone and the room; on speakers that were not trained on it is the better by six points (see the cards).
Both were fitted on acted English speech under a licence for non-commercial use. The permissive set has no voice head:
there the prototypes of the literature stand in, which are weaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.functionals import NAMES_SHA256, functionals
from affectgpt.appraise.fuse import weigh
from affectgpt.appraise.heads import Head, load_head
from affectgpt.appraise.prototypes import read_voice
from affectgpt.emotions import load_lexicon
from affectgpt.errors import ModelError
from affectgpt.records import EmotionDistribution, Modality, Observation, VoiceTrack

__all__ = ["LEAST_CLIPS", "VoiceAppraiser", "bounded", "standardised"]

LEAST_CLIPS = 8
"""Clips of one speaker, at least, from which a mean and a deviation are taken."""
_BOUND = 4.0
"""Deviations beyond which a number is cut: another microphone must not shout the others down."""

Rows = NDArray[np.float64]


class VoiceAppraiser:
    """Feelings from a voice. Loads its heads at the first call that needs them."""

    def __init__(self, permissive: bool = False) -> None:
        self._permissive = permissive

    def read(self, track: VoiceTrack) -> EmotionDistribution | None:
        """What one clip makes likely over the basic8 set; None with under 0.3 s of speech. Raises ModelError."""
        if self._permissive:
            return _prior(track.z)
        return _told(self.probabilities([track])[0])

    def normalised(self, tracks: Sequence[VoiceTrack]) -> list[EmotionDistribution | None]:
        """What each of one speaker's clips makes likely, in order, measured against all of them.

        The clips should be of several feelings: what all have in common is taken for the speaker. Under `LEAST_CLIPS`
        readable clips each is read alone. Raises ModelError.
        """
        if self._permissive:
            return _priors(tracks)
        return [_told(row) for row in self.probabilities(tracks, same_speaker=True)]

    def probabilities(self, tracks: Sequence[VoiceTrack], same_speaker: bool = False) -> Rows:
        """Probabilities (B, 8) in the order of the lexicon's ravdess8 set; NaN rows for tracks without speech.

        Raises:
            ModelError: the head is missing or damaged, or this is the permissive set, which has none.
        """
        known = [functionals(track) for track in tracks]
        read = np.full((len(tracks), len(load_lexicon().labels("ravdess8"))), np.nan)
        held = [i for i, row in enumerate(known) if row is not None]
        if not held:
            return read
        rows = np.stack([row for row in known if row is not None])
        own = same_speaker and len(held) >= LEAST_CLIPS
        head = load_head("voice_normalised" if own else "voice_raw", self._permissive)
        read[held] = _through(head, standardised(rows) if own else rows)
        return read


def standardised(rows: Rows) -> Rows:
    """Rows (B, D) of one speaker as distances from the mean of all, in deviations; unknown numbers stay NaN."""
    known = np.isfinite(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / count)
    return np.where(known, (rows - mean) / np.maximum(spread, 1e-6), np.nan)


def bounded(rows: Rows, mean: NDArray[Any], scale: NDArray[Any]) -> Rows:
    """Rows (B, D) within four deviations of the training data, unknown numbers at its mean."""
    filled = np.where(np.isfinite(rows), rows, mean)
    return np.asarray(np.clip(filled, mean - _BOUND * scale, mean + _BOUND * scale), np.float64)


def _through(head: Head, rows: Rows) -> Rows:
    if head.card["input"].get("names_sha256") != NAMES_SHA256:
        raise ModelError(f"head {head.name} was fitted on other numbers of a voice", "reinstall, or retrain it")
    return head.probabilities(bounded(rows, head.mean, head.scale))


def _told(row: NDArray[np.float64]) -> EmotionDistribution | None:
    """A ravdess8 row over basic8: calm counts as neutral, and contempt, which the data does not have, gets nothing."""
    if not np.isfinite(row).all():
        return None
    lexicon = load_lexicon()
    spread = dict.fromkeys(lexicon.labels("basic8"), 0.0)
    for label, p in zip(lexicon.labels("ravdess8"), row, strict=True):
        spread[lexicon.convert(label, "ravdess8", "basic8") or "neutral"] += float(p)
    return weigh(spread)


def _prior(z: Mapping[str, float]) -> EmotionDistribution | None:
    """The prototypes' reading of measures in deviations from a baseline."""
    told = [Observation("", Modality.VOICE, cue, "", value=value) for cue, value in z.items()]
    return read_voice(told) if told else None


def _priors(tracks: Sequence[VoiceTrack]) -> list[EmotionDistribution | None]:
    """The prototypes' reading of one speaker's clips against all of them, or of each alone where they are few."""
    if sum(bool(t.measures) for t in tracks) < LEAST_CLIPS:
        return [_prior(t.z) for t in tracks]
    names = sorted({name for t in tracks for name in t.measures})
    rows = standardised(np.array([[t.measures.get(name, np.nan) for name in names] for t in tracks]))
    return [_prior({n: float(v) for n, v in zip(names, row, strict=True) if np.isfinite(v)}) for row in rows]
