"""Heads on a language model's hidden states, for losses beside that of the next token; they are not used to answer.

After SEVLM (Hang et al., ECCV 2024, its code): valence, arousal and dominance by regression, and a score of how well
media, emotion and explanation belong together. All its losses weigh 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.errors import InputError
from affectgpt.fusion.batches import SoftTokens

__all__ = ["AlignmentHead", "DimensionHead", "media_vector"]

N_DIMENSIONS = 3
"""Valence, arousal, dominance, in this order."""
N_LAYERS = 5
"""Of the scoring network, as SEVLM's."""


class DimensionHead(nn.Module):
    """Valence, arousal and dominance in [-1, 1] by one linear layer from hidden states of width D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.regress = nn.Linear(width, N_DIMENSIONS)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., 3) of hidden states (..., D); not cut to [-1, 1]."""
        dimensions: Tensor = self.regress(hidden)
        return dimensions

    def loss(self, hidden: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Mean squared error over known places; 0, with a gradient of zeros, where none is.

        hidden: (..., D) · target: (..., 3) in [-1, 1] · known: (...) bool: a word without an entry has no target. SEVLM
        takes (0, 0, 0) for unknown; it is also what a neutral word has.

        Raises:
            InputError: shapes that do not go together.
        """
        if target.shape != (*hidden.shape[:-1], N_DIMENSIONS) or known.shape != hidden.shape[:-1]:
            shapes = f"{tuple(hidden.shape)}, targets {tuple(target.shape)} and known {tuple(known.shape)}"
            raise InputError(f"hidden states {shapes}", "give (..., D), (..., 3) and (...)")
        # What stands for unknown may be anything, NaN included.
        apart: Tensor = (
            (self(hidden) - target.masked_fill(~known[..., None], 0.0)).square().masked_fill(~known[..., None], 0.0)
        )
        squared: Tensor = apart.sum() / (known.sum().clamp(min=1) * N_DIMENSIONS)
        return squared


class AlignmentHead(nn.Module):
    """How well an explanation belongs to a clip and the emotion that was told: one score from a network of 5 layers."""

    def __init__(self, media_width: int, width: int, hidden_width: int = 256) -> None:
        super().__init__()
        self.media = nn.Linear(media_width, hidden_width)
        self.emotion = nn.Linear(width, hidden_width)
        self.explanation = nn.Linear(width, hidden_width)
        layers: list[nn.Module] = []
        for i in range(N_LAYERS):
            n_in, n_out = (3 if i == 0 else 1) * hidden_width, 1 if i == N_LAYERS - 1 else hidden_width
            layers += [nn.Linear(n_in, n_out)] + [nn.ReLU()] * (i < N_LAYERS - 1)
        self.score = nn.Sequential(*layers)

    def scores(self, media: Tensor, emotion: Tensor, explanation: Tensor) -> Tensor:
        """(B, B): row i's media and emotion with column j's explanation.

        media: (B, media_width), as by `media_vector` · emotion, explanation: (B, width), hidden states averaged over
        the tokens that tell the one and the other.
        """
        n = len(media)
        asked = torch.cat([self.media(media), self.emotion(emotion)], -1)[:, None].expand(-1, n, -1)
        given = self.explanation(explanation)[None].expand(n, -1, -1)
        scored: Tensor = self.score(torch.cat([asked, given], -1))[..., 0]
        return scored

    def loss(self, media: Tensor, emotion: Tensor, explanation: Tensor, fits: Tensor | None = None) -> Tensor:
        """InfoNCE over the batch: row i's explanation against all others of the batch.

        With the same clip told under several emotions in one batch, the others are SEVLM's two kinds of negatives: same
        media with another emotion, and other media. `fits` (B, B) bool marks explanations that belong to row i as well
        as its own (of the same clip and emotion); they are left out.
        """
        scores = self.scores(media, emotion, explanation)
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        if fits is not None:
            scores = scores.masked_fill(fits & ~own, float("-inf"))
        return functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def media_vector(soft: SoftTokens) -> tuple[Tensor, Tensor]:
    """The mean (B, D) over all soft tokens that are present in a row, zeros without any; and whether there is one (B,).

    Raises:
        InputError: no soft tokens.
    """
    if not soft.tokens:
        raise InputError("no soft tokens to average", "switch a modality or the pre-fusion on")
    counts = torch.stack([soft.present[name] * tokens.shape[1] for name, tokens in soft.tokens.items()]).sum(0)
    total = torch.stack([tokens.sum(1) * soft.present[name][:, None] for name, tokens in soft.tokens.items()]).sum(0)
    return total / counts.clamp(min=1)[:, None], counts > 0
