"""Other channels: the same seed gives the same sound, within full scale, and each does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.channels import CHANNELS, RATE_HZ, line, noise, room, speed


def tone(hz: float, length_s: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(length_s * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def power_at(samples: np.ndarray, hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    centre = round(hz * len(samples) / RATE_HZ)
    return float(spectrum[max(centre - 5, 0) : centre + 6].sum() / spectrum.sum())


@pytest.mark.parametrize("name", CHANNELS)
def test_one_seed_gives_one_sound_within_full_scale(name: str) -> None:
    first, again = (CHANNELS[name](tone(440), np.random.default_rng(3)) for _ in range(2))
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.abs(first).max() <= 1.0
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", [n for n in CHANNELS if n != "speed"])
def test_length_is_kept(name: str) -> None:
    assert len(CHANNELS[name](tone(440), np.random.default_rng(0))) == RATE_HZ


@pytest.mark.parametrize("seed", range(3))
def test_noise_lies_8_to_22_db_under_the_sound(seed: int) -> None:
    clean = tone(440)
    added = noise(clean, np.random.default_rng(seed)) - clean
    assert 7.5 < 10 * np.log10(np.mean(clean**2) / np.mean(added**2)) < 22.5


def test_a_line_keeps_speech_and_drops_what_lies_beside_it() -> None:
    both = tone(1000) + tone(6000)
    assert power_at(both, 6000) > 0.4
    assert power_at(line(both, np.random.default_rng(0)), 6000) < 0.01


def test_a_room_rings_on_after_the_sound() -> None:
    burst = np.concatenate([tone(440, 0.5), np.zeros(RATE_HZ // 2, np.float32)])
    assert np.abs(room(burst, np.random.default_rng(0))[-RATE_HZ // 4 :]).max() > 0.0


def test_speed_moves_pitch_and_length_together() -> None:
    played = speed(tone(1000), np.random.default_rng(1))
    assert power_at(played, 1000 * RATE_HZ / len(played)) > 0.9
