"""Other microphones, rooms and lines: what the same speech sounds like elsewhere.

Recordings of one studio teach a model that studio. These five changes stand for the recordings that were not made: each
is drawn from a generator, so that one seed gives the same sound twice, and each keeps what the voice expresses.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

__all__ = ["CHANNELS", "RATE_HZ", "code", "line", "noise", "room", "speed"]

Floats = NDArray[np.float32]
Change = Callable[[Floats, np.random.Generator], Floats]

RATE_HZ = 16_000
_LINE_HZ = (300.0, 3400.0)
"""The band of a telephone line (ITU-T G.712)."""
_MU = 255.0
"""North American and Japanese companding (ITU-T G.711)."""


def noise(samples: Floats, draw: np.random.Generator) -> Floats:
    """Steady noise, its power falling as f^0 to f^-2, 8 to 22 dB under the sound's mean power."""
    spectrum = np.fft.rfft(draw.standard_normal(len(samples)))
    hz = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE_HZ), 50.0)
    coloured = np.fft.irfft(spectrum * hz ** -draw.uniform(0.0, 1.0), len(samples))
    snr_db = draw.uniform(8.0, 22.0)
    gain = np.sqrt(np.mean(samples**2) / max(float(np.mean(coloured**2)), 1e-20)) * 10 ** (-snr_db / 20)
    return _fit(samples + gain * coloured)


def room(samples: Floats, draw: np.random.Generator) -> Floats:
    """A room: noise that decays by 60 dB within 0.15 to 0.6 s, 0 to 10 dB under the direct sound."""
    from scipy.signal import fftconvolve

    times_s = np.arange(int(0.6 * RATE_HZ)) / RATE_HZ
    tail = draw.standard_normal(len(times_s)) * 10 ** (-3 * times_s / draw.uniform(0.15, 0.6))
    tail[: RATE_HZ // 200] = 0.0
    tail *= 10 ** (-draw.uniform(0.0, 10.0) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return _fit(fftconvolve(samples, tail)[: len(samples)])


def line(samples: Floats, draw: np.random.Generator) -> Floats:
    """A telephone line: 300 to 3400 Hz, 8 bits companded, at a level 6 to 20 dB under full scale."""
    from scipy.signal import butter, sosfiltfilt

    passed = sosfiltfilt(butter(4, _LINE_HZ, "bandpass", fs=RATE_HZ, output="sos"), samples)
    passed *= 10 ** (-draw.uniform(6.0, 20.0) / 20) / max(float(np.abs(passed).max()), 1e-9)
    companded = np.sign(passed) * np.log1p(_MU * np.abs(passed)) / np.log1p(_MU)
    stepped = np.round(companded * 127) / 127
    return _fit(np.sign(stepped) * np.expm1(np.abs(stepped) * np.log1p(_MU)) / _MU)


def speed(samples: Floats, draw: np.random.Generator) -> Floats:
    """Played up to 10 % slower or faster: another tempo, pitch and length of throat."""
    from scipy.signal import resample_poly

    return _fit(resample_poly(samples, 100, int(draw.integers(90, 111))))


def code(samples: Floats, draw: np.random.Generator) -> Floats:
    """MP3 or Opus at 16 to 32 kbit/s, there and back."""
    codec, container = (("libmp3lame", "mp3"), ("libopus", "ogg"))[int(draw.integers(2))]
    written = io.BytesIO()
    with av.open(written, "w", format=container) as out:
        stream = cast("AudioStream", out.add_stream(codec, rate=RATE_HZ, layout="mono"))
        stream.bit_rate = int(draw.choice([16, 24, 32])) * 1000
        stream.format = "fltp" if codec == "libmp3lame" else "flt"
        block = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format=stream.format.name, layout="mono")
        block.rate, block.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        for packet in [*stream.encode(block), *stream.encode(None)]:
            out.mux(packet)
    written.seek(0)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
    with av.open(written, "r") as coded:
        heard = [piece.to_ndarray()[0] for frame in coded.decode(audio=0) for piece in resampler.resample(frame)]
        heard += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return _fit(np.concatenate(heard))


CHANNELS: dict[str, Change] = {"noise": noise, "room": room, "line": line, "speed": speed, "code": code}
"""Every change by its name, samples (N,) float32 in [-1, 1] at 16 kHz to samples (N',)."""


def _fit(samples: NDArray[Any]) -> Floats:
    """Within full scale: turned down where it would clip."""
    return np.asarray(samples / max(1.0, float(np.abs(samples).max(initial=0.0))), np.float32)
