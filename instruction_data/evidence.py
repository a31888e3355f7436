"""Made-up evidence: tracks drawn at random and told by the real textualizers, with quotes from a labelled corpus.

No person's face or voice stands behind these rows. What they teach is the reading of observations, and the texts they
show are the texts that real tracks give, because the same functions write them.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.prototypes import distribute, prototypes
from affectgpt.cues import load_cues
from affectgpt.emotions import load_lexicon
from affectgpt.records import (
    EmotionDistribution,
    FaceTrack,
    Interval,
    Modality,
    Observations,
    Transcript,
    TranscriptSource,
    Utterance,
    VoiceTrack,
    VoiceWindow,
)
from affectgpt.textualize import Sensed, tell

__all__ = ["ABSENT", "Quotes", "Scene", "bump", "draw", "draw_face", "draw_voice", "read_goemotions"]

RATE_HZ = 12.5
AGREE, FAINT = 0.6, 0.2
"""Shares of modalities that show the scene's emotion, and that show next to nothing; the rest show another emotion."""
TYPICAL: Mapping[str, tuple[float, float]] = {
    "f0_median_hz": (170.0, 45.0),
    "f0_range_st": (5.0, 2.0),
    "level_db": (-25.0, 5.0),
    "level_range_db": (20.0, 5.0),
    "syllable_rate_hz": (4.0, 0.8),
    "pause_ratio": (0.2, 0.08),
    "jitter_pct": (1.5, 0.6),
    "shimmer_pct": (8.0, 2.0),
    "hnr_db": (12.0, 3.0),
    "alpha_ratio_db": (-12.0, 4.0),
    "spectral_slope_db": (-8.0, 3.0),
}
"""Mean and spread from which made-up measures are drawn: plausible magnitudes, no statistics of anybody."""


Quotes = Mapping[str, Sequence[str]]
"""Sentences by the basic emotion that their annotators chose."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a made-up clip shows: its observations and, where words were quoted, the reading of their gold label."""

    observations: Observations
    words: EmotionDistribution | None


def read_goemotions(path: Path) -> Quotes:
    """Comments of a GoEmotions file (text, label ids, id) with exactly one label, by basic label."""
    names = (path.parent / "labels.txt").read_text(encoding="utf-8").split()
    lexicon = load_lexicon()
    quotes: dict[str, list[str]] = {label: [] for label in lexicon.labels("basic8")}
    with path.open(encoding="utf-8", newline="") as file:
        for text, ids, _ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            label = lexicon.convert(names[int(ids)], "goemotions28", "basic8") if ids.isdigit() else None
            said = re.sub(r"\[(?:NAME|RELIGION)\]", "Sam", text).strip()
            if label and 3 <= len(said.split()) <= 26 and said.isascii():
                quotes[label].append(said)
    return quotes


def draw(rng: random.Random, quotes: Quotes) -> Scene:
    """One scene: some modalities present, agreeing, conflicting or faint."""
    present = set(rng.choices(_MIXES, weights=_MIX_WEIGHTS)[0])
    felt = rng.choice(load_lexicon().labels("basic8"))
    duration_s = round(rng.uniform(1.5, 12.0) if rng.random() < 0.7 else rng.uniform(12.0, 40.0), 2)
    still = present == {Modality.FACE} and rng.random() < 0.25
    face = draw_face(rng, _shown(rng, felt), 0.0 if still else duration_s) if Modality.FACE in present else None
    voice = draw_voice(rng, _shown(rng, felt), duration_s) if Modality.VOICE in present else None
    transcript, words = Transcript((), TranscriptSource.NONE), None
    if Modality.SPEECH in present:
        transcript, words = _speech(rng, _shown(rng, felt), duration_s, quotes)
    absent = {m: rng.choice(ABSENT[m]) for m in (Modality.FACE, Modality.VOICE) if m not in present}
    # A modality that was not asked for is not reported as missing; one in five clips is of that kind.
    if rng.random() < 0.2:
        absent = {}
    return Scene(tell(Sensed(face, voice, transcript, absent)), words)


