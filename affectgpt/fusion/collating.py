"""Features of several clips put side by side, each on its own clip's scale of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from affectgpt.errors import InputError, ModelError
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import FusionConfig
from affectgpt.fusion.features import Features
from affectgpt.records import Modality

__all__ = ["collate", "reliability_over"]

Reliability = Mapping[Modality, ArrayLike]


def collate(
    clips: Sequence[Mapping[Modality, Features]],
    config: FusionConfig,
    reliability: Sequence[Reliability] | None = None,
) -> dict[Modality, FeatureBatch]:
    """Clips' features side by side, for every modality of the configuration; a modality that a clip lacks is missing.

    Clips of more than `n_steps` steps are averaged over as many runs of neighbours, over their valid steps only.
    `reliability`, one mapping a clip: (T,) or one number a modality, in [0, 1]; 1 where not given. Rows do not depend
    on their neighbours.

    Raises:
        ModelError: features of another encoder or width than the configuration's, or of a modality it has not.
        InputError: no clips, or a reliability that is not in [0, 1] or not of the features' length.
    """
    if not clips:
        raise InputError("no clips to put side by side", "give one at least")
    trust: Sequence[Reliability] = reliability or [{} for _ in clips]
    if len(trust) != len(clips):
        raise InputError(f"{len(trust)} reliabilities for {len(clips)} clips", "give one mapping a clip")
    for clip in clips:
        for modality, features in clip.items():
            _check(modality, features, config)
    batches = {}
    for modality in config.order:
        wanted = config.modalities[modality]
        missing = Features.none(wanted.encoder, modality, wanted.width)
        rows = [
            _row(clip.get(modality, missing), wanted.n_steps, _span(clip), sure.get(modality, 1.0))
            for clip, sure in zip(clips, trust, strict=True)
        ]
        batches[modality] = _stack(rows)
    return batches


def reliability_over(
    features: Features, stretches: Iterable[tuple[float, float, float]], otherwise: float = 1.0
) -> NDArray[np.float32]:
    """Reliability (T,) of every step, for `collate`, from (start_s, end_s, reliability) of stretches of the clip.

    A step takes that of the stretch in which its middle lies, the later one where two overlap; `otherwise` in none.
    """
    middle_s = features.times_s.mean(axis=1)
    trusted = np.full(len(features), otherwise, np.float32)
    for start_s, end_s, sure in stretches:
        trusted[(middle_s >= start_s) & (middle_s < end_s)] = sure
    return trusted


def _check(modality: Modality, features: Features, config: FusionConfig) -> None:
    wanted = config.modalities.get(modality)
    remedy = "encode the clip with the adapter's own encoders"
    if wanted is None:
        has = ", ".join(m.value for m in config.order)
        raise ModelError(f"features of the {modality.value}, for an adapter of {has}", remedy)
    if (features.encoder, features.width) != (wanted.encoder, wanted.width) or features.modality != modality:
        raise ModelError(
            f"{modality.value} features by {features.encoder!r} of width {features.width} do not fit an adapter for "
            f"{wanted.encoder!r} of width {wanted.width}",
            remedy,
        )


def _span(clip: Mapping[Modality, Features]) -> tuple[float, float]:
    """When the clip starts and ends, by all that was read of it: modalities share one scale of time."""
    times = [f.times_s for f in clip.values() if len(f)]
    if not times:
        return 0.0, 0.0
    return min(0.0, *(float(t[:, 0].min()) for t in times)), max(float(t[:, 1].max()) for t in times)


@dataclass(frozen=True, slots=True)
class _Row:
    """One clip: tokens (T, D), valid (T,), reliability (T,), position (T,)."""

    tokens: NDArray[np.float32]
    valid: NDArray[np.bool_]
    reliability: NDArray[np.float32]
    position: NDArray[np.float32]


def _row(features: Features, n_steps: int, span: tuple[float, float], sure: ArrayLike) -> _Row:
    trusted = np.asarray(sure, np.float32)
    if trusted.shape not in ((), (len(features),)) or not ((trusted >= 0) & (trusted <= 1)).all():
        raise InputError(
            f"a reliability of shape {trusted.shape} for {len(features)} tokens by {features.encoder!r}",
            "give one number in [0, 1], or one a token",
        )
    trusted = np.where(features.valid, trusted, np.float32(0))
    length = span[1] - span[0]
    middle = features.times_s.mean(axis=1) - span[0]
    position = np.clip(middle / length, 0.0, 1.0) if length > 0 else np.full(len(features), 0.5)
    row = _Row(features.tokens, features.valid, trusted, position.astype(np.float32))
    return row if len(features) <= n_steps else _thinned(row, n_steps)


def _thinned(row: _Row, n_steps: int) -> _Row:
    """Averages over `n_steps` runs of neighbours, as equal as can be.

    A run's reliability counts steps where nothing was read as 0.
    """
    starts = np.arange(n_steps) * len(row.tokens) // n_steps
    n_valid = np.add.reduceat(row.valid.astype(np.float32), starts)
    n_all = np.diff(np.append(starts, len(row.tokens))).astype(np.float32)
    sums = np.add.reduceat(row.tokens, starts, axis=0, dtype=np.float32)  # zero where not valid, by contract
    return _Row(
        sums / np.maximum(n_valid, 1.0)[:, None],
        n_valid > 0,
        np.add.reduceat(row.reliability, starts) / n_all,
        np.add.reduceat(row.position, starts) / n_all,
    )


def _stack(rows: Sequence[_Row]) -> FeatureBatch:
    shape = (len(rows), max(1, *(len(r.tokens) for r in rows)))
    tokens = np.zeros((*shape, rows[0].tokens.shape[1]), np.float32)
    valid, reliability = np.zeros(shape, bool), np.zeros(shape, np.float32)
    position = np.full(shape, -1, np.float32)
    for b, row in enumerate(rows):
        n = len(row.tokens)
        tokens[b, :n], valid[b, :n] = row.tokens, row.valid
        reliability[b, :n], position[b, :n] = row.reliability, row.position
    present = valid.any(axis=1)
    return FeatureBatch(*(torch.from_numpy(a) for a in (tokens, valid, reliability, present, position)))
