"""Speech encoders of transformers, frozen: HuBERT, WavLM, wav2vec 2.0, data2vec and Whisper's encoder, streamed.

Importing this module loads torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from affectgpt.errors import ModelError, OptionError
from affectgpt.fusion.acoustic import spoken_frames
from affectgpt.fusion.features import Features, Signals, join
from affectgpt.fusion.frozen import load_config, load_frozen, version_of
from affectgpt.fusion.windows import RATE_HZ, Window, cut_windows
from affectgpt.records import Modality, VoiceTrack

__all__ = ["SoundEncoder"]

Floats = NDArray[np.float32]

_HOP: Final = 320
"""Every encoder here gives a state each 20 ms."""
_KINDS: Final = {
    "hubert": "HubertModel",
    "wavlm": "WavLMModel",
    "wav2vec2": "Wav2Vec2Model",
    "data2vec-audio": "Data2VecAudioModel",
    "whisper": "WhisperModel",
}


@dataclass(frozen=True, slots=True)
class _Span:
    """How many samples are heard at once: those that count, those around them, and the least that gives a state."""

    core: int
    margin: int
    least: int


_CONVOLVED: Final = _Span(core=20 * RATE_HZ, margin=RATE_HZ, least=400)
"""20 s with a second around: these are trained on utterances of up to 20 s or so, and attention costs the square of it;
25 ms are the field of their convolutions."""
_WHISPER: Final = _Span(core=28 * RATE_HZ, margin=RATE_HZ, least=_HOP)
"""Whisper always hears 30 s."""


class SoundEncoder:
    """Tokens of the sound at 50 Hz over `n_pooled`: the mean of the last `n_layers` layers, then over neighbours.

    The model's own feature extractor makes each window ready by itself, so that what is normalised is one stretch of
    one clip. A sound shorter than the model's least is followed by silence. Where a voice track is given, tokens
    outside its speech are invalid and take no part in means. Ten tokens a second (`n_pooled` 5) are twice the rate of
    syllables; three hours in 1024 numbers each are then 440 MB.

    place: a folder with safetensors and preprocessor_config.json, or a hub's id. The mean over four layers is
    AffectGPT's.

    Raises:
        ModelError: no such model, one of another architecture, fewer layers, or weights that are not all there.
        OptionError: a number of layers or tokens under 1.
    """

    modality = Modality.VOICE

    def __init__(self, place: str | Path, *, n_layers: int = 4, n_pooled: int = 5, device: str = "cpu") -> None:
        if n_layers < 1 or n_pooled < 1:
            raise OptionError(f"{n_layers} layers and {n_pooled} tokens to average", "give 1 or more of each")
        kind = load_config(place).model_type
        self.network = load_frozen(_kind(kind, place), place)
        self._config: Any = self.network.network.config
        self._is_whisper = kind == "whisper"
        if self._is_whisper:
            self.network.network = self.network.network.get_encoder()
        self.network.to(device)
        self._span = _WHISPER if self._is_whisper else _CONVOLVED
        self._extractor = _load_extractor(place)
        self._n_layers, self._n_pooled, self._device = n_layers, n_pooled, device
        n_all = self._config.encoder_layers if self._is_whisper else self._config.num_hidden_layers
        if n_layers > n_all:
            raise ModelError(f"{str(place)!r} has {n_all} layers, not {n_layers}", "average fewer of them")
        self.id = Path(place).name if Path(place).is_dir() else str(place)
        self.version = version_of(place, self._config, {"layers": n_layers, "pooled": n_pooled})
        self.width = int(self._config.d_model if self._is_whisper else self._config.hidden_size)

    def encode(self, signals: Signals) -> Features:
        """See `features.Encoder.encode`. Raises UnreadableMedia for sound that is not mono at 16 kHz."""
        pieces = list(self.stream(signals))
        return join(pieces) if pieces else Features.none(f"{self.id}@{self.version}", self.modality, self.width)

    def stream(self, signals: Signals) -> Iterator[Features]:
        """The same features as `encode` in pieces of about 20 s, for sound whose features are not to be held."""
        group_hop = _HOP * self._n_pooled
        core = max(self._span.core // group_hop, 1) * group_hop
        # Groups of tokens begin at the core's start, so that windows change nothing about which are averaged.
        listened = _Listened(signals.voice)
        for window in cut_windows(signals.open_sound(), core, self._span.margin // _HOP * _HOP):
            yield self._pooled(self._states(window), window, listened)

    def _states(self, window: Window) -> Floats:
        """The states (T, D) of the window's core; at least one, however little sound it holds."""
        samples = np.pad(window.samples, (0, max(self._span.least - len(window.samples), 0)))
        ready = self._extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")
        # One window at a time has nothing to mask.
        name = "input_features" if self._is_whisper else "input_values"
        output = self.network(**{name: ready[name].to(self._device)}, output_hidden_states=True)
        states = torch.stack(output.hidden_states[-self._n_layers :]).mean(dim=0)[0]
        first = (window.core_from - window.first) // _HOP
        n_core = max(round((window.core_to - window.core_from) / _HOP), 1)
        kept: Floats = states[first : first + n_core].float().cpu().numpy()
        return kept if len(kept) else states[-1:].float().cpu().numpy()

    def _pooled(self, states: Floats, window: Window, listened: _Listened) -> Features:
        start_s = window.start_s + (window.core_from + np.arange(len(states)) * _HOP) / RATE_HZ
        heard = listened.heard(start_s + _HOP / RATE_HZ / 2)
        group = np.arange(len(states)) // self._n_pooled
        n_tokens = int(group[-1]) + 1
        counts = np.bincount(group[heard], minlength=n_tokens)
        tokens = np.zeros((n_tokens, self.width), np.float32)
        np.add.at(tokens, group[heard], states[heard])
        tokens /= np.maximum(counts, 1)[:, None]
        firsts = start_s[:: self._n_pooled]
        ends = np.append(firsts[1:], max(window.start_s + window.core_to / RATE_HZ, firsts[-1]))
        return Features(
            tokens, np.stack([firsts, ends], axis=1), counts > 0, f"{self.id}@{self.version}", self.modality
        )


class _Listened:
    """Where a voice track has a voice; everywhere, where nobody listened for one."""

    def __init__(self, track: VoiceTrack | None) -> None:
        self._times_s = np.zeros(0) if track is None else track.times_s
        self._spoken = np.zeros(0, bool) if track is None else spoken_frames(track)

    def heard(self, times_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether there is a voice (T,) at each time."""
        if not len(self._times_s):
            return np.ones(len(times_s), bool)
        at = np.clip(np.searchsorted(self._times_s, times_s), 0, len(self._times_s) - 1)
        return np.asarray(self._spoken[at], np.bool_)


def _kind(model_type: str, place: str | Path) -> Any:
    import transformers

    name = _KINDS.get(model_type)
    if name is None:
        raise ModelError(
            f"{str(place)!r} is a {model_type} model, no speech encoder of transformers",
            f"known: {', '.join(_KINDS)}",
        )
    return getattr(transformers, name)


def _load_extractor(place: str | Path) -> Any:
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(str(place))  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no feature extractor in {str(place)!r}", "the folder needs the preprocessor_config.json of its model"
        ) from error
