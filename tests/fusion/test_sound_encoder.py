"""Speech encoders: the model's own numbers, each window normalised by itself, any length of sound in flat memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import voice_track
from numpy.typing import NDArray
from tiny_encoders import picture_model, sound_model

from affectgpt.errors import ModelError, OptionError, UnreadableMedia
from affectgpt.fusion.features import Features, Signals, join
from affectgpt.fusion.sounds import SoundEncoder
from affectgpt.media import open_clip
from affectgpt.records import Waveform

RATE_HZ = 16_000
FAMILIES = ["hubert", "wavlm", "whisper"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: sound_model(name, tmp_path_factory.mktemp("sounds") / name) for name in FAMILIES}


def noise(duration_s: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(duration_s * RATE_HZ)).astype(np.float32)


def encode(encoder: SoundEncoder, sound: NDArray[np.float32], start_s: float = 0.0, size: int = 30_000) -> Features:
    def blocks() -> Iterator[Waveform]:
        for first in range(0, len(sound), size):
            yield Waveform(sound[first : first + size], RATE_HZ, start_s + first / RATE_HZ)

    return encoder.encode(Signals(open_sound=blocks))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_a_token_a_tenth_of_a_second(models: dict[str, Path], name: str) -> None:
    features = encode(SoundEncoder(models[name], n_layers=2), noise(3.0), start_s=1.5)
    assert features.tokens.shape == (30, 24)
    assert np.allclose(features.times_s[:, 0], 1.5 + np.arange(30) / 10)
    assert features.times_s[-1, 1] == pytest.approx(4.5)
    assert features.valid.all()
    assert features.tokens.std(axis=0).max() > 0


def test_hubert_gives_what_transformers_gives(models: dict[str, Path]) -> None:
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    sound = noise(2.0)
    network = HubertModel.from_pretrained(models["hubert"]).eval()
    ready = Wav2Vec2FeatureExtractor.from_pretrained(models["hubert"])(
        sound, sampling_rate=RATE_HZ, return_tensors="pt"
    )
    with torch.no_grad():
        states = network(**ready, output_hidden_states=True).hidden_states
    told = encode(SoundEncoder(models["hubert"], n_layers=1, n_pooled=1), sound)
    assert np.allclose(told.tokens, states[-1][0].numpy(), atol=1e-5)
    both = encode(SoundEncoder(models["hubert"], n_layers=2, n_pooled=1), sound)
    assert np.allclose(both.tokens, (states[-1] + states[-2])[0].numpy() / 2, atol=1e-5)


def test_the_loudness_of_other_clips_changes_nothing(models: dict[str, Path]) -> None:
    encoder = SoundEncoder(models["hubert"], n_layers=1)
    sound = noise(2.0)
    assert np.allclose(encode(encoder, sound).tokens, encode(encoder, sound / 8).tokens, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sound_shorter_than_any_window_still_speaks(models: dict[str, Path], name: str) -> None:
    encoder = SoundEncoder(models[name], n_layers=1)
    for n_samples in (1, 50, 399, 400, 721):
        features = encode(encoder, noise(1.0)[:n_samples])
        assert len(features) == 1
        assert features.is_present
        assert features.times_s[0, 0] == 0
        assert features.times_s[0, 1] == pytest.approx(n_samples / RATE_HZ)
    assert len(encode(encoder, noise(0.0))) == 0


def test_windows_meet_without_a_gap(models: dict[str, Path]) -> None:
    sound = noise(41.3)
    encoder = SoundEncoder(models["wavlm"], n_layers=1)
    features = encode(encoder, sound)
    assert np.allclose(features.times_s[1:, 0], features.times_s[:-1, 1])
    assert features.times_s[-1, 1] == pytest.approx(41.3)
    assert len(features) == 413
    other = encode(encoder, sound, size=999)
    assert np.array_equal(features.tokens, other.tokens)


def test_where_nobody_spoke_nothing_is_told(models: dict[str, Path]) -> None:
    track = voice_track(4.0)  # speech from 0.8 s to 3.2 s
    blocks = [Waveform(noise(4.0), RATE_HZ, 0.0)]
    features = SoundEncoder(models["hubert"], n_layers=1).encode(Signals(voice=track, open_sound=lambda: blocks))
    middle_s = features.times_s.mean(axis=1)
    assert features.valid[(middle_s > 0.95) & (middle_s < 3.05)].all()
    assert not features.valid[(middle_s < 0.7) | (middle_s > 3.3)].any()
    assert not features.tokens[~features.valid].any()


def test_a_parent_that_trains_changes_nothing(models: dict[str, Path]) -> None:
    encoder = SoundEncoder(models["hubert"], n_layers=2)
    sound = noise(2.0)
    before = encode(encoder, sound).tokens
    torch.nn.Sequential(encoder.network).train()
    assert np.array_equal(encode(encoder, sound).tokens, before), "dropout, layer drop and masking stay off"


def test_a_real_clip(models: dict[str, Path], repo: Path) -> None:
    clip = open_clip(repo / "examples" / "astronaut_smile.mp4")
    features = SoundEncoder(models["whisper"], n_layers=2).encode(Signals.of(clip))
    assert features.is_present
    assert features.times_s[-1, 1] <= clip.duration_s + 0.1


def test_streamed_pieces_are_the_whole_and_memory_is_flat(models: dict[str, Path]) -> None:
    encoder = SoundEncoder(models["hubert"], n_layers=1, n_pooled=50)

    def minutes(n: int) -> Iterator[Waveform]:
        for k in range(6 * n):
            yield Waveform(noise(10.0, seed=k % 3), RATE_HZ, 10.0 * k)

    peaks = []
    for n in (1, 3):
        signals = Signals(open_sound=lambda n=n: minutes(n))  # type: ignore[misc]
        list(encoder.stream(Signals(open_sound=lambda: minutes(1))))  # what is loaded once
        tracemalloc.start()
        pieces = list(encoder.stream(signals))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.array_equal(join(pieces).tokens, encoder.encode(signals).tokens)
    assert peaks[1] < 1.1 * peaks[0] + 200_000


def test_what_is_no_speech_encoder_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="clip_vision_model model, no speech encoder"):
        SoundEncoder(picture_model("clip", tmp_path / "clip"))
    with pytest.raises(ModelError, match="has 2 layers, not 4"):
        SoundEncoder(models["hubert"])
    with pytest.raises(OptionError, match="to average"):
        SoundEncoder(models["hubert"], n_pooled=0)
    with pytest.raises(UnreadableMedia, match="8000 Hz"):
        SoundEncoder(models["hubert"], n_layers=1).encode(Signals(open_sound=lambda: [Waveform(noise(1.0), 8000, 0.0)]))
    (models["wavlm"] / "preprocessor_config.json").rename(tmp_path / "away.json")
    with pytest.raises(ModelError, match="no feature extractor"):
        SoundEncoder(models["wavlm"], n_layers=1)
    (tmp_path / "away.json").rename(models["wavlm"] / "preprocessor_config.json")
