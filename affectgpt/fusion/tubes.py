"""Which patches of a clip are told: the tubes of space and time that a learned score ranks highest.

After StimuVAR's emotion-triggered token selection (arXiv 2409.00304): a small network scores each patch by itself and
by the whole clip, a tube scores as its patches do on average, and the k best tubes are kept. In training the choice is
softened by noise so that a gradient reaches the score (Berthet et al. 2020, arXiv 2002.08676; Cordonnier et al. 2021,
arXiv 2104.03059). Importing this module loads torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.features import Features

__all__ = ["Chosen", "TubeSelector", "Tubing", "choose_softly"]

_HIDDEN_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class Tubing:
    """How tubes are cut and chosen; frames, rows, columns. The values are StimuVAR's.

    Of 6 x 16 x 16 patches these make 5 x 5 x 5 tubes of 32, of which 4 are kept. n_samples draws of noise of deviation
    `sigma` soften the choice in training; scores are brought to [0, 1] before, as Cordonnier et al. do.
    """

    shape: tuple[int, int, int] = (2, 4, 4)
    stride: tuple[int, int, int] = (1, 3, 3)
    n_kept: int = 4
    n_samples: int = 500
    sigma: float = 0.1

    def __post_init__(self) -> None:
        """Raise OptionError for what cannot be cut."""
        least = min(*self.shape, *self.stride, self.n_kept, self.n_samples)
        if least < 1 or not (math.isfinite(self.sigma) and self.sigma > 0):
            raise OptionError(f"tubes {self}", "give lengths, steps and counts of 1 or more and noise above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What is kept of M tubes of n patches.

    tokens (B, k, n, D): the patches of the k tubes kept · weights (B, k, M): how much of each tube each kept one is,
    summing to 1 · scores (B, M) in [0, 1] · places (M, n): the patches of each tube.
    """

    tokens: Tensor
    weights: Tensor
    scores: Tensor
    places: Tensor


class TubeSelector(nn.Module):
    """Scores patches of width D and keeps the best tubes; k times n tokens whatever the clip."""

    def __init__(self, width: int, tubing: Tubing | None = None) -> None:
        super().__init__()
        self.width, self.tubing = width, tubing or Tubing()
        hidden = max(width // _HIDDEN_SHARE, 1)
        self.score = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )

    def forward(self, patches: Tensor) -> Chosen:
        """The chosen tubes of patches (B, F, rows, columns, D), in the order in which they lie in the clip.

        In evaluation the k best, exactly; in training their mean under noise, which has a gradient. A clip smaller than
        a tube is one tube; where there are fewer tubes than k, all are kept.

        Raises:
            InputError: patches of another width, or none.
        """
        if patches.ndim != 5 or patches.shape[-1] != self.width or not patches[..., 0].numel():
            raise InputError(f"patches {tuple(patches.shape)}", f"give (B, F, rows, columns, {self.width})")
        flat = patches.flatten(1, 3)
        places = self._places(patches.shape[1:4]).to(patches.device)
        around = flat.mean(dim=1, keepdim=True).expand_as(flat)
        scores: Tensor = self.score(torch.cat([flat, around], dim=-1))[..., 0]
        tube_scores = _to_unit(scores[:, places].mean(dim=-1))
        n_kept = min(self.tubing.n_kept, len(places))
        if self.training:
            weights = choose_softly(tube_scores, n_kept, self.tubing.n_samples, self.tubing.sigma)
            tokens = torch.einsum("bkm,bmnd->bknd", weights, flat[:, places])
        else:
            kept = tube_scores.topk(n_kept, dim=-1).indices.sort(dim=-1).values
            weights = functional.one_hot(kept, len(places)).to(flat.dtype)
            tokens = flat[torch.arange(len(flat), device=flat.device)[:, None, None], places[kept]]
        return Chosen(tokens, weights, tube_scores, places)

    def select(self, features: Features) -> Features:
        """The patches of one clip that are told, in time order and each once, as features without a grid.

        Patches that two kept tubes share are told once, so that there may be fewer than k times n. A missing modality
        stays one.

        Raises:
            InputError: features without a grid, or with invalid patches.
        """
        if features.grid is None or not features.valid.all():
            raise InputError(f"features of {features.encoder!r} are no whole patches", "encode pictures as patches")
        if not len(features):
            return features
        # A copy: features out of a cache cannot be written, and torch has no such tensors.
        patches = torch.tensor(features.tokens).reshape(1, *features.grid, -1)
        was_training = self.training
        with torch.no_grad():
            chosen = self.eval()(patches)
        self.train(was_training)
        kept = chosen.weights[0].argmax(dim=-1)
        at = np.unique(chosen.places[kept].numpy())
        name = f"{features.encoder}+tubes"
        return Features(features.tokens[at], features.times_s[at], features.valid[at], name, features.modality)

    def _places(self, grid: torch.Size) -> Tensor:
        """The patches (M, n) of every tube, by their index in the flattened grid."""
        index = torch.arange(grid.numel()).reshape(grid)
        for axis, (size, step) in enumerate(zip(self.tubing.shape, self.tubing.stride, strict=True)):
            index = index.unfold(axis, min(size, grid[axis]), step)
        return index.flatten(3).flatten(0, 2)


def choose_softly(scores: Tensor, k: int, n_samples: int, sigma: float) -> Tensor:
    """The mean (B, k, M) over noise of which of M is chosen first, second, ... k-th by place, with a gradient."""
    weights: Tensor = _PerturbedTopK.apply(scores, k, n_samples, sigma)  # type: ignore[no-untyped-call]
    return weights


class _PerturbedTopK(torch.autograd.Function):
    """E[top-k(s + sigma Z)] by sampling, and its Jacobian E[top-k(s + sigma Z) Z'] / sigma (Berthet et al. 2020)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: int, n_samples: int, sigma: float) -> Tensor:
        noise = torch.randn(scores.shape[0], n_samples, scores.shape[1], dtype=scores.dtype, device=scores.device)
        chosen = (scores[:, None] + sigma * noise).topk(k, dim=-1).indices.sort(dim=-1).values
        ctx.save_for_backward(noise, chosen)
        ctx.sigma = sigma
        weights = torch.zeros(scores.shape[0], k, scores.shape[1], dtype=scores.dtype, device=scores.device)
        ones = torch.ones_like(chosen, dtype=scores.dtype)
        return weights.scatter_add_(2, chosen.transpose(1, 2), ones.transpose(1, 2)) / n_samples

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        noise, chosen = ctx.saved_tensors
        # What each draw contributed (B, S); less its mean, which changes no expectation and takes most of the noise.
        gained = gradients[0].gather(2, chosen.transpose(1, 2)).sum(dim=1)
        gained = gained - gained.mean(dim=1, keepdim=True)
        return torch.einsum("bs,bsm->bm", gained, noise) / (noise.shape[1] * ctx.sigma), None, None, None


def _to_unit(scores: Tensor) -> Tensor:
    low, high = scores.amin(dim=-1, keepdim=True), scores.amax(dim=-1, keepdim=True)
    return (scores - low) / (high - low).clamp_min(1e-6)
