"""The VoiceTrack measured by Praat, for comparison with published work.

Praat (Boersma & Weenink) comes through parselmouth (Jadoul, Thompson & de Boer 2018, Journal of Phonetics 71:1) and is
under the GNU GPL, version 3 or later. The base install does not have it: `pip install 'affectgpt[research]'`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from affectgpt.perceive.acoustics import HOP_S, Contours, LibrosaMeter, n_frames
from affectgpt.perceive.pitch import CEILING_HZ, FLOOR_HZ
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.perceive.voice import MeteredVoice

__all__ = ["PraatMeter", "PraatVoice"]

Floats = NDArray[np.float32]

_SHORTEST_SAMPLES = RATE_HZ // 8
"""Praat needs some periods of the lowest pitch; under an eighth of a second there is only a level."""


class PraatMeter:
    """Praat's pitch (autocorrelation), harmonicity, and pulses; level and spectrum as the default meter takes them.

    Raises:
        MissingDependency: parselmouth is not installed.
    """

    name = "praat"

    def __init__(self) -> None:
        try:
            import parselmouth
        except ImportError as error:
            raise MissingDependency(
                "praat-parselmouth is not installed", "pip install 'affectgpt[research]'"
            ) from error
        self._praat = parselmouth
        self._spectrum = LibrosaMeter()

    def measure(self, samples: Floats, speech: NDArray[np.bool_]) -> Contours:
        """See `ContourMeter.measure`."""
        plain = self._spectrum.measure(samples, np.zeros_like(speech))
        if len(samples) < _SHORTEST_SAMPLES or not speech.any():
            return plain
        sound = self._praat.Sound(samples.astype(np.float64), RATE_HZ)
        times_s = np.arange(n_frames(len(samples))) * HOP_S
        pitch = sound.to_pitch_ac(time_step=HOP_S, pitch_floor=FLOOR_HZ, pitch_ceiling=CEILING_HZ)
        f0_hz = np.array([pitch.get_value_at_time(t) for t in times_s], np.float32)
        f0_hz[~speech] = np.nan
        harmonicity = sound.to_harmonicity_cc(time_step=HOP_S, minimum_pitch=FLOOR_HZ)
        hnr_db = np.array([harmonicity.get_value(t) for t in times_s], np.float32)
        hnr_db[~np.isfinite(f0_hz) | (hnr_db < -100)] = np.nan
        jitter, shimmer = self._perturbation(sound, pitch, f0_hz)
        return replace(plain, f0_hz=f0_hz, hnr_db=hnr_db, jitter=jitter, shimmer=shimmer)

    def _perturbation(self, sound: Any, pitch: Any, f0_hz: Floats) -> tuple[Floats, Floats]:
        """Local jitter and shimmer of 0.2-s windows every 0.1 s, given to the voiced frames around their centres."""
        call = self._praat.praat.call
        pulses = call([sound, pitch], "To PointProcess (cc)")
        jitter = np.full(len(f0_hz), np.nan, np.float32)
        shimmer = jitter.copy()
        for first in range(0, len(f0_hz), 10):
            part = slice(first, first + 10)
            voiced = np.isfinite(f0_hz[part])
            if voiced.sum() < 5:
                continue
            span = (max((first - 5) * HOP_S, 0.0), (first + 15) * HOP_S)
            jitter[part][voiced] = call(pulses, "Get jitter (local)", *span, 1e-4, 0.02, 1.3)
            shimmer[part][voiced] = call([sound, pulses], "Get shimmer (local)", *span, 1e-4, 0.02, 1.3, 1.6)
        return jitter, shimmer


class PraatVoice(MeteredVoice):
    """Reads a voice with Praat (GPL-3.0-or-later)."""

    def __init__(self) -> None:
        super().__init__(PraatMeter())
