"""The voice appraiser: laws of its numbers, of its readings, and of the two ways to read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectgpt.appraise.covariances import COUPLINGS
from affectgpt.appraise.functionals import NAMES, NAMES_SHA256, functionals
from affectgpt.appraise.heads import load_head
from affectgpt.appraise.voice import LEAST_CLIPS, VoiceAppraiser, bounded, standardised
from affectgpt.emotions import load_lexicon
from affectgpt.records import Interval, VoiceTrack

LABELS = load_lexicon().labels("basic8")
N_FRAMES = 200
MOVED_BY_GAIN = {"level_db", "loudness_p20", "loudness_p50", "loudness_p80", "loudness_mean"}


def made_track(seed: int = 0, f0_hz: float = 180.0, gain_db: float = 0.0, voiced: bool = True) -> VoiceTrack:
    """Two seconds of a voice that rises and falls at four syllables a second."""
    draw, times_s = np.random.default_rng(seed), np.arange(N_FRAMES) * 0.01
    level = -30.0 + 8.0 * np.sin(2 * np.pi * 4 * times_s) + draw.normal(0, 0.5, N_FRAMES)
    pitch = f0_hz * 2 ** (draw.normal(0, 0.5, N_FRAMES).cumsum() / 60)
    slope = -np.linspace(0, 25, 24) + draw.normal(0, 2, (N_FRAMES, 24))
    return VoiceTrack(
        times_s=times_s,
        f0_hz=np.where(np.sin(2 * np.pi * 4 * times_s) > -0.5, pitch if voiced else np.nan, np.nan).astype(np.float32),
        level_db=(level + gain_db).astype(np.float32),
        speech=(Interval(0.1, 1.9),),
        measures={"hnr_db": 9.0, "syllable_rate_hz": 4.0, "pause_ratio": 0.0, "f0_median_hz": f0_hz},
        z={"f0_median_hz": (f0_hz - 164) / 51},
        windows=(),
        baseline={},
        baseline_kind="population",
        reader="made",
        bands_db=(level[:, None] + slope + gain_db).astype(np.float16),
    )


class TestFunctionals:
    def test_a_gain_moves_the_loudness_and_nothing_else(self) -> None:
        soft, loud = functionals(made_track()), functionals(made_track(gain_db=8.0))
        assert soft is not None
        assert loud is not None
        moved = {n for n, a, b in zip(NAMES, soft, loud, strict=True) if abs(a - b) > 0.02 * abs(a) + 0.02}
        assert moved == MOVED_BY_GAIN

    def test_an_octave_is_twelve_semitones_and_leaves_the_ranges(self) -> None:
        low, high = functionals(made_track(f0_hz=110.0)), functionals(made_track(f0_hz=220.0))
        assert low is not None
        assert high is not None
        change = dict(zip(NAMES, high - low, strict=True))
        assert change["f0_p50"] == pytest.approx(12.0, abs=1e-3)
        assert change["f0_range_60"] == pytest.approx(0.0, abs=1e-3)

    def test_a_shout_without_pitch_gives_numbers_but_no_melody(self) -> None:
        row = functionals(made_track(voiced=False))
        assert row is not None
        found = dict(zip(NAMES, row, strict=True))
        assert np.isnan(found["f0_p50"])
        assert np.isfinite(found["cepstrum_1_mean"])

    def test_without_pitch_the_couplings_of_the_others_remain(self) -> None:
        row = functionals(made_track(voiced=False))
        assert row is not None
        known = {n: np.isfinite(v) for n, v in zip(NAMES, row, strict=True) if n in COUPLINGS}
        assert not any(v for n, v in known.items() if n.startswith("melody_"))
        assert all(v for n, v in known.items() if not n.startswith("melody_"))

    def test_voice_where_no_speech_was_detected_is_read(self) -> None:
        assert functionals(replace(made_track(), speech=())) is not None

    @pytest.mark.parametrize(
        "track",
        [
            replace(made_track(voiced=False), speech=()),
            replace(made_track(), speech=(Interval(0.1, 0.3),)),
            replace(made_track(), bands_db=np.zeros((0, 0), np.float16)),
            replace(
                made_track(),
                times_s=np.zeros(0),
                f0_hz=np.zeros(0, np.float32),
                level_db=np.zeros(0, np.float32),
                bands_db=np.zeros((0, 24), np.float16),
            ),
        ],
        ids=["silence", "a fifth of a second", "no bands", "no frames"],
    )
    def test_nothing_to_read_is_none(self, track: VoiceTrack) -> None:
        assert functionals(track) is None
        assert VoiceAppraiser().read(track) is None


class TestRows:
    def test_a_speakers_own_constant_and_unit_vanish(self) -> None:
        rows = np.random.default_rng(0).normal(size=(12, 5))
        assert standardised(rows * 3 + 7) == pytest.approx(standardised(rows))

    def test_an_unknown_number_stays_unknown_and_touches_no_other(self) -> None:
        rows = np.random.default_rng(0).normal(size=(12, 3))
        rows[4, 1] = np.nan
        out = standardised(rows)
        assert np.isnan(out[4, 1])
        assert np.isfinite(out).sum() == out.size - 1

    def test_what_is_far_out_is_cut_and_what_is_unknown_is_the_mean(self) -> None:
        assert bounded(np.array([[100.0, np.nan]]), np.zeros(2), np.ones(2)) == pytest.approx(np.array([[4.0, 0.0]]))


@pytest.mark.parametrize("permissive", [False, True])
class TestReading:
    def test_a_distribution_over_the_basics_without_contempt(self, permissive: bool) -> None:
        read = VoiceAppraiser(permissive).read(made_track())
        assert read is not None
        assert tuple(read.probabilities) == LABELS
        assert sum(read.probabilities.values()) == pytest.approx(1.0)
        if not permissive:
            assert read.probabilities["contemptuous"] == 0.0
        assert all(-1 <= v <= 1 for v in (read.valence, read.arousal, read.dominance))

    def test_few_clips_are_read_alone(self, permissive: bool) -> None:
        tracks, voice = [made_track(seed) for seed in range(LEAST_CLIPS - 1)], VoiceAppraiser(permissive)
        for together, track in zip(voice.normalised(tracks), tracks, strict=True):
            alone = voice.read(track)
            assert together is not None
            assert alone is not None
            assert together.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("permissive", [False, True])
class TestOneSpeaker:
    def test_every_clip_is_read_against_all(self, permissive: bool) -> None:
        tracks = [made_track(seed, 120 + 10 * seed) for seed in range(LEAST_CLIPS)]
        voice = VoiceAppraiser(permissive)
        together = voice.normalised(tracks)
        assert len(together) == len(tracks)
        for read, track in zip(together, tracks, strict=True):
            alone = voice.read(track)
            assert read is not None
            assert alone is not None
            assert sum(read.probabilities.values()) == pytest.approx(1.0)
            assert read.probabilities != pytest.approx(alone.probabilities, abs=1e-3)

    def test_one_speakers_gain_does_not_matter(self, permissive: bool) -> None:
        voice = VoiceAppraiser(permissive)
        near = voice.normalised([made_track(seed, 120 + 10 * seed) for seed in range(LEAST_CLIPS)])
        far = voice.normalised([made_track(seed, 120 + 10 * seed, -6.0) for seed in range(LEAST_CLIPS)])
        for a, b in zip(near, far, strict=True):
            assert a is not None
            assert b is not None
            assert a.probabilities == pytest.approx(b.probabilities, abs=0.02)

    def test_the_order_of_the_clips_does_not_matter(self, permissive: bool) -> None:
        tracks, voice = [made_track(seed, 120 + 10 * seed) for seed in range(LEAST_CLIPS)], VoiceAppraiser(permissive)
        for a, b in zip(voice.normalised(tracks), reversed(voice.normalised(tracks[::-1])), strict=True):
            assert a is not None
            assert b is not None
            assert a.probabilities == pytest.approx(b.probabilities, abs=1e-5)

    def test_the_unread_keep_their_place(self, permissive: bool) -> None:
        empty = replace(made_track(voiced=False), speech=(), z={}, measures={})
        read = VoiceAppraiser(permissive).normalised([empty, *(made_track(s) for s in range(LEAST_CLIPS))])
        assert read[0] is None
        assert all(r is not None for r in read[1:])

    def test_no_clips_give_no_readings(self, permissive: bool) -> None:
        assert VoiceAppraiser(permissive).normalised([]) == []


@pytest.mark.parametrize("name", ["voice_raw", "voice_normalised"])
def test_a_head_reads_the_numbers_that_a_voice_gives(name: str) -> None:
    head = load_head(name)
    assert head.card["input"]["names_sha256"] == NAMES_SHA256
    assert head.width == len(NAMES)


@pytest.mark.shared
def test_shouted_anger_outranks_calm_in_anger_and_arousal(shared_data: Path) -> None:
    from affectgpt import media
    from affectgpt.perceive.voice import LibrosaVoice

    def read(code: str) -> list[VoiceTrack]:
        paths = sorted((shared_data / "speech" / "ravdess").rglob(f"03-01-{code}-*-01-1[24].flac"))
        return [LibrosaVoice().read(media.waveform(media.open_clip(p))) for p in paths]

    angry, calm = read("05-02"), read("02-02")
    voice = VoiceAppraiser()
    told = [[voice.read(t) for t in tracks] for tracks in (angry, calm)]
    raised, quiet = ([r for r in side if r is not None] for side in told)
    assert min(r.arousal for r in raised) > max(r.arousal for r in quiet)
