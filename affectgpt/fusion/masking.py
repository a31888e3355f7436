"""Masked reconstruction: most steps are hidden, and the adapters' tokens must tell what stood there.

After HiCMAE (Sun et al. 2024, arXiv 2401.05698, its code): a branch for each modality, and a decoder whose first layer
sees what all modalities give together and whose later layers see the branch's own lower levels from the top down
(hierarchical skip connections). HiCMAE trains encoders; here encoders are frozen and it is the adapters that learn. So
the decoder sees no visible step, only the adapters' K tokens: everything must pass through them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.fuser import Fuser
from affectgpt.fusion.querying import TimeEmbedding, never_empty
from affectgpt.records import Modality

__all__ = ["Reconstruction", "draw_mask"]


def draw_mask(batch: FeatureBatch, share: float, span: int) -> Tensor:
    """Which valid steps to hide (B, T): about `share` of each row's, whole spans of neighbours first; never the last.

    Spans, as HiCMAE hides tubes: a single hidden step could be told from its neighbours. Torch's generator decides.
    """
    n_rows, n_steps = batch.valid.shape
    device = batch.valid.device
    shift = torch.randint(span, (n_rows, 1), device=device)
    span_of = (torch.arange(n_steps, device=device)[None] + shift) // span
    chance = torch.rand(n_rows, n_steps // span + 2, device=device).gather(1, span_of)
    rank = chance.masked_fill(~batch.valid, 2.0).argsort(dim=1, stable=True).argsort(1)
    n_valid = batch.valid.sum(1, keepdim=True)
    n_hidden = (n_valid * share).long().clamp(max=(n_valid - 1).clamp(min=0))
    hidden: Tensor = batch.valid & (rank < n_hidden)
    return hidden


class Reconstruction(nn.Module):
    """A decoder a modality, from the adapters' levels to hidden steps; thrown away after pre-training."""

    def __init__(self, fuser: Fuser, width: int = 128, n_heads: int = 4) -> None:
        super().__init__()
        config = fuser.config
        parts = {name: fuser.part(name) for name in config.names}
        self.together = nn.ModuleDict({name: nn.Linear(part.out_width, width) for name, part in parts.items()})
        self.decoders = nn.ModuleDict()
        for modality in config.order:
            own = parts.get(modality.value)
            below = [own.out_width] * (own.n_levels - 1) if own else []
            self.decoders[modality.value] = _Decoder(below, config.modalities[modality].width, width, n_heads)

    def forward(
        self, levels: Mapping[str, list[Tensor]], present: Mapping[str, Tensor], wanted: Mapping[Modality, FeatureBatch]
    ) -> dict[Modality, Tensor]:
        """What the steps of `wanted` may have held, (B, T, D) a modality; only positions are read of them.

        levels, present: what `Fuser.levels` gave for the visible steps.
        """
        names = list(self.together)
        met = torch.cat([self.together[name](levels[name][-1]) for name in names], 1)
        seen = torch.cat([present[name][:, None].expand(levels[name][-1].shape[:2]) for name in names], 1)
        return {
            modality: self.decoders[modality.value](
                batch.position, met, never_empty(seen), levels.get(modality.value, [])[:-1]
            )
            for modality, batch in wanted.items()
        }


class _Decoder(nn.Module):
    """Queries by position look at what all modalities give, then at the own branch's lower levels, the upper first."""

    def __init__(self, below: list[int], out_width: int, width: int, n_heads: int) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # stands for every hidden step, as MAE's mask token
        self.moment = TimeEmbedding(64, width)
        self.skip = nn.ModuleList(nn.Linear(n, width) for n in below)
        self.layers = nn.ModuleList(_Layer(width, n_heads) for _ in range(len(below) + 1))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out_width))

    def forward(self, position: Tensor, met: Tensor, seen: Tensor, levels: list[Tensor]) -> Tensor:
        state = self.layers[0](self.hidden + self.moment(position), met, seen)
        for layer, skip, level in zip(self.layers[1:], self.skip, reversed(levels), strict=True):
            state = layer(state, skip(level), None)
        steps: Tensor = self.leave(state)
        return steps


class _Layer(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm_own, self.norm_seen = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, state: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        keys = self.norm_seen(memory)
        dark = None if seen is None else ~seen
        state = state + self.look(self.norm_own(state), keys, keys, key_padding_mask=dark, need_weights=False)[0]
        fed: Tensor = state + self.feed(state)
        return fed
