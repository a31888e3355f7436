"""Contours become measures: of all speech, of a phrase, and each against a baseline.

F0 is told by percentiles 20, 50 and 80, because octave errors inflate its mean and deviation; syllables are counted as
peaks of intensity after de Jong & Wempe 2009 (Behavior Research Methods 41:385).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.perceive.acoustics import HOP_S, Contours
from affectgpt.records import Interval

__all__ = ["MEASURES", "Norms", "cut_phrases", "load_norms", "measure_span", "own_baseline", "snr_db", "standardise"]

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

MEASURES = (
    "f0_median_hz",
    "f0_range_st",
    "level_db",
    "level_range_db",
    "syllable_rate_hz",
    "pause_ratio",
    "jitter_pct",
    "shimmer_pct",
    "hnr_db",
    "alpha_ratio_db",
    "spectral_slope_db",
)
"""Every key a mapping of measures may hold; one that cannot be had is absent, never NaN."""

_MIN_FRAMES = 10
"""Evidence for a level or a median: a tenth of a second."""
_MIN_RANGE_FRAMES = 20
_MIN_RATE_S = 0.5
_NUCLEUS_DIP_DB = 2.0
_NUCLEUS_DEPTH_DB = 25.0
"""de Jong & Wempe 2009: a nucleus lies within 25 dB of the loudest speech and follows a dip of 2 dB."""
_UNVOICED_RATIO = 0.05
"""Under this share of voiced speech the voice is whispered: no pitch is told, and nuclei need not be voiced."""
_MERGE_GAP_S = 0.3
_LONGEST_PHRASE_S = 8.0
_OWN_WINDOWS = 4
_OWN_SPEECH_S = 8.0
_PRIOR_WINDOWS = 4.0
"""A speaker's spread is pooled with that of others as if theirs were this many phrases: four say little of a spread."""


@dataclass(frozen=True, slots=True)
class Norms:
    """What other people's neutral speech measures, read with one meter.

    `between` (mean, standard deviation) over clips, for measures that can be compared across people and microphones ·
    `within` standard deviation over one speaker's clips, for all measures.
    """

    between: Mapping[str, tuple[float, float]]
    within: Mapping[str, float]
    n_clips: int
    n_speakers: int


@cache
def load_norms(meter: str) -> Norms:
    """The norms of data/voice_population.toml for a meter.

    Raises:
        OptionError: the table has no such meter.
    """
    table = tomllib.loads(files("affectgpt").joinpath("data/voice_population.toml").read_text("utf-8"))
    if meter not in table:
        raise OptionError(f"no population norms for the voice meter {meter!r}", "see data/voice_population.toml")
    rows = table[meter]["measures"]
    return Norms(
        between={k: (r["mean"], r["sd"]) for k, r in rows.items() if r["comparable"]},
        within={k: r["within_sd"] for k, r in rows.items()},
        n_clips=table[meter]["n_clips"],
        n_speakers=table[meter]["n_speakers"],
    )


def measure_span(contours: Contours, speech: Sequence[Interval], span: Interval) -> dict[str, float]:
    """The measures of the speech inside a span; times count from the contours' first frame. See `MEASURES`."""
    inside = [Interval(max(s.start_s, span.start_s), min(s.end_s, span.end_s)) for s in speech]
    inside = [s for s in inside if s.end_s > s.start_s]
    if not inside:
        return {}
    talk = spoken_mask(len(contours), inside)
    spoken_s = sum(s.end_s - s.start_s for s in inside)
    extent_s = inside[-1].end_s - inside[0].start_s
    found = _level_measures(contours, talk) | _voice_measures(contours, talk)
    if spoken_s >= _MIN_RATE_S:
        found["syllable_rate_hz"] = len(find_nuclei(contours, talk)) / spoken_s
        found["pause_ratio"] = max(1.0 - spoken_s / extent_s, 0.0)
    return {name: float(found[name]) for name in MEASURES if np.isfinite(found.get(name, np.nan))}


def spoken_mask(n_frames: int, speech: Sequence[Interval]) -> Mask:
    """(T,) True in the speech spans."""
    mask = np.zeros(n_frames, bool)
    for span in speech:
        mask[max(round(span.start_s / HOP_S), 0) : max(round(span.end_s / HOP_S), 0)] = True
    return mask


def is_voiced(contours: Contours, talk: Mask) -> bool:
    """Whether `talk` (T,) holds a voice: a tenth of a second and a twentieth of the speech, at least."""
    voiced = np.isfinite(contours.f0_hz[talk])
    return bool(voiced.sum() >= _MIN_FRAMES and voiced.mean() >= _UNVOICED_RATIO)


def find_nuclei(contours: Contours, talk: Mask) -> NDArray[np.intp]:
    """Frames of the syllable nuclei within `talk` (T,): voiced peaks of the 200–3000 Hz level, clear of a dip."""
    if not talk.any():
        return np.zeros(0, np.intp)
    from scipy.signal import find_peaks

    smooth = _smooth(contours.sonorant_db)
    floor_db = np.percentile(smooth[talk], 99) - _NUCLEUS_DEPTH_DB
    peaks, _ = find_peaks(smooth, height=floor_db, prominence=_NUCLEUS_DIP_DB)
    peaks = peaks[talk[peaks]]
    if is_voiced(contours, talk):
        peaks = peaks[np.isfinite(contours.f0_hz[peaks])]
    return np.asarray(peaks, np.intp)


