"""Tracks made worse, as other recordings are: frames lost, few frames, noise, clipping, a recogniser's doubts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from affectgpt.records import FaceTrack, Transcript, TranscriptSource, Utterance, VoiceTrack
from instruction_data.evidence import RATE_HZ, bump

__all__ = ["unfold", "worsen_face", "worsen_voice", "worsen_words"]

FEW_FRAMES = 6
"""Frames that a clip may be cut down to: half a second of a face."""


def unfold(rng: random.Random, photograph: FaceTrack, duration_s: float) -> FaceTrack:
    """A photograph's face over time: its action units rise, hold and fall, each in its own course, with some noise."""
    n = max(2, int(duration_s * RATE_HZ))
    times = np.arange(n, dtype=np.float64) / RATE_HZ
    noise = np.random.default_rng(rng.getrandbits(32))
    apex = np.nan_to_num(photograph.action_units[0])
    course = np.stack([peak * bump(rng, times) for peak in apex], axis=1) + noise.normal(0, 0.08, (n, len(apex)))
    return replace(
        photograph,
        times_s=times,
        action_units=np.clip(course, 0, 5).astype(np.float32),
        found=np.ones(n, np.bool_),
        pose_deg=np.repeat(photograph.pose_deg[:1], n, axis=0),
        width_px=np.repeat(photograph.width_px[:1], n),
    )


def worsen_face(rng: random.Random, face: FaceTrack) -> FaceTrack:
    """Some frames lost, few frames left, or a reader that is hardly to be trusted."""
    how, n = rng.choice(("lost", "few", "unsure", "turned")), len(face.times_s)
    if how == "unsure" or n < 10:
        factor = rng.uniform(0.4, 0.8)
        return replace(face, reliability=(face.reliability * factor).astype(np.float32))
    if how == "few":
        first = rng.randrange(n - FEW_FRAMES)
        kept = slice(first, first + FEW_FRAMES)
        return replace(
            face,
            times_s=face.times_s[kept],
            action_units=face.action_units[kept],
            found=face.found[kept],
            pose_deg=face.pose_deg[kept],
            width_px=face.width_px[kept],
            n_turned_away=0,
        )
    found, units = face.found.copy(), face.action_units.copy()
    first = rng.randrange(n)
    found[first : first + int(rng.uniform(0.15, 0.7) * n)] = False
    units[~found] = np.nan
    turned = int(n - found.sum()) if how == "turned" else face.n_turned_away
    return replace(face, found=found, action_units=units, n_turned_away=turned)


def worsen_voice(rng: random.Random, voice: VoiceTrack) -> VoiceTrack:
    """Noise that blurs every measure, clipping, or measures that could not be taken."""
    how = rng.choice(("noise", "clipped", "unvoiced"))
    if how == "clipped":
        return replace(voice, clipped_ratio=rng.uniform(0.01, 0.2))
    if how == "unvoiced":
        pitched = ("f0_median_hz", "f0_range_st", "jitter_pct", "shimmer_pct", "hnr_db")
        left = {k: v for k, v in voice.measures.items() if k not in pitched}
        return replace(voice, measures=left, z={k: v for k, v in voice.z.items() if k not in pitched}, windows=())
    blurred = {k: v + rng.gauss(0, 0.5) for k, v in voice.z.items()}
    return replace(voice, z=blurred, snr_db=rng.uniform(0, 10))


def worsen_words(rng: random.Random, transcript: Transcript) -> Transcript:
    """As a recogniser in noise would give them: unsure, with words dropped."""

    def heard(u: Utterance) -> Utterance:
        words = [w for w in u.text.split() if rng.random() > 0.12]
        return replace(u, text=" ".join(words) or u.text, confidence=round(rng.uniform(0.25, 0.6), 2))

    return replace(transcript, utterances=tuple(map(heard, transcript.utterances)), source=TranscriptSource.WHISPER)