_F, _V, _S = Modality.FACE, Modality.VOICE, Modality.SPEECH
_MIXES = [(_F,), (_V,), (_S,), (_F, _V), (_F, _S), (_V, _S), (_F, _V, _S), ()]
_MIX_WEIGHTS = [22, 6, 8, 18, 12, 8, 24, 2]
ABSENT: Mapping[Modality, Sequence[str]] = {
    _F: ("the clip has no pictures", "there is a transcript and no clip", "the pictures are damaged after frame 12"),
    _V: (
        "the clip has no sound",
        "a still image has no sound",
        "there is a transcript and no clip",
        "the sound is cut",
    ),
}
"""Reasons as the agent words them, and as a decoder might."""


def _shown(rng: random.Random, felt: str) -> str | None:
    """What one modality shows: the felt emotion, None for next to nothing, or another emotion."""
    x = rng.random()
    if x < AGREE:
        return felt
    return None if x < AGREE + FAINT else rng.choice(load_lexicon().labels("basic8"))


def draw_face(rng: random.Random, shown: str | None, duration_s: float) -> FaceTrack:
    """A made-up face that shows a basic feeling, or next to nothing; of a duration of 0 s, a photograph."""
    units = tuple(load_cues().face)
    n = max(1, int(duration_s * RATE_HZ))
    times = np.arange(n, dtype=np.float64) / RATE_HZ
    noise = np.random.default_rng(rng.getrandbits(32))
    course = np.abs(noise.normal(0, 0.12, (n, len(units)))).astype(np.float32)
    weights = prototypes()["face"].get(shown or "", {})
    for a, unit in enumerate(units):
        weight = weights.get(f"AU{unit}", 0.0)
        if (weight > 0 and rng.random() < 0.35 + 0.6 * weight) or rng.random() < 0.12:
            peak = min(5.0, max(0.3, rng.gauss(3.0 if weight > 0.3 else 1.6, 1.0)))
            course[:, a] = np.maximum(course[:, a], peak * bump(rng, times))
    own = n > 3 * RATE_HZ and rng.random() < 0.6
    found, turned = _lost(rng, n)
    course[~found] = np.nan
    return FaceTrack(
        times_s=times,
        action_units=course,
        units=units,
        found=found,
        pose_deg=np.zeros((n, 3), np.float32),
        width_px=np.full(n, 120.0, np.float32),
        baseline=np.array([max(0.0, rng.gauss(0.3, 0.4)) if own else 0.0 for _ in units], np.float32),
        baseline_kind="own" if own else "population",
        reliability=np.array([rng.uniform(0.35, 0.97) for _ in units], np.float32),
        reader="drawn",
        n_turned_away=turned,
    )