def _smooth(level_db: Floats) -> Floats:
    """Level over about 70 ms: de Jong & Wempe's intensity window at a pitch floor of 50 Hz is 64 ms."""
    kernel = np.hanning(9)[1:-1]
    return np.asarray(np.convolve(np.pad(level_db, 3, mode="edge"), kernel / kernel.sum(), "valid"), np.float32)


def _level_measures(contours: Contours, talk: Mask) -> dict[str, float]:
    if talk.sum() < _MIN_FRAMES:
        return {}
    level_db = contours.level_db[talk]
    low, high = np.percentile(level_db, [10, 90])
    # eGeMAPS takes spectral balance over voiced frames; a whisper has none, and its own balance is what it has to tell.
    voiced = talk & np.isfinite(contours.f0_hz)
    balance = voiced if is_voiced(contours, talk) else talk
    return {
        "level_db": 10 * np.log10(np.mean(10 ** (level_db.astype(np.float64) / 10))),
        "level_range_db": high - low,
        "alpha_ratio_db": np.nanmean(contours.alpha_db[balance]),
        "spectral_slope_db": np.nanmean(contours.slope_db_khz[balance]),
    }


def _voice_measures(contours: Contours, talk: Mask) -> dict[str, float]:
    found: dict[str, float] = {}
    if not is_voiced(contours, talk):
        return found
    f0_hz = contours.f0_hz[talk]
    f0_hz = f0_hz[np.isfinite(f0_hz)]
    found["f0_median_hz"] = float(np.median(f0_hz))
    if len(f0_hz) >= _MIN_RANGE_FRAMES:
        low, high = np.percentile(f0_hz, [20, 80])
        found["f0_range_st"] = 12 * float(np.log2(high / low))
    for name, contour, scale in (
        ("hnr_db", contours.hnr_db, 1.0),
        ("jitter_pct", contours.jitter, 100.0),
        ("shimmer_pct", contours.shimmer, 100.0),
    ):
        values = contour[talk]
        values = values[np.isfinite(values)]
        if len(values) >= _MIN_FRAMES:
            found[name] = scale * float(values.mean())
    return found


def snr_db(contours: Contours, speech: Sequence[Interval]) -> float:
    """Speech over noise in dB, at least -10; NaN with under 0.2 s of noise.

    Noise is what is heard 0.1 s or more away from speech; music between the words may well be louder than they are.
    """
    talk = spoken_mask(len(contours), speech)
    near = spoken_mask(len(contours), [Interval(s.start_s - 0.1, s.end_s + 0.1) for s in speech])
    if talk.sum() < _MIN_FRAMES or (~near).sum() < 2 * _MIN_FRAMES:
        return float("nan")
    power = 10 ** (contours.level_db.astype(np.float64) / 10)
    noise = float(np.median(power[~near]))
    return float(10 * np.log10(max(power[talk].mean() / noise - 1, 0.1)))


def cut_phrases(speech: Sequence[Interval], level_db: Floats) -> tuple[Interval, ...]:
    """Phrases: segments less than 0.3 s apart joined, and what is longer than 8 s cut at its quietest inner moment."""
    joined: list[Interval] = []
    for span in speech:
        if joined and span.start_s - joined[-1].end_s < _MERGE_GAP_S:
            joined[-1] = Interval(joined[-1].start_s, span.end_s)
        else:
            joined.append(span)
    return tuple(piece for span in joined for piece in _split(span, level_db))


def _split(span: Interval, level_db: Floats) -> list[Interval]:
    length_s = span.end_s - span.start_s
    if length_s <= _LONGEST_PHRASE_S:
        return [span]
    # The cut stays in the middle half, so that no piece is a sliver.
    first = round((span.start_s + length_s / 4) / HOP_S)
    last = min(round((span.end_s - length_s / 4) / HOP_S), len(level_db))
    smooth = np.convolve(level_db[first:last], np.ones(11) / 11, "same")[5:-5]
    cut_s = (first + 5 + int(smooth.argmin())) * HOP_S
    return _split(Interval(span.start_s, cut_s), level_db) + _split(Interval(cut_s, span.end_s), level_db)


def own_baseline(
    windows: Sequence[tuple[Interval, Mapping[str, float]]], norms: Norms
) -> dict[str, tuple[float, float]] | None:
    """This speaker's own (mean, standard deviation) a measure over phrases, or None with too little speech.

    It takes 4 phrases and 8 s of speech. Phrases weigh by their length. The spread is pooled with the one that other
    speakers show within themselves, which counts as 4 phrases.
    """
    if len(windows) < _OWN_WINDOWS or sum(s.end_s - s.start_s for s, _ in windows) < _OWN_SPEECH_S:
        return None
    baseline: dict[str, tuple[float, float]] = {}
    for name in MEASURES:
        held = [(m[name], s.end_s - s.start_s) for s, m in windows if name in m]
        if len(held) < _OWN_WINDOWS or name not in norms.within:
            continue
        values, weights = np.array(held).T
        mean = float(np.average(values, weights=weights))
        own = float(np.average((values - mean) ** 2, weights=weights)) * len(held)
        spread = (own + _PRIOR_WINDOWS * norms.within[name] ** 2) / (len(held) - 1 + _PRIOR_WINDOWS)
        baseline[name] = (mean, float(np.sqrt(spread)))
    return baseline


def standardise(measures: Mapping[str, float], baseline: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Standard deviations from the baseline's mean, for the measures that it knows."""
    return {k: (v - baseline[k][0]) / baseline[k][1] for k, v in measures.items() if k in baseline}
