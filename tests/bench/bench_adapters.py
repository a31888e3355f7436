"""Speed of the adapters: soft tokens for a batch of clips, printed as one JSON document; `make bench-fusion` runs it.

Features are drawn at random in the shapes that the embedded encoders give for clips of four seconds, so that no
recording is needed: what is measured starts where features lie in memory. Each figure is the best of several rounds,
which on a busy machine comes nearest to the machine's own speed. Never a timed test.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import torch

from affectgpt.fusion.acoustic import AcousticEncoder
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.collating import collate
from affectgpt.fusion.config import AFFECTGPT_7B, AdapterKind, FusionConfig, ModalityConfig
from affectgpt.fusion.facial import FacialEncoder, unit_order
from affectgpt.fusion.features import Features
from affectgpt.fusion.fuser import Fuser
from affectgpt.records import Modality

MOST_MS = 20.0
"""The adapters' forward pass for 32 clips on two cores is to take no longer."""
N_CLIPS = 32
CLIP_S = 4.0
RATES_HZ = {Modality.FACE: 12.5, Modality.VOICE: 50.0}
LLM_WIDTH = 576
"""SmolLM2-135M's."""
FACE_WIDTH = 2 * len(unit_order()) + 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    clips = [clip(seed) for seed in range(N_CLIPS)]
    config = embedded("attention")
    told: dict[str, Any] = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1)},
        "threads": torch.get_num_threads(),
        "n_clips": N_CLIPS,
        "clip_s": CLIP_S,
        "n_soft_tokens": sum(config.n_tokens(name) for name in config.names),
        "collate_ms": milliseconds(lambda: collate(clips, config), asked.rounds),
    }
    for kind in get_args(AdapterKind):
        told[kind] = adapter(embedded(kind), collate(clips, config), asked.rounds)
    told["affectgpt_7b"] = adapter(AFFECTGPT_7B, eight_steps(), asked.rounds)
    print(json.dumps(told, indent=2))


def embedded(kind: AdapterKind) -> FusionConfig:
    """The embedded encoders into SmolLM2, adapter and pre-fusion of one kind, all tokens on."""
    return FusionConfig(
        modalities={
            Modality.FACE: ModalityConfig(f"{FacialEncoder.id}@{FacialEncoder.version}", FACE_WIDTH, 4, n_steps=64),
            Modality.VOICE: ModalityConfig(
                f"{AcousticEncoder.id}@{AcousticEncoder.version}", AcousticEncoder.width, 8, n_steps=256
            ),
        },
        llm_width=LLM_WIDTH,
        adapter=kind,
        prefusion=kind,
        n_fused_tokens=8,
        token_rms=0.1,
    )


def clip(seed: int) -> dict[Modality, Features]:
    """Drawn features of one clip."""
    config, draw = embedded("attention"), np.random.default_rng(seed)
    made = {}
    for modality, rate_hz in RATES_HZ.items():
        n, wanted = int(CLIP_S * rate_hz), config.modalities[modality]
        edges = np.arange(n + 1) / rate_hz
        tokens = draw.normal(size=(n, wanted.width)).astype(np.float32)
        times_s = np.stack([edges[:-1], edges[1:]], axis=1)
        made[modality] = Features(tokens, times_s, np.ones(n, bool), wanted.encoder, modality)
    return made


def eight_steps() -> dict[Modality, FeatureBatch]:
    """What AffectGPT's adapters get: eight frames, eight windows of sound."""
    return {m: FeatureBatch.of(torch.randn(N_CLIPS, c.n_steps, c.width)) for m, c in AFFECTGPT_7B.modalities.items()}


def adapter(config: FusionConfig, batches: dict[Modality, FeatureBatch], rounds: int) -> dict[str, Any]:
    """Milliseconds of a forward pass, and of one with its gradients, as in training."""
    fuser = Fuser(config).eval()
    learner = Fuser(replace(config, modality_dropout=0.2)).train()

    def step() -> None:
        tokens = learner(batches).tokens
        cast("Any", torch.stack([t.square().mean() for t in tokens.values()]).sum()).backward()
        learner.zero_grad()

    with torch.inference_mode():
        forward_ms = milliseconds(lambda: fuser(batches), rounds)
    return {
        "forward_ms": forward_ms,
        "target_ms": MOST_MS,
        "met": forward_ms <= MOST_MS,
        "forward_and_backward_ms": milliseconds(step, rounds),
        "parameters": sum(p.numel() for p in fuser.parameters()),
    }


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    """The best of `rounds`, after one that only warms up."""
    call()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return round(1e3 * min(taken), 2)


if __name__ == "__main__":
    main()
