"""AffectGPT's attention: weighted sums over time, and one weight a modality where they meet.

Sizes and wiring follow zeroQiaoba/AffectGPT (arXiv 2501.16566 and its code of 2026-02); masks, softmax and several
tokens are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.records import Modality

__all__ = ["AttentionAdapter", "AttentionPrefusion", "masked_mean", "masked_softmax"]


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax of `scores` over those entries of `dim` where `mask` holds; zeros, and no NaN, where none does."""
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.softmax(dim) * mask


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, D) of tokens (B, T, D) over those steps where `mask` (B, T) holds; zeros where none does."""
    share = mask.to(tokens.dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,btd->bd", share, tokens)


class AttentionAdapter(nn.Module):
    """K weighted sums over time; the weights come from one linear layer, D -> K.

    With softmax they sum to 1 over the valid steps. Without, as in AffectGPT, they are taken as they are, and scaled by
    `n_steps` over the number of valid steps, so that a lost frame does not make the token smaller; with all of
    AffectGPT's 8 steps there the factor is 1. Its K tokens are one token repeated; here each has weights of its own.
    """

    def __init__(self, modality: ModalityConfig, config: FusionConfig) -> None:
        super().__init__()
        self.score = nn.Linear(modality.width, modality.n_tokens)
        self.n_steps, self.softmax = modality.n_steps, config.softmax
        self.out_width, self.n_levels = modality.width, 1

    def levels(self, batch: FeatureBatch) -> list[Tensor]:
        """One level: tokens (B, K, D)."""
        scores, valid = self.score(batch.tokens), batch.valid[..., None]
        if self.softmax:
            weights = masked_softmax(scores, valid, 1)
        else:
            weights = scores * valid * (self.n_steps / valid.sum(1, keepdim=True).clamp(min=1))
        return [torch.einsum("btk,btd->bkd", weights, batch.tokens)]


class AttentionPrefusion(nn.Module):
    """Means over time, brought to one width and weighed against each other: K fused tokens.

    Each modality's mean -> linear to width W; all side by side -> linear to W -> linear to a weight a modality (and a
    token); the weighted sum. With softmax the weights of the present modalities sum to 1. A missing modality weighs
    nothing; in its place beside the others stands a learned vector, so that the weights can tell it is not there.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, order = config.meeting_width, config.order
        self.enter = nn.ModuleDict({m.value: nn.Linear(config.modalities[m].width, width) for m in order})
        self.mix = nn.Linear(width * len(order), width)
        self.weigh = nn.Linear(width, len(order) * config.n_fused_tokens)
        self.absent = nn.Parameter(torch.randn(len(order), width) * 0.02)  # BERT's initial spread
        self.order, self.softmax = order, config.softmax
        self.out_width, self.n_levels = width, 1

    def levels(self, batches: Mapping[Modality, FeatureBatch]) -> list[Tensor]:
        """One level: tokens (B, K, W)."""
        means = [self.enter[m.value](masked_mean(batches[m].tokens, batches[m].valid)) for m in self.order]
        met = torch.stack(means, 1)  # (B, M, W)
        present = torch.stack([batches[m].present for m in self.order], 1)[..., None]  # (B, M, 1)
        met = torch.where(present, met, self.absent.to(met.dtype))
        weights = self.weigh(self.mix(met.flatten(1))).unflatten(1, (len(self.order), -1))  # (B, M, K)
        weights = masked_softmax(weights, present, 1) if self.softmax else weights * present
        return [torch.einsum("bmk,bmw->bkw", weights, met)]
