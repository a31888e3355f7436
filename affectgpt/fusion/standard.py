"""Features on one scale: mean and spread of each, measured once over the training clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from affectgpt.fusion.batches import FeatureBatch

__all__ = ["Moments", "Standard"]


class Moments:
    """Sums over valid tokens, in float64."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.total, self.squares = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)

    def take(self, batch: FeatureBatch) -> None:
        """Add a batch, made `readable` before."""
        tokens = batch.tokens[batch.valid].double().cpu()
        self.n += len(tokens)
        self.total += tokens.sum(0)
        self.squares += (tokens**2).sum(0)


class Standard(nn.Module):
    """Features less their mean, over their spread; nothing is changed before `take`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def take(self, moments: Moments) -> None:
        """Set mean and spread; a feature that never varies keeps the spread 1."""
        if moments.n:
            mean = moments.total / moments.n
            spread = (moments.squares / moments.n - mean**2).clamp(min=0.0).sqrt()
            self.mean.copy_(mean)
            # Rounding leaves a constant feature a spread of about the mean's last digits.
            self.scale.copy_(torch.where(spread > 1e-6 * (1.0 + mean.abs()), spread, torch.ones_like(spread)))

    def forward(self, batch: FeatureBatch) -> FeatureBatch:
        """The batch with its valid tokens standardised."""
        tokens = ((batch.tokens - self.mean) / self.scale).masked_fill(~batch.valid[..., None], 0.0)
        return FeatureBatch(tokens, batch.valid, batch.reliability, batch.present, batch.position)
