"""The voice as tokens: descriptors of sounds whose answer is known, and what a microphone may not change."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from affectgpt.errors import InputError, UnreadableMedia
from affectgpt.fusion.acoustic import DESCRIPTORS, NAMES, AcousticEncoder, measure
from affectgpt.fusion.descriptors import SPECTRAL, VOICED, Stretch, measure_spectral, measure_voiced
from affectgpt.fusion.features import Features, Signals
from affectgpt.media import open_clip, waveform
from affectgpt.perceive.periods import find_periods
from affectgpt.perceive.voice import LibrosaVoice
from affectgpt.records import VoiceTrack, Waveform

RATE_HZ = 16_000
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240)}
"""Peterson & Barney 1952, men."""


def vowel(f0_hz: float, formants_hz: tuple[int, ...], duration_s: float = 1.0) -> NDArray[np.float32]:
    """A pulse train through resonances, with the tilt of a voice."""
    pulses = np.zeros(round(RATE_HZ * duration_s))
    pulses[(np.arange(0, duration_s, 1 / f0_hz) * RATE_HZ).astype(int)] = 1
    sound = lfilter([1], [1, -0.97], pulses)
    for hz, bandwidth_hz in zip((*formants_hz, 3500, 4500), (60, 90, 120, 150, 200), strict=True):
        radius = np.exp(-np.pi * bandwidth_hz / RATE_HZ)
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE_HZ), radius**2], sound)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def stretch(sound: NDArray[np.float32], f0_hz: float) -> Stretch:
    return Stretch(sound, np.full(-(-len(sound) // 160), f0_hz, np.float32))


def voiced(sound: NDArray[np.float32], f0_hz: float) -> dict[str, float]:
    return dict(zip(VOICED, np.nanmedian(measure_voiced(stretch(sound, f0_hz), find_periods), axis=0), strict=True))


def blocks(sound: NDArray[np.float32], size: int = 48_000, start_s: float = 0.0) -> Iterator[Waveform]:
    for first in range(0, len(sound), size):
        yield Waveform(sound[first : first + size], RATE_HZ, start_s + first / RATE_HZ)


def spoken(sound: NDArray[np.float32], start_s: float = 0.0, size: int = 48_000) -> Features:
    """What the encoder makes of a sound, read by the default reader."""
    track = LibrosaVoice().read(blocks(sound, start_s=start_s))
    signals = Signals(voice=track, open_sound=lambda: blocks(sound, size, start_s))
    return AcousticEncoder(find_periods).encode(signals)


def measured(track: VoiceTrack, sound: Iterable[Waveform]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All measures of a sound, and which are speech."""
    parts = list(measure(track, sound, find_periods))
    return np.concatenate([rows for rows, _, _ in parts]), np.concatenate([spoken for _, _, spoken in parts])


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """A second of two vowels between silences, as loud as a voice near the microphone."""
    rest = np.zeros(RATE_HZ // 2, np.float32)
    sounds = [vowel(f0, VOWELS[name], 0.6) for f0, name in ((120, "a"), (180, "i"))]
    noise = np.random.default_rng(0).normal(0, 1e-4, 2 * len(rest) + sum(map(len, sounds))).astype(np.float32)
    return np.concatenate([rest, *sounds, rest]) + noise


# ---------------------------------------------------------------- what is known of a sound


@pytest.mark.parametrize("name", VOWELS)
@pytest.mark.parametrize("f0_hz", [100.0, 140.0])
def test_formants_of_a_vowel_are_those_it_was_made_with(name: str, f0_hz: float) -> None:
    found = voiced(vowel(f0_hz, VOWELS[name]), f0_hz)
    for place, hz in enumerate(VOWELS[name], 1):
        assert found[f"f{place}_hz"] == pytest.approx(hz, rel=0.08, abs=25), place


def test_noise_lowers_harmonicity_and_a_shaken_pitch_raises_jitter() -> None:
    clean = vowel(125, VOWELS["a"])
    noise = np.random.default_rng(1).normal(0, 0.05, len(clean)).astype(np.float32)
    hnr_db = [voiced(clean + share * noise, 125)["hnr_db"] for share in (0.1, 0.5, 1.0)]
    assert hnr_db == sorted(hnr_db, reverse=True)
    rng = np.random.default_rng(2)
    pulses = np.zeros(RATE_HZ)
    pulses[np.cumsum(rng.normal(128, 2.5, 120)).astype(int)] = 1
    shaken = lfilter([1], [1, -1.6, 0.7], pulses).astype(np.float32)
    assert voiced(shaken / np.abs(shaken).max(), 125)["jitter"] > 5 * voiced(clean, 125)["jitter"]


def test_the_first_harmonics_stand_as_they_were_mixed() -> None:
    time_s = np.arange(RATE_HZ) / RATE_HZ
    gains_db = {1: 0.0, 2: -6.0, 3: -20.0}
    mixed = sum(10 ** (g / 20) * np.sin(2 * np.pi * 200 * n * time_s) for n, g in gains_db.items())
    assert voiced(0.2 * np.asarray(mixed, np.float32), 200)["h1_h2_db"] == pytest.approx(6.0, abs=0.3)


def test_a_pure_tone_and_digital_silence_have_finite_descriptors() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    for sound in (tone, np.zeros(RATE_HZ, np.float32), np.full(RATE_HZ, 0.3, np.float32)):
        rows = measure_voiced(stretch(sound, 200.0), find_periods)
        assert np.isfinite(measure_spectral(stretch(sound, 200.0))).all()
        assert np.isfinite(rows[:, VOICED.index("hnr_db")]).all()
        assert not np.isinf(rows).any()


def test_spectral_descriptors_follow_the_tilt() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, RATE_HZ)
    dark = lfilter([1], [1, -0.95], noise).astype(np.float32)
    bright = lfilter([1, -0.95], [1], noise).astype(np.float32)
    low, high = (measure_spectral(stretch(sound, np.nan)).mean(axis=0) for sound in (dark, bright))
    names = dict(zip(SPECTRAL, zip(low, high, strict=True), strict=True))
    assert names["alpha_ratio_db"][0] + 10 < names["alpha_ratio_db"][1]
    assert names["hammarberg_index_db"][0] > names["hammarberg_index_db"][1] + 10
    assert names["slope_500_1500_db_khz"][0] < -3 < 3 < names["slope_500_1500_db_khz"][1]