def bump(rng: random.Random, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Onset, apex and offset as a trapezoid in [0, 1]; one for a still."""
    end = float(times[-1])
    if end == 0:
        return np.ones(1)
    start, stop = sorted((rng.uniform(-0.3 * end, end), rng.uniform(0, 1.3 * end)))
    if stop - start < 0.6:
        stop = start + 0.6
    return np.clip(np.minimum((times - start) / 0.25, (stop - times) / 0.25), 0.0, 1.0)


def _lost(rng: random.Random, n: int) -> tuple[NDArray[np.bool_], int]:
    """Frames with a usable face: mostly all, sometimes a share is lost or turned away, seldom all."""
    found = np.ones(n, np.bool_)
    x = rng.random()
    if x < 0.72 or n < 10:
        return found, 0
    if x > 0.97:
        return np.zeros(n, np.bool_), 0
    first = rng.randrange(n)
    found[first : first + int(rng.uniform(0.1, 0.7) * n)] = False
    lost = int(n - found.sum())
    return found, lost if rng.random() < 0.4 else 0


def draw_voice(rng: random.Random, shown: str | None, duration_s: float) -> VoiceTrack:
    """A made-up voice that expresses a basic feeling, or next to nothing; now and then nobody speaks."""
    track = VoiceTrack(
        times_s=np.zeros(0),
        f0_hz=np.zeros(0, np.float32),
        level_db=np.zeros(0, np.float32),
        speech=(),
        measures={},
        z={},
        windows=(),
        baseline=dict(TYPICAL),
        baseline_kind="population",
        reader="drawn",
        duration_s=duration_s,
    )
    return track if rng.random() < 0.08 else _spoken(rng, shown, track)


def _spoken(rng: random.Random, shown: str | None, silent: VoiceTrack) -> VoiceTrack:
    """The silent track with speech in it."""
    keys = [k for k in TYPICAL if rng.random() < 0.95]
    own = silent.duration_s > 8 and rng.random() < 0.5
    spans = tuple(_spans(rng, silent.duration_s))
    z = {k: round(_z(rng, shown, k), 3) for k in keys}
    windows = []
    for span in spans if own else ():
        loud = shown if rng.random() < 0.4 else None
        wz = {k: _z(rng, loud, k) for k in keys}
        windows.append(VoiceWindow(span.start_s, span.end_s, _values(wz), wz))
    if own:
        z = {k: 0.4 * v for k, v in z.items()}
    return replace(
        silent,
        speech=spans,
        measures=_values(z),
        z=z,
        windows=tuple(windows),
        baseline_kind="own" if own else "population",
        snr_db=rng.uniform(8, 40),
        clipped_ratio=0.05 if rng.random() < 0.05 else 0.0,
    )


def _spans(rng: random.Random, duration_s: float) -> Iterator[Interval]:
    start = 0.0
    while start < duration_s - 0.4:
        stop = min(duration_s, start + rng.uniform(0.5, 4.0))
        yield Interval(round(start + 0.1, 2), round(stop, 2))
        start = stop + rng.uniform(0.2, 1.0)


def _z(rng: random.Random, shown: str | None, key: str) -> float:
    lean = prototypes()["voice"].get(shown or "", {}).get(key, 0.0)
    return rng.gauss(2.6 * lean, 0.6)


def _values(z: Mapping[str, float]) -> dict[str, float]:
    return {k: TYPICAL[k][0] + v * TYPICAL[k][1] for k, v in z.items()}


_SELF_REPORTS = ("I am so {}.", "I feel {}.", "I'm really {} right now.", "Honestly, I'm {}.", "It makes me {}.")
_SOURCES = (TranscriptSource.SIDECAR, TranscriptSource.STREAM, TranscriptSource.GIVEN, TranscriptSource.WHISPER)


def _speech(
    rng: random.Random, shown: str | None, duration_s: float, quotes: Quotes
) -> tuple[Transcript, EmotionDistribution]:
    label = shown or "neutral"
    pool = quotes[label]
    words = [w.text for w in load_lexicon().words(label)] if label != "neutral" else []
    if words and (not pool or rng.random() < 0.12):
        text = rng.choice(_SELF_REPORTS).format(rng.choice(words))
    else:
        text = rng.choice(pool) if pool else "It starts at nine and ends at five."
    n_beside = min(len(quotes["neutral"]), rng.choices((0, 1, 2, 4), weights=(70, 15, 10, 5))[0])
    said = [text, *rng.sample(quotes["neutral"], n_beside)]
    rng.shuffle(said)
    source = rng.choice(_SOURCES)
    step = duration_s / len(said)
    # Given text has no times; the rest fills its share of the clip.
    timed = source is not TranscriptSource.GIVEN
    speaker = rng.choice(("Anna", "Joe", "Speaker 1")) if rng.random() < 0.12 else None
    told = tuple(
        Utterance(s, i * step if timed else None, (i + 0.8) * step if timed else None, _sure(rng, source), speaker)
        for i, s in enumerate(said)
    )
    return Transcript(told, source), distribute({label: 0.6} if label != "neutral" else {})


def _sure(rng: random.Random, source: TranscriptSource) -> float:
    return round(rng.uniform(0.3, 0.99), 2) if source is TranscriptSource.WHISPER else 1.0
