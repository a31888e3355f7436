"""Contrast: what belongs together is told from what does not, among the rows of one batch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.errors import InputError

__all__ = ["PairwiseContrast", "info_nce"]

TEMPERATURE = 0.07
"""Of Franceschini et al. 2022 (arXiv 2207.11482, their code) and of HiCMAE (arXiv 2401.05698)."""
WIDTH = 512
"""Where modalities are compared: `out_feat` of the former's published configurations."""


def info_nce(one: Tensor, other: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Symmetric InfoNCE of rows (N, D): row i of one belongs to row i of the other, and to no other row.

    Cosine similarities over the temperature are the logits; the mean of both directions' cross-entropies is given,
    log N where nothing is told apart.
    """
    logits = functional.normalize(one, dim=-1) @ functional.normalize(other, dim=-1).T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


class PairwiseContrast(nn.Module):
    """Franceschini et al.'s loss: every pair of modalities of one clip is drawn together, those of others apart.

    Needs no labels. Each modality has a projection head of two layers, which is thrown away after pre-training.
    """

    def __init__(self, widths: Mapping[str, int], width: int = WIDTH, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        if len(widths) < 2:
            raise InputError(f"contrast between {', '.join(widths) or 'nothing'}", "name two modalities at least")
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, width)) for name, n in widths.items()}
        )
        self.temperature = temperature

    def forward(self, states: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Mean loss over pairs, each over the rows that have both; pairs with fewer than two such rows say nothing.

        states: (B, D) by name, those of the constructor or fewer · present: (B,) bool. The loss is 0, still with a
        gradient of zeros, where no pair says anything.
        """
        heads = {name: self.heads[name](states[name]) for name in self.heads if name in states}
        losses = []
        for one, other in combinations(heads, 2):
            both = present[one] & present[other]
            if int(both.sum()) >= 2:
                losses.append(info_nce(heads[one][both], heads[other][both], self.temperature))
        if not losses:
            return torch.stack([head.sum() for head in heads.values()]).sum() * 0.0
        return torch.stack(losses).mean()