# ---------------------------------------------------------------- tokens


def test_tokens_stand_where_the_voice_does(speech: NDArray[np.float32]) -> None:
    features = spoken(speech, start_s=3.0)
    assert features.width == AcousticEncoder.width == len(NAMES) + 1 == 50
    assert len(DESCRIPTORS) == 25
    assert len(features) == len(speech) // 320
    assert features.times_s[0].tolist() == [3.0, 3.02]
    sounding = features.tokens[:, 25] == 1
    middle_s = features.times_s.mean(axis=1)
    vowels = (middle_s > 3.5) & (middle_s < 4.7)
    assert (features.valid & vowels).sum() > 30
    assert sounding[features.valid & vowels].mean() > 0.7
    assert not sounding[(middle_s < 3.45) | (middle_s > 4.75)].any()
    assert not features.valid[middle_s > 4.7 + 0.5].any()
    low, high = (features.tokens[sounding & (side == (middle_s < 4.1)), 0] for side in (True, False))
    table = tomllib.loads(files("affectgpt").joinpath("data/acoustic_descriptors.toml").read_text("utf-8"))
    step_st = (np.median(high) - np.median(low)) * table["columns"]["f0_st"]["sd"]
    assert step_st == pytest.approx(12 * np.log2(180 / 120), abs=0.2)


def test_only_the_loudness_holds_the_gain(speech: NDArray[np.float32]) -> None:
    loud, soft = spoken(speech), spoken(speech / 4)
    both = loud.valid & soft.valid
    differ = np.abs(loud.tokens[both] - soft.tokens[both]).mean(axis=0)
    loudness = DESCRIPTORS.index("loudness_log")
    assert differ[loudness] > 0.5
    assert np.delete(differ, loudness).max() < 0.05


def test_blocks_and_windows_change_nothing(speech: NDArray[np.float32]) -> None:
    once = LibrosaVoice().read(blocks(speech))
    sound = np.tile(speech, 12)  # more than one window
    track = replace(
        once,
        times_s=np.arange(12 * len(once.times_s)) * 0.01,
        f0_hz=np.tile(once.f0_hz, 12),
        level_db=np.tile(once.level_db, 12),
        bands_db=np.tile(once.bands_db, (12, 1)),
    )
    told = [measured(track, blocks(sound, size))[0] for size in (len(sound), 7001)]
    assert np.array_equal(told[0], told[1], equal_nan=True)
    whole = np.concatenate(
        [measure_spectral(stretch(sound, np.nan)), measure_voiced(Stretch(sound, track.f0_hz), find_periods)], axis=1
    )
    seam = 1024  # where the first window's core ends
    columns = slice(1 + 2 + 4, 25)
    near = np.abs(told[0][seam - 20 : seam + 20, columns] - whole[seam - 20 : seam + 20])
    assert np.nanmax(near) < 1e-2


def test_what_is_missing_is_missing(speech: NDArray[np.float32]) -> None:
    encoder = AcousticEncoder(find_periods)
    assert len(encoder.encode(Signals())) == 0
    silence = spoken(np.zeros(RATE_HZ, np.float32))
    assert not silence.is_present
    assert not silence.tokens.any()
    track = LibrosaVoice().read(blocks(speech))
    assert len(encoder.encode(Signals(voice=track))) == 0, "a track whose sound is gone"
    assert len(encoder.encode(Signals(voice=track, open_sound=lambda: blocks(speech[:100])))) == 0


