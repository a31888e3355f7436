"""Where somebody speaks: Silero's voice activity network, run in numpy from the weights in the silero-vad wheel.

The network (Silero Team, "Silero VAD: pre-trained enterprise-grade Voice Activity Detector", 2024, MIT licence) is
small: a 256-point spectrum, four convolutions, one LSTM cell, one output. Running it here needs neither torch nor
onnxruntime, keeps its state from block to block, and leaves the process's thread count alone, which importing the
`silero_vad` package does not. A test holds it equal to the wheel's own TorchScript model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import MissingDependency, ModelError
from affectgpt.records import Interval

__all__ = ["FRAME_SAMPLES", "RATE_HZ", "SileroVad", "SpeechRules", "find_speech"]

RATE_HZ = 16_000
"""The rate of the network's 16 kHz weights; every reader of this package works at it."""
FRAME_SAMPLES = 512
"""Samples a probability covers (32 ms), fixed by the network."""
_CONTEXT_SAMPLES = 64
_WEIGHTS = "silero_vad_16k.safetensors"
_SHAPES = {"stft_conv.weight": (258, 1, 256), "conv1.weight": (128, 129, 3), "lstm_cell.weight_hh": (512, 128)}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpeechRules:
    """How probabilities become segments: silero-vad 6.2's `get_speech_timestamps`, with its defaults but one.

    Its threshold is 0.5; at that, shouted speech is often not speech to the network, and shouting is what matters here.
    Speech starts at `threshold`, ends when the probability stays under `threshold` - 0.15 for `min_pause_s`; spans
    shorter than `min_speech_s` are dropped and `pad_s` is added at both ends.
    """

    threshold: float = 0.35
    min_speech_s: float = 0.25
    min_pause_s: float = 0.1
    pad_s: float = 0.03


class SileroVad:
    """A stream of samples in, a speech probability every 32 ms out. One instance reads one stream.

    Raises:
        MissingDependency: the silero-vad package is not installed.
        ModelError: its weights are not the ones this code knows.
    """

    def __init__(self) -> None:
        self._weights = _load_weights()
        self._rest = np.zeros(0, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._hidden = np.zeros(128, np.float32)
        self._cell = np.zeros(128, np.float32)

    def push(self, samples: Floats) -> Floats:
        """Probabilities (F,) of the frames that `samples` (N,), float32 mono at 16 kHz, completes."""
        joined = np.concatenate([self._rest, samples])
        n_frames = len(joined) // FRAME_SAMPLES
        self._rest = joined[n_frames * FRAME_SAMPLES :]
        return self._run(joined[: n_frames * FRAME_SAMPLES])

    def flush(self) -> Floats:
        """The probability of the last, incomplete frame, padded with zeros; empty when nothing is left."""
        if not len(self._rest):
            return np.zeros(0, np.float32)
        padded = np.zeros(FRAME_SAMPLES, np.float32)
        padded[: len(self._rest)] = self._rest
        self._rest = np.zeros(0, np.float32)
        return self._run(padded)

    def _run(self, samples: Floats) -> Floats:
        if not len(samples):
            return np.zeros(0, np.float32)
        frames = samples.reshape(-1, FRAME_SAMPLES)
        before = np.vstack([self._context, frames[:-1, -_CONTEXT_SAMPLES:]])
        self._context = frames[-1, -_CONTEXT_SAMPLES:].copy()
        features = _encode(np.hstack([before, frames]), self._weights)
        return np.fromiter(self._steps(features), np.float32, len(frames))

    def _steps(self, features: Floats) -> Iterator[float]:
        weights = self._weights
        bias = weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]
        inputs = features @ weights["lstm_cell.weight_ih"].T + bias
        recurrent = weights["lstm_cell.weight_hh"]
        out, offset = weights["final_conv.weight"].reshape(-1), weights["final_conv.bias"][0]
        for given in inputs:
            gates = given + recurrent @ self._hidden
            enter, forget, leave = _sigmoid(gates[:128]), _sigmoid(gates[128:256]), _sigmoid(gates[384:])
            self._cell = forget * self._cell + enter * np.tanh(gates[256:384])
            self._hidden = leave * np.tanh(self._cell)
            yield float(_sigmoid(np.maximum(self._hidden, 0.0) @ out + offset))


