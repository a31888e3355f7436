"""The same VoiceTrack measured by openSMILE or by Praat, for comparison with published work.

Neither is needed and both carry licences of their own: openSMILE (Eyben et al. 2010) the audEERING research licence,
for non-commercial use only; Praat, through parselmouth (Jadoul et al. 2018), the GPL version 3 or later. The base
install has neither: `pip install 'affectgpt[research]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from affectgpt.perceive.acoustics import HOP_S, Contours, LibrosaMeter, n_frames
from affectgpt.perceive.pitch import CEILING_HZ, FLOOR_HZ
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.perceive.voice import MeteredVoice

__all__ = ["OpenSmileMeter", "OpenSmileVoice", "PraatMeter", "PraatVoice"]

Floats = NDArray[np.float32]

_SHORTEST_SAMPLES = RATE_HZ // 8
"""Both need some windows of sound; under an eighth of a second there is only a level."""
_SEMITONE_ZERO_HZ = 27.5
"""eGeMAPS counts F0 in semitones from A0."""


class PraatMeter:
    """Praat's pitch (autocorrelation), harmonicity, and pulses; level and spectrum as the default meter takes them.

    Raises:
        MissingDependency: parselmouth is not installed.
    """

    name = "praat"

    def __init__(self) -> None:
        self._praat = _load("parselmouth", "praat-parselmouth")
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
        return _replace(plain, f0_hz=f0_hz, hnr_db=hnr_db, jitter=jitter, shimmer=shimmer)

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


class OpenSmileMeter:
    """eGeMAPSv02 low-level descriptors; the level and the band level for syllables as the default meter takes them.

    Raises:
        MissingDependency: opensmile is not installed.
    """

    name = "opensmile"

    def __init__(self) -> None:
        library = _load("opensmile", "opensmile")
        self._smile = library.Smile(
            feature_set=library.FeatureSet.eGeMAPSv02, feature_level=library.FeatureLevel.LowLevelDescriptors
        )
        self._spectrum = LibrosaMeter()

    def measure(self, samples: Floats, speech: NDArray[np.bool_]) -> Contours:
        """See `ContourMeter.measure`."""
        plain = self._spectrum.measure(samples, np.zeros_like(speech))
        if len(samples) < _SHORTEST_SAMPLES or not speech.any():
            return plain
        table = self._smile.process_signal(samples, RATE_HZ)
        columns = {name: _fit(table[name].to_numpy(np.float32), len(speech)) for name in table.columns}
        semitones = columns["F0semitoneFrom27.5Hz_sma3nz"]
        voiced = (semitones > 0) & speech
        f0_hz = np.where(voiced, _SEMITONE_ZERO_HZ * 2 ** (semitones / 12), np.nan)

        def held(values: Floats) -> Floats:
            return np.where(voiced & (values != 0), values, np.nan).astype(np.float32)

        return _replace(
            plain,
            f0_hz=f0_hz.astype(np.float32),
            hnr_db=held(columns["HNRdBACF_sma3nz"]),
            jitter=held(columns["jitterLocal_sma3nz"]),
            # Shimmer comes in dB between neighbouring periods; as a ratio of amplitudes less one it is a share.
            shimmer=held(10 ** (columns["shimmerLocaldB_sma3nz"] / 20) - 1),
            alpha_db=columns["alphaRatio_sma3"],
            slope_db_khz=1000 * columns["slope500-1500_sma3"],
        )


class PraatVoice(MeteredVoice):
    """Reads a voice with Praat (GPL-3.0-or-later)."""

    def __init__(self) -> None:
        super().__init__(PraatMeter())


class OpenSmileVoice(MeteredVoice):
    """Reads a voice with openSMILE (audEERING research licence, non-commercial)."""

    def __init__(self) -> None:
        super().__init__(OpenSmileMeter())


def _load(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(f"{package} is not installed", "pip install 'affectgpt[research]'") from error


def _fit(values: Floats, count: int) -> Floats:
    """`values` cut or lengthened with their last one to `count`: openSMILE leaves out the frames at the edge."""
    if len(values) >= count:
        return values[:count]
    return np.pad(values, (0, count - len(values)), mode="edge") if len(values) else np.zeros(count, np.float32)


def _replace(contours: Contours, **changed: Floats) -> Contours:
    fields = {name: getattr(contours, name) for name in Contours.__dataclass_fields__}
    return Contours(**(fields | changed))