def test_a_shout_that_is_no_speech_to_the_detector_is_heard(speech: NDArray[np.float32]) -> None:
    track = replace(LibrosaVoice().read(blocks(speech)), speech=())
    features = AcousticEncoder(find_periods).encode(Signals(voice=track, open_sound=lambda: blocks(speech)))
    assert features.valid[features.tokens[:, 25] == 1].all()
    assert features.is_present


def test_a_track_without_bands_and_sound_of_another_rate_are_refused(speech: NDArray[np.float32]) -> None:
    track = LibrosaVoice().read(blocks(speech))
    bare: VoiceTrack = replace(track, bands_db=np.zeros((0, 0), np.float16))
    with pytest.raises(InputError, match="mel bands"):
        measured(bare, blocks(speech))
    with pytest.raises(UnreadableMedia, match="48000"):
        measured(track, [Waveform(speech, 48_000, 0.0)])


# ---------------------------------------------------------------- beside the field's tools


RAVDESS = "speech/ravdess"
SMILE = {
    "Loudness_sma3": ("loudness_log", 0.95),
    "alphaRatio_sma3": ("alpha_ratio_db", 0.9),
    "hammarbergIndex_sma3": ("hammarberg_index_db", 0.9),
    "slope0-500_sma3": ("slope_0_500_db_khz", 0.7),
    "slope500-1500_sma3": ("slope_500_1500_db_khz", 0.8),
    "mfcc1_sma3": ("mfcc_1", 0.9),
    "F0semitoneFrom27.5Hz_sma3nz": ("f0_st", 0.95),
    "HNRdBACF_sma3nz": ("hnr_db", 0.75),
}
"""What openSMILE calls a descriptor, our name, and the rank correlation that is demanded."""
LONG = {"F0semitoneFrom27.5Hz_sma3nz", "HNRdBACF_sma3nz"}
"""From windows of 60 ms: openSMILE's frame begins 20 ms earlier than for the others, which have 20 ms."""


def recordings(shared_data: Path) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]]:
    """Sound, measures and voiced tokens of a few clips."""
    for path in sorted((shared_data / RAVDESS).rglob("03-01-*.flac"))[7::171]:
        clip = open_clip(path)
        rows, valid = measured(LibrosaVoice().read(waveform(clip)), waveform(clip))
        yield (
            np.concatenate([b.samples for b in waveform(clip)]),
            rows,
            np.flatnonzero(valid & np.isfinite(rows[:, 0])),
        )


@pytest.mark.shared
@pytest.mark.slow
def test_descriptors_follow_opensmile(shared_data: Path) -> None:
    opensmile = pytest.importorskip("opensmile")
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.LowLevelDescriptors
    )
    pairs: dict[str, list[NDArray[np.float32]]] = {name: [] for name in SMILE}
    for sound, rows, voiced_at in recordings(shared_data):
        table = smile.process_signal(sound, RATE_HZ)
        for name, (ours, _) in SMILE.items():
            # The token is centred on 20 k + 10 ms; openSMILE's row r begins at 10 r ms.
            at = np.clip(2 * voiced_at + (-2 if name in LONG else 0), 0, len(table) - 1)
            pairs[name].append(np.stack([rows[voiced_at, NAMES.index(ours)], table[name].to_numpy()[at]]))
    agree = {name: rank_correlation(np.concatenate(found, axis=1)) for name, found in pairs.items()}
    assert {n: round(r, 2) for n, r in agree.items() if r < SMILE[n][1]} == {}


@pytest.mark.shared
@pytest.mark.slow
def test_formants_follow_praat(shared_data: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    pairs: dict[int, list[NDArray[np.float32]]] = {1: [], 2: [], 3: []}
    for sound, rows, voiced_at in recordings(shared_data):
        formants = parselmouth.Sound(sound.astype(float), RATE_HZ).to_formant_burg(time_step=0.01)
        for place, found in pairs.items():
            theirs = [formants.get_value_at_time(place, 0.02 * k + 0.01) for k in voiced_at]
            found.append(np.stack([rows[voiced_at, NAMES.index(f"f{place}_hz")], np.array(theirs, np.float32)]))
    for place, parts in pairs.items():
        both = np.concatenate(parts, axis=1)
        assert rank_correlation(both) > 0.8, place
        assert np.nanmedian(np.abs(both[0] - both[1])) < 40, place


def rank_correlation(pairs: NDArray[np.float32]) -> float:
    """Spearman's, over the columns (2, T) in which both are told."""
    from scipy.stats import spearmanr

    seen = np.isfinite(pairs).all(axis=0) & (pairs[1] != 0)
    return float(spearmanr(pairs[0, seen], pairs[1, seen]).statistic)