def find_speech(probabilities: Floats, duration_s: float, rules: SpeechRules = SpeechRules()) -> tuple[Interval, ...]:
    """Speech segments in [0, duration_s] from probabilities (F,), one every 32 ms."""
    step_s = FRAME_SAMPLES / RATE_HZ
    spans = [(a * step_s, min(b * step_s, duration_s)) for a, b in _spans(probabilities.tolist(), rules, step_s)]
    kept = [span for span in spans if span[1] - span[0] >= rules.min_speech_s]
    padded: list[Interval] = []
    for index, (start_s, end_s) in enumerate(kept):
        # Neighbours closer than two pads share the gap between them, so that segments never overlap.
        before_s = start_s - kept[index - 1][1] if index else 2 * start_s
        after_s = kept[index + 1][0] - end_s if index + 1 < len(kept) else 2 * (duration_s - end_s)
        padded.append(Interval(start_s - min(rules.pad_s, before_s / 2), end_s + min(rules.pad_s, after_s / 2)))
    return tuple(padded)


def _spans(probabilities: Sequence[float], rules: SpeechRules, step_s: float) -> Iterator[tuple[int, int]]:
    start: int | None = None
    quiet_from: int | None = None
    for index, probability in enumerate(probabilities):
        if start is None:
            start = index if probability >= rules.threshold else None
        elif probability >= rules.threshold:
            quiet_from = None
        elif probability < rules.threshold - 0.15 or quiet_from is not None:
            quiet_from = index if quiet_from is None else quiet_from
            if (index - quiet_from) * step_s >= rules.min_pause_s:
                yield start, quiet_from
                start, quiet_from = None, None
    if start is not None:
        yield start, len(probabilities)


def _sigmoid(x: Floats) -> Floats:
    # tanh does not overflow where exp would.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float32)


def _encode(frames: Floats, weights: Mapping[str, Floats]) -> Floats:
    """Features (F, 128) of frames (F, 576): 64 samples of context, 512 of sound, reflected by 64 at the end."""
    padded = np.hstack([frames, frames[:, -2 : -_CONTEXT_SAMPLES - 2 : -1]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 256, axis=1)[:, ::128]
    spectrum = windows @ weights["stft_conv.weight"][:, 0].T
    x = np.sqrt(spectrum[..., :129] ** 2 + spectrum[..., 129:] ** 2)
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
        x = _convolve(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)
    return np.asarray(x[:, 0], np.float32)


def _convolve(x: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """A width-3 convolution over (F, time, channels), padded by one, with a rectifier."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, ::stride]
    flat = windows.reshape(windows.shape[0], windows.shape[1], -1)
    return np.maximum(flat @ weight.reshape(weight.shape[0], -1).T + bias, 0.0)


def _load_weights() -> Mapping[str, Floats]:
    path = _weights_path()
    from safetensors.numpy import load_file

    try:
        weights = load_file(path)
    except Exception as error:
        raise ModelError(f"cannot read the voice activity weights {path}: {error}", "reinstall silero-vad") from error
    for name, shape in _SHAPES.items():
        if name not in weights or weights[name].shape != shape:
            raise ModelError(f"{path} has no {name} of shape {shape}", "install silero-vad>=6.2,<7")
    return weights


def _weights_path() -> Path:
    # find_spec, not import: importing silero_vad pulls torch and sets its thread count to one.
    spec = find_spec("silero_vad")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / _WEIGHTS
        if path.is_file():
            return path
    raise MissingDependency(f"silero-vad with {_WEIGHTS} is not installed", "pip install 'silero-vad>=6.2,<7'")
