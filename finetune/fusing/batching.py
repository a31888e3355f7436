"""Scenes side by side: features collated, dropped from in training, and prompts rendered around what is left.

Imports torch: import it where training is about to begin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from affectgpt.emotions import load_lexicon
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.collating import collate
from affectgpt.fusion.config import FUSED, FusionConfig
from affectgpt.fusion.fuser import drop
from affectgpt.records import Modality
from affectgpt.records.signal_example import SignalExample
from finetune.fusing.scenes import Form, Spliced, features_of, reliability_of
from finetune.rows import IGNORED

__all__ = ["Batcher", "Dropping", "FeatureBatcher", "feature_batches"]


@dataclass(frozen=True, slots=True)
class Dropping:
    """Shares of modalities and of steps that are taken from training rows.

    What is taken depends on the seed and the scenes alone, so that a run that goes on takes what it would have taken.
    """

    modalities: float = 0.0
    steps: float = 0.0
    seed: int = 0


def feature_batches(
    scenes: Sequence[SignalExample], config: FusionConfig, cache: FeatureCache
) -> dict[Modality, FeatureBatch]:
    """The features of scenes side by side, with their reliabilities."""
    clips = [{m: f for m, f in features_of(s, cache).items() if m in config.modalities} for s in scenes]
    return collate(clips, config, [reliability_of(s) for s in scenes])


class Batcher:
    """From scenes to what `FusedModel.forward` takes. `config` is None where there are no soft tokens."""

    def __init__(
        self, form: Form, config: FusionConfig | None, cache: FeatureCache, dropping: Callable[[], Dropping] = Dropping
    ) -> None:
        """`dropping` is asked at every batch: what is taken in training is not taken from dev rows."""
        self._form, self._config, self._cache, self._dropping = form, config, cache, dropping

    def __call__(self, scenes: Sequence[SignalExample]) -> dict[str, Any]:
        """Ids, mask and labels (B, S), padded on the right; features by modality; where soft tokens stand."""
        features: dict[Modality, FeatureBatch] = {}
        present: list[list[str]] = [[] for _ in scenes]
        if self._config is not None and self._form.names:
            features = feature_batches(scenes, self._config, self._cache)
            features = _dropped(features, self._dropping(), scenes)
            present = [_present(features, self._config, b) for b in range(len(scenes))]
        rows = [self._form.encode(scene, names) for scene, names in zip(scenes, present, strict=True)]
        length = max(map(len, rows))
        places = [(b, name) for b, row in enumerate(rows) for name in row.parts]
        dimensions = [_dimensions(scene) for scene in scenes]
        return {
            "input_ids": _padded([row.ids for row in rows], length, 0),
            "attention_mask": _padded([[1] * len(row) for row in rows], length, 0),
            "labels": _padded([row.labels for row in rows], length, IGNORED),
            "soft": {
                "features": {m.value: batch for m, batch in features.items()},
                "places": places,
                "where": _where(rows),
            },
            "dimensions": torch.tensor(dimensions, dtype=torch.float32),
        }


class FeatureBatcher:
    """From scenes to what `PretrainModel.forward` takes. `words` gives vectors of scenes' words, where they count."""

    def __init__(
        self, config: FusionConfig, cache: FeatureCache, words: Callable[[Sequence[SignalExample]], Tensor] | None
    ) -> None:
        self._config, self._cache, self._words = config, cache, words

    def __call__(self, scenes: Sequence[SignalExample]) -> dict[str, Any]:
        """Features by modality, and the words' vectors (B, D)."""
        features = {m.value: b for m, b in feature_batches(scenes, self._config, self._cache).items()}
        return {"features": features, "text": None if self._words is None else self._words(scenes)}


def _dropped(
    features: dict[Modality, FeatureBatch], taken: Dropping, scenes: Sequence[SignalExample]
) -> dict[Modality, FeatureBatch]:
    text = "\0".join([str(taken.seed), *(scene.id for scene in scenes)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big"))
        return drop(features, taken.modalities, taken.steps)


def _present(features: dict[Modality, FeatureBatch], config: FusionConfig, b: int) -> list[str]:
    own = [m.value for m, batch in features.items() if bool(batch.present[b])]
    names = own + ([FUSED] if own else [])
    return [name for name in names if name in config.names]


def _where(rows: Sequence[Spliced]) -> Tensor:
    """(2, N): batch and position of every soft token, in the order of the parts."""
    at = [(b, column) for b, row in enumerate(rows) for column in row.columns]
    return torch.tensor(at, dtype=torch.long).reshape(-1, 2).T


def _dimensions(scene: SignalExample) -> tuple[float, float, float]:
    """Valence, arousal and dominance of the label, in [-1, 1]; NaN where there is none."""
    if scene.label is None:
        return (float("nan"),) * 3
    lexicon = load_lexicon()
    vad = lexicon.vad(lexicon.label_node(scene.label, "basic8").name)
    return vad.valence, vad.arousal, vad.dominance


def _padded(rows: Sequence[Sequence[int]], length: int, filler: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows], dtype=torch.long)
