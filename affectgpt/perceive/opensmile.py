"""The VoiceTrack measured by openSMILE, for comparison with published work.

openSMILE (Eyben, Wöllmer & Schuller 2010, ACM Multimedia) is under the audEERING research licence, which allows
non-commercial use only. The base install does not have it: `pip install 'affectgpt[research]'`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency
from affectgpt.perceive.acoustics import Contours, LibrosaMeter
from affectgpt.perceive.vad import RATE_HZ
from affectgpt.perceive.voice import MeteredVoice

__all__ = ["OpenSmileMeter", "OpenSmileVoice"]

Floats = NDArray[np.float32]

_SHORTEST_SAMPLES = RATE_HZ // 8
"""eGeMAPS needs some 60-ms windows; under an eighth of a second there is only a level."""
_SEMITONE_ZERO_HZ = 27.5
"""eGeMAPS counts F0 in semitones from A0."""


class OpenSmileMeter:
    """eGeMAPSv02 low-level descriptors; the level and the band level for syllables as the default meter takes them.

    Raises:
        MissingDependency: opensmile is not installed.
    """

    name = "opensmile"

    def __init__(self) -> None:
        try:
            library = import_module("opensmile")
        except ImportError as error:
            raise MissingDependency("opensmile is not installed", "pip install 'affectgpt[research]'") from error
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

        return replace(
            plain,
            f0_hz=f0_hz.astype(np.float32),
            hnr_db=held(columns["HNRdBACF_sma3nz"]),
            jitter=held(columns["jitterLocal_sma3nz"]),
            # Shimmer comes in dB between neighbouring periods; as a ratio of amplitudes less one it is a share.
            shimmer=held(10 ** (columns["shimmerLocaldB_sma3nz"] / 20) - 1),
            alpha_db=columns["alphaRatio_sma3"],
            slope_db_khz=1000 * columns["slope500-1500_sma3"],
        )


class OpenSmileVoice(MeteredVoice):
    """Reads a voice with openSMILE (audEERING research licence, non-commercial)."""

    def __init__(self) -> None:
        super().__init__(OpenSmileMeter())


def _fit(values: Floats, count: int) -> Floats:
    """`values` cut or lengthened with their last one to `count`: openSMILE leaves out the frames at the edge."""
    if len(values) >= count:
        return values[:count]
    return np.pad(values, (0, count - len(values)), mode="edge") if len(values) else np.zeros(count, np.float32)
