"""A voice whose manipulation is known is read accordingly, whatever the reader, the blocks or the recording."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from affectgpt.errors import UnreadableMedia
from affectgpt.perceive.measures import MEASURES, load_norms
from affectgpt.perceive.opensmile import OpenSmileVoice
from affectgpt.perceive.praat import PraatVoice
from affectgpt.perceive.voice import LibrosaVoice, VoiceReader
from affectgpt.records import VoiceTrack, Waveform

TEXT = "The weather was rather cold this morning, and nobody wanted to leave the house. We waited until the afternoon."
SYLLABLES = 31
READERS: dict[str, Callable[[], VoiceReader]] = {
    "librosa": LibrosaVoice,
    "praat": PraatVoice,
    "opensmile": OpenSmileVoice,
}

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@cache
def say(*options: str, text: str = TEXT) -> Waveform:
    command = ["espeak-ng", "--stdout", *options, text]
    sound = subprocess.run(command, capture_output=True, check=True).stdout
    samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
    return Waveform(samples, rate_hz, 0.0)


@cache
def hear(reader: str, *options: str) -> VoiceTrack:
    return READERS[reader]().read([say(*options)])


def read(samples: NDArray[np.floating], rate_hz: int = 16_000, start_s: float = 0.0) -> VoiceTrack:
    return LibrosaVoice().read([Waveform(samples.astype(np.float32), rate_hz, start_s)])


def in_blocks(sound: Waveform, block_s: float) -> list[Waveform]:
    n = int(block_s * sound.rate_hz)
    return [
        Waveform(sound.samples[i : i + n], sound.rate_hz, sound.start_s + i / sound.rate_hz)
        for i in range(0, len(sound.samples), n)
    ]


def long_sound() -> Waveform:
    """26 s of two voices with pauses: longer than one chunk of analysis."""
    parts = [say("-p", pitch, "-s", "150") for pitch in ("30", "70", "50")]
    quiet = np.zeros(parts[0].rate_hz, np.float32)
    return Waveform(np.concatenate([x for p in parts for x in (p.samples, quiet)]), parts[0].rate_hz, 0.0)


@needs_espeak
@pytest.mark.parametrize("reader", READERS)
class TestOrder:
    def test_pitch(self, reader: str) -> None:
        low, middle, high = (hear(reader, "-p", p).measures["f0_median_hz"] for p in ("20", "50", "80"))
        assert low < 0.85 * middle < 0.72 * high

    def test_pitch_is_that_of_praat(self, reader: str) -> None:
        for options in (("-p", "50"), ("-p", "80"), ("-v", "en+f3")):
            mine, praat = (hear(r, *options).measures["f0_median_hz"] for r in (reader, "praat"))
            assert mine == pytest.approx(praat, rel=0.03)

    def test_rate(self, reader: str) -> None:
        slow, plain, fast = (hear(reader, "-s", s).measures["syllable_rate_hz"] for s in ("110", "160", "260"))
        assert slow < 0.85 * plain
        assert plain < 0.9 * fast

    def test_syllables(self, reader: str) -> None:
        track = hear(reader, "-s", "130")
        counted = track.measures["syllable_rate_hz"] * sum(s.end_s - s.start_s for s in track.speech)
        assert counted == pytest.approx(SYLLABLES, abs=5)

    def test_loudness(self, reader: str) -> None:
        quiet, plain, loud = (hear(reader, "-a", a) for a in ("30", "100", "180"))
        assert quiet.measures["level_db"] + 6 < plain.measures["level_db"] < loud.measures["level_db"] - 3
        for other in (quiet, loud):
            assert other.measures["f0_median_hz"] == pytest.approx(plain.measures["f0_median_hz"], rel=0.02)

    def test_roughness(self, reader: str) -> None:
        low, high = hear(reader, "-p", "20"), hear(reader, "-p", "80")
        assert low.measures["jitter_pct"] > high.measures["jitter_pct"]
        assert low.measures["hnr_db"] < high.measures["hnr_db"]

    def test_whisper_has_no_pitch(self, reader: str) -> None:
        whisper, plain = hear(reader, "-v", "en+whisper"), hear(reader)
        assert whisper.speech
        assert whisper.voiced_ratio < 0.05
        assert not {"f0_median_hz", "f0_range_st", "jitter_pct", "shimmer_pct", "hnr_db"} & whisper.measures.keys()
        assert whisper.measures["syllable_rate_hz"] > 2
        assert whisper.measures["alpha_ratio_db"] > plain.measures["alpha_ratio_db"] + 5

    def test_contours_and_keys(self, reader: str) -> None:
        track = hear(reader)
        assert track.reader == reader
        assert len(track.times_s) == len(track.f0_hz) == len(track.level_db)
        assert np.allclose(np.diff(track.times_s), 0.01)
        assert set(track.measures) <= set(MEASURES)
        assert all(np.isfinite(v) for v in track.measures.values())


@needs_espeak
class TestLaws:
    def test_block_size_changes_nothing(self) -> None:
        sound = long_sound()
        whole = LibrosaVoice().read([sound])
        for block_s in (0.37, 5.0, 30.0):
            cut = LibrosaVoice().read(in_blocks(sound, block_s))
            assert cut.speech == whole.speech
            assert np.array_equal(np.isnan(cut.f0_hz), np.isnan(whole.f0_hz))
            assert np.allclose(cut.f0_hz, whole.f0_hz, rtol=1e-3, equal_nan=True)
            assert np.allclose(cut.level_db, whole.level_db, atol=0.05)

    def test_chunk_edges_leave_no_trace(self) -> None:
        """The same speech read alone and across the edge between two chunks has the same contours."""
        speech = say("-p", "60")
        shift_s = 17.0  # the first chunk ends at 20.48 s
        late = np.concatenate([np.zeros(round(shift_s * speech.rate_hz), np.float32), speech.samples])
        alone, across = read(speech.samples, speech.rate_hz), read(late, speech.rate_hz)
        moved = across.f0_hz[round(shift_s * 100) :][: len(alone.f0_hz)]
        both = np.isfinite(alone.f0_hz) & np.isfinite(moved)
        assert both.sum() > 0.97 * np.isfinite(alone.f0_hz).sum()
        assert np.median(np.abs(moved[both] / alone.f0_hz[both] - 1)) < 0.005
        assert np.percentile(np.abs(moved[both] / alone.f0_hz[both] - 1), 95) < 0.03

    def test_start_moves_times_only(self) -> None:
        sound = say()
        here, later = read(sound.samples, sound.rate_hz), read(sound.samples, sound.rate_hz, 2.5)
        assert later.times_s[0] == 2.5
        assert later.measures == here.measures
        assert later.speech[0].start_s == pytest.approx(here.speech[0].start_s + 2.5)
        assert later.windows[0].start_s == pytest.approx(here.windows[0].start_s + 2.5)

    def test_gain_moves_level_only(self) -> None:
        sound = say()
        here, half = read(sound.samples, sound.rate_hz), read(sound.samples * 0.5, sound.rate_hz)
        assert half.measures["level_db"] == pytest.approx(here.measures["level_db"] - 6.02, abs=0.3)
        for name in ("f0_median_hz", "hnr_db", "alpha_ratio_db", "jitter_pct"):
            assert half.measures[name] == pytest.approx(here.measures[name], rel=0.05)

    def test_dc_offset_changes_nothing(self) -> None:
        sound = say()
        plain, offset = read(sound.samples, sound.rate_hz), read(sound.samples * 0.5 + 0.3, sound.rate_hz)
        assert offset.measures["level_db"] == pytest.approx(plain.measures["level_db"] - 6.02, abs=0.3)
        assert offset.measures["f0_median_hz"] == pytest.approx(plain.measures["f0_median_hz"], rel=0.01)

    def test_telephone_rate(self) -> None:
        sound = say()
        import soxr

        narrow = soxr.resample(sound.samples, sound.rate_hz, 8000)
        track, plain = read(narrow, 8000), read(sound.samples, sound.rate_hz)
        assert track.duration_s == pytest.approx(plain.duration_s, abs=0.01)
        assert track.measures["f0_median_hz"] == pytest.approx(plain.measures["f0_median_hz"], rel=0.01)

    def test_noise_lowers_snr_and_hnr(self) -> None:
        sound = say()
        quiet = np.zeros(sound.rate_hz, np.float32)
        samples = np.concatenate([quiet, sound.samples, quiet])
        noise = np.random.default_rng(0).normal(0, 1, len(samples))
        clean, noisy = (read(samples + level * noise, sound.rate_hz) for level in (0.001, 0.02))
        assert noisy.snr_db < clean.snr_db - 15
        assert noisy.measures["hnr_db"] < clean.measures["hnr_db"]

    def test_bad_samples_are_silence(self) -> None:
        sound = say()
        broken = sound.samples.copy()
        broken[:50] = np.nan
        broken[-50:] = np.inf
        track, plain = read(broken, sound.rate_hz), read(sound.samples, sound.rate_hz)
        assert np.isfinite(track.level_db).all()
        assert track.measures["f0_median_hz"] == pytest.approx(plain.measures["f0_median_hz"], rel=0.01)

    def test_clipping_is_counted(self) -> None:
        sound = say()
        loud = np.clip(sound.samples * 20, -1, 1)
        assert read(sound.samples, sound.rate_hz).clipped_ratio == 0.0
        assert read(loud, sound.rate_hz).clipped_ratio > 0.05

    def test_gap_between_blocks_keeps_times(self) -> None:
        sound = say()
        again = Waveform(sound.samples, sound.rate_hz, len(sound.samples) / sound.rate_hz + 3.0)
        track = LibrosaVoice().read([sound, again])
        assert track.duration_s == pytest.approx(2 * len(sound.samples) / sound.rate_hz + 3.0, abs=0.01)
        assert any(s.start_s == pytest.approx(again.start_s, abs=0.2) for s in track.speech)


@needs_espeak
class TestBaselines:
    def test_short_speech_is_against_the_population(self) -> None:
        track = hear("librosa")
        norms = load_norms("librosa")
        assert track.baseline_kind == "population"
        assert track.baseline == track.population == norms.between
        mean, sd = norms.between["f0_median_hz"]
        assert track.z["f0_median_hz"] == pytest.approx((track.measures["f0_median_hz"] - mean) / sd)
        assert "level_db" not in track.z  # no microphone is like another

    def test_long_speech_is_against_its_own(self) -> None:
        quiet = np.zeros(22050, np.float32)
        low, high = (say("-p", p, text="Nobody wanted to leave the house.").samples for p in ("40", "90"))
        track = read(np.concatenate([x for part in (low, low, low, high, low, low) for x in (part, quiet)]), 22050)
        assert track.baseline_kind == "own"
        assert len(track.windows) == 6
        z = [w.z["f0_median_hz"] for w in track.windows]
        assert int(np.argmax(z)) == 3
        assert z[3] > 1
        assert all(abs(v) < 1 for i, v in enumerate(z) if i != 3)
        assert "level_db" in track.windows[0].z
        mean, _ = track.baseline["f0_median_hz"]
        assert min(w.measures["f0_median_hz"] for w in track.windows) < mean < track.windows[3].measures["f0_median_hz"]

    def test_windows_are_short_and_in_order(self) -> None:
        track = LibrosaVoice().read([say(text=" ".join([TEXT.replace(".", "").replace(",", "")] * 4))])
        assert all(0 < w.end_s - w.start_s <= 8.01 for w in track.windows)
        assert all(a.end_s <= b.start_s for a, b in zip(track.windows, track.windows[1:], strict=False))


class TestNoSpeech:
    @pytest.mark.parametrize(
        "samples",
        [
            np.zeros(0),
            np.zeros(1),
            np.zeros(800),
            np.zeros(32_000),
            np.full(32_000, 0.5),
            np.full(32_000, np.nan),
            np.random.default_rng(0).normal(0, 0.1, 64_000),
            0.3 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 16_000),
        ],
        ids=["empty", "one", "50ms", "silence", "dc", "nan", "noise", "tone"],
    )
    @pytest.mark.parametrize("reader", READERS)
    def test_no_speech_no_measures(self, reader: str, samples: NDArray[np.float64]) -> None:
        track = READERS[reader]().read([Waveform(samples.astype(np.float32), 16_000, 0.0)])
        assert track.speech == ()
        assert track.measures == track.z == {}
        assert track.windows == ()
        assert track.voiced_ratio == 0.0
        assert len(track.times_s) == -(-len(samples) // 160)
        assert np.isfinite(track.level_db).all()

    def test_no_blocks(self) -> None:
        assert LibrosaVoice().read([]).duration_s == 0.0

    @needs_espeak
    def test_a_twentieth_of_a_second_of_speech(self) -> None:
        sound = say()
        assert read(sound.samples[5000 : 5000 + sound.rate_hz // 20], sound.rate_hz).measures == {}

    def test_a_changing_rate_is_refused(self) -> None:
        block = np.zeros(1600, np.float32)
        with pytest.raises(UnreadableMedia, match="16000 to 8000"):
            LibrosaVoice().read([Waveform(block, 16_000, 0.0), Waveform(block, 8_000, 0.1)])

    def test_stereo_is_refused(self) -> None:
        with pytest.raises(UnreadableMedia, match="mono"):
            LibrosaVoice().read([Waveform(np.zeros((2, 1600), np.float32), 16_000, 0.0)])
