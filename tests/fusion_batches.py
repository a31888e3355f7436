"""Made-up features and configurations that several tests of the adapters stand on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.fusion.features import Features
from affectgpt.records import Modality

FACE, VOICE = Modality.FACE, Modality.VOICE
FACE_WIDTH, VOICE_WIDTH, LLM_WIDTH = 6, 10, 32


def config(**changed: Any) -> FusionConfig:
    """Small, of every part: face and voice, two tokens each and three fused."""
    made: dict[str, Any] = {
        "modalities": {
            FACE: ModalityConfig("aus@1", FACE_WIDTH, n_tokens=2, n_steps=16),
            VOICE: ModalityConfig("sounds@1", VOICE_WIDTH, n_tokens=2, n_steps=32),
        },
        "llm_width": LLM_WIDTH,
        "n_fused_tokens": 3,
        "width": 16,
    }
    return FusionConfig(**{**made, **changed})


def batch(width: int, n_rows: int = 4, n_steps: int = 12, seed: int = 0) -> FeatureBatch:
    """All valid, all trusted, drawn at random."""
    drawn = torch.Generator().manual_seed(seed + width)
    return FeatureBatch.of(torch.randn(n_rows, n_steps, width, generator=drawn))


def batches(n_rows: int = 4, n_steps: int = 12, seed: int = 0) -> dict[Modality, FeatureBatch]:
    """Face and voice, for `config`."""
    return {
        FACE: batch(FACE_WIDTH, n_rows, n_steps, seed),
        VOICE: batch(VOICE_WIDTH, n_rows, 2 * n_steps, seed + 1),
    }


def features(modality: Modality, n: int, seed: int = 0, duration_s: float = 2.0) -> Features:
    """`n` even steps over a clip, all valid, for `config`."""
    width, encoder = (FACE_WIDTH, "aus@1") if modality == FACE else (VOICE_WIDTH, "sounds@1")
    edges = np.linspace(0.0, duration_s, n + 1)
    tokens = np.random.default_rng([seed, n]).normal(size=(n, width)).astype(np.float32)
    return Features(tokens, np.stack([edges[:-1], edges[1:]], 1), np.ones(n, bool), encoder, modality)
