"""What was rewritten for speed or streaming equals its original; the arithmetic holds on signals with known answers."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.perceive.acoustics import Contours, LibrosaMeter, frame_level_db
from affectgpt.perceive.measures import MEASURES, cut_phrases, load_norms, own_baseline, standardise
from affectgpt.perceive.periods import find_periods
from affectgpt.perceive.pitch import repair_octaves, track_pitch
from affectgpt.perceive.sound import cut_chunks
from affectgpt.perceive.vad import SileroVad, SpeechRules, find_speech
from affectgpt.records import Interval

RATE_HZ = 16_000


def buzz(f0_hz: float | NDArray[np.float64], seconds: float = 1.0, n_harmonics: int = 20) -> NDArray[np.float32]:
    """A voice-like sum of harmonics falling by 6 dB an octave."""
    n = int(seconds * RATE_HZ)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, (n,))) / RATE_HZ
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, n_harmonics + 1))).astype(np.float32)


def everywhere(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(-(-len(samples) // 160), bool)


class TestVad:
    def test_stream_equals_whole(self) -> None:
        samples = np.random.default_rng(1).normal(0, 0.05, 40_000).astype(np.float32)
        whole, parts = SileroVad(), SileroVad()
        expected = np.concatenate([whole.push(samples), whole.flush()])
        got = [parts.push(p) for p in np.split(samples, [7, 600, 601, 20_000])]
        assert np.allclose(np.concatenate([*got, parts.flush()]), expected, atol=1e-5)
        assert len(expected) == -(-len(samples) // 512)

    @pytest.mark.slow
    def test_network_is_the_wheels(self) -> None:
        """With the weights of the wheel's TorchScript model the probabilities are that model's."""
        torch = pytest.importorskip("torch")
        spec = find_spec("silero_vad")
        assert spec is not None
        assert spec.submodule_search_locations
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model = torch.jit.load(Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.jit")
        weights = {k.removeprefix("_model."): v.numpy() for k, v in model.state_dict().items() if "_model." in k}
        vad = SileroVad()
        vad._weights = {
            "stft_conv.weight": weights["stft.forward_basis_buffer"],
            "final_conv.weight": weights["decoder.decoder.2.weight"],
            "final_conv.bias": weights["decoder.decoder.2.bias"],
            **{f"lstm_cell.{n}": weights[f"decoder.rnn.{n}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
            **{
                f"conv{i + 1}.{n}": weights[f"encoder.{i}.reparam_conv.{n}"]
                for i in range(4)
                for n in ("weight", "bias")
            },
        }
        sweep = buzz(np.linspace(90, 250, 3 * RATE_HZ), 3.0) * np.repeat([1, 0.05, 1], RATE_HZ).astype(np.float32)
        samples = sweep[: len(sweep) // 512 * 512]
        expected = [model(torch.from_numpy(p), RATE_HZ).item() for p in samples.reshape(-1, 512)]
        assert np.allclose(vad.push(samples), expected, atol=1e-4)

    def test_rules(self) -> None:
        step_s = 512 / RATE_HZ
        likely = np.array([0.0] * 10 + [0.9] * 20 + [0.3] * 2 + [0.9] * 10 + [0.0] * 20 + [0.9] * 4 + [0.0] * 9)
        first, *more = find_speech(likely.astype(np.float32), len(likely) * step_s, SpeechRules())
        assert more == []  # the short dip does not end the span, the short span does not count
        assert first.start_s == pytest.approx(10 * step_s - 0.03)
        assert first.end_s == pytest.approx(42 * step_s + 0.03)

    def test_segments_stay_inside_and_apart(self) -> None:
        rng = np.random.default_rng(3)
        for _ in range(50):
            likely = np.repeat(rng.random(12), rng.integers(1, 30, 12)).astype(np.float32)
            duration_s = len(likely) * 0.032 - 0.01
            spans = find_speech(likely, duration_s)
            edges = [t for s in spans for t in (s.start_s, s.end_s)]
            assert edges == sorted(edges)
            assert all(0 <= t <= duration_s + 1e-9 for t in edges)


class TestPitch:
    @pytest.mark.slow
    def test_equals_librosa(self) -> None:
        import librosa

        rng = np.random.default_rng(5)
        wander = 150 * 2 ** (np.cumsum(rng.normal(0, 0.002, 2 * RATE_HZ)) / 1.0)
        samples = np.concatenate([buzz(wander, 2.0), rng.normal(0, 0.1, RATE_HZ).astype(np.float32), buzz(80, 1.0)])
        samples = (samples + rng.normal(0, 0.01, len(samples))).astype(np.float32)
        mine = track_pitch(samples, everywhere(samples))
        theirs, _, _ = librosa.pyin(
            samples, fmin=60, fmax=600, sr=RATE_HZ, frame_length=1024, hop_length=160, resolution=0.2
        )
        theirs = theirs[: len(mine)]
        assert np.mean(np.isfinite(mine) == np.isfinite(theirs)) > 0.995
        both = np.isfinite(mine) & np.isfinite(theirs)
        assert both.sum() > 200
        # librosa answers with the middle of a bin of 0.2 semitones, this code with the candidate inside it.
        assert np.abs(12 * np.log2(mine[both] / theirs[both])).max() < 0.11

    @pytest.mark.parametrize("f0_hz", [70.0, 110.0, 220.0, 440.0])
    def test_known_pitch(self, f0_hz: float) -> None:
        samples = buzz(f0_hz)
        found = track_pitch(samples, everywhere(samples))
        assert np.isfinite(found[10:-10]).all()
        assert np.allclose(found[10:-10], f0_hz, rtol=0.01)

    def test_only_where_asked(self) -> None:
        samples = buzz(120.0)
        asked = everywhere(samples)
        asked[:50] = False
        assert np.isnan(track_pitch(samples, asked)[:50]).all()

    def test_octaves_are_folded(self) -> None:
        track = np.full(200, 120.0, np.float32)
        track[50:53], track[100:102], track[150] = 240.0, 60.0, 590.0
        fixed = repair_octaves(track)
        assert np.allclose(fixed[np.isfinite(fixed)], 120.0)
        assert np.isnan(fixed[150])
        assert np.isfinite(fixed).sum() == 199


class TestPeriods:
    @pytest.mark.parametrize("f0_hz", [90.0, 205.3])
    def test_steady_voice_has_none(self, f0_hz: float) -> None:
        samples = buzz(f0_hz)
        jitter, shimmer = find_periods(samples, track_pitch(samples, everywhere(samples)))
        assert np.nanmean(jitter) < 0.002
        assert np.nanmean(shimmer) < 0.005

    def test_known_jitter(self) -> None:
        """Periods alternating by 4 % differ by 4 % from one to the next."""
        lengths = np.where(np.arange(300) % 2, 0.98, 1.02) * 128
        ticks = np.concatenate([np.linspace(0, 1, round(n), endpoint=False) for n in lengths])
        samples = (0.3 * np.exp(-ticks * 6) * np.sin(2 * np.pi * 5 * ticks)).astype(np.float32)
        f0_hz = np.full(-(-len(samples) // 160), RATE_HZ / 128, np.float32)
        jitter, _ = find_periods(samples, f0_hz)
        assert np.nanmean(jitter) == pytest.approx(0.039, abs=0.012)

    def test_known_shimmer(self) -> None:
        # The step in amplitude lies between two pulses.
        swing = np.roll(np.repeat(np.where(np.arange(150) % 2, 1.05, 0.95), 128), 64)
        samples = (buzz(125.0, 150 * 128 / RATE_HZ) * swing).astype(np.float32)
        _, shimmer = find_periods(samples, np.full(-(-len(samples) // 160), 125.0, np.float32))
        assert np.nanmean(shimmer) == pytest.approx(0.1, abs=0.03)


class TestSpectrum:
    def test_level_of_a_sine(self) -> None:
        sine = np.sin(2 * np.pi * 500 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
        assert np.allclose(frame_level_db(sine)[5:-5], -3.01, atol=0.05)

    def test_harmonicity_follows_noise(self) -> None:
        voice, noise = buzz(150.0), np.random.default_rng(2).normal(0, 1, RATE_HZ).astype(np.float32)
        power = float(np.mean(voice**2))
        found = []
        for hnr_db in (20.0, 10.0, 5.0):
            mixed = (voice + noise * np.sqrt(power / 10 ** (hnr_db / 10))).astype(np.float32)
            found.append(float(np.nanmean(LibrosaMeter().measure(mixed, everywhere(mixed)).hnr_db)))
        assert found == pytest.approx([20.0, 10.0, 5.0], abs=1.5)

    def test_balance_follows_tilt(self) -> None:
        steep, flat = buzz(120.0, n_harmonics=60), np.zeros(RATE_HZ, np.float32)
        for k in range(1, 60):
            flat += 0.02 * np.sin(2 * np.pi * 120 * k * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
        a, b = (LibrosaMeter().measure(s, everywhere(s)) for s in (steep, flat))
        assert np.mean(b.alpha_db) > np.mean(a.alpha_db) + 5
        assert np.mean(b.slope_db_khz) > np.mean(a.slope_db_khz) + 3


class TestChunks:
    def test_cores_tile_the_stream(self) -> None:
        rng = np.random.default_rng(4)
        for _ in range(30):
            total = int(rng.integers(0, 5000))
            stream = np.arange(total, dtype=np.float32)
            blocks = np.split(stream, np.sort(rng.integers(0, total + 1, 5)))
            chunks = list(cut_chunks(blocks, 800, 160))
            cores = [c.samples[c.core_from - c.first : c.core_to - c.first] for c in chunks]
            assert np.array_equal(np.concatenate([*cores, np.zeros(0, np.float32)]), stream)
            for chunk in chunks:
                expected = stream[max(chunk.core_from - 160, 0) : chunk.core_to + 160]
                assert np.array_equal(chunk.samples, expected)


class TestBaseline:
    def test_phrases(self) -> None:
        level_db = np.zeros(3000, np.float32)
        level_db[1150:1160] = -40.0
        spans = (Interval(0, 1), Interval(1.2, 2), Interval(2.5, 3), Interval(6.5, 18.0))
        assert cut_phrases(spans[:3], level_db) == (Interval(0, 2), Interval(2.5, 3))
        first, second = cut_phrases(spans[3:], level_db)
        assert first.end_s == second.start_s == pytest.approx(11.55, abs=0.06)

    def test_own_needs_enough_speech(self) -> None:
        norms = load_norms("librosa")
        phrases = [(Interval(3.0 * i, 3.0 * i + 2.5), {"f0_median_hz": 100.0 + i}) for i in range(5)]
        assert own_baseline(phrases[:3], norms) is None
        assert own_baseline([(Interval(i, i + 1.0), m) for i, (_, m) in enumerate(phrases)], norms) is None
        baseline = own_baseline(phrases, norms)
        assert baseline is not None
        mean, spread = baseline["f0_median_hz"]
        assert mean == pytest.approx(102.0)
        assert 1.58 < spread < norms.within["f0_median_hz"]

    def test_standardise(self) -> None:
        assert standardise({"hnr_db": 12.0, "level_db": -20.0}, {"hnr_db": (10.0, 4.0)}) == {"hnr_db": 0.5}

    @pytest.mark.parametrize("meter", ["librosa", "praat", "opensmile"])
    def test_norms_are_whole(self, meter: str) -> None:
        norms = load_norms(meter)
        assert norms.n_clips == 80
        assert norms.n_speakers == 20
        assert set(norms.between) <= set(norms.within) <= set(MEASURES)
        assert all(sd > 0 for _, sd in norms.between.values())
        assert all(sd > 0 for sd in norms.within.values())

    def test_unknown_meter(self) -> None:
        with pytest.raises(OptionError, match="gramophone"):
            load_norms("gramophone")

    def test_contours_join(self) -> None:
        assert len(Contours.join([])) == 0
