"""Steady noise at a stated level over a sound, the same for the same sound and level each time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from affectgpt.records import Waveform

__all__ = ["add_noise"]


def add_noise(blocks: Iterable[Waveform], snr_db: float, seed: int) -> list[Waveform]:
    """The sound with noise whose power falls as 1/f, `snr_db` under the mean power of the whole sound.

    The sound is turned down as a whole where the sum would clip. It is held in memory: clips, not hours. The mean is
    taken over pauses too, so that the level within speech is a few dB better than the number says.
    """
    given = list(blocks)
    if not given:
        return []
    sound = np.concatenate([block.samples for block in given]).astype(np.float64)
    white = np.random.default_rng(seed).standard_normal(len(sound))
    spectrum = np.fft.rfft(white) / np.sqrt(np.maximum(np.fft.rfftfreq(len(sound), 1 / given[0].rate_hz), 50.0))
    noise = np.fft.irfft(spectrum, len(sound))
    power = float(np.mean(noise**2))
    noisy = sound + noise * np.sqrt(np.mean(sound**2) / max(power, 1e-20)) * 10 ** (-snr_db / 20)
    noisy /= max(1.0, float(np.abs(noisy).max(initial=0.0)))
    cuts = np.cumsum([len(block.samples) for block in given])[:-1]
    parts = np.split(noisy.astype(np.float32), cuts)
    return [replace(block, samples=part) for block, part in zip(given, parts, strict=True)]
