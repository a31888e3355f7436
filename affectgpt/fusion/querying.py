"""Adapters whose K learned queries look at all steps: the Q-Former and the perceiver resampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.records import Modality

__all__ = ["Perceiver", "QFormer", "QueryAdapter", "QueryPrefusion", "TimeEmbedding", "never_empty"]

_SPREAD = 0.02
"""Standard deviation of learned queries and positions at the start, as in BERT and BLIP-2."""


class TimeEmbedding(nn.Module):
    """A learned vector for each moment: `n_steps` entries spread evenly over the clip, linear in between.

    A clip of exactly `n_steps` even steps gets the entries themselves, one each, as a plain table of positions would
    give; any other length reads the same table more finely or coarsely.
    """

    def __init__(self, n_steps: int, width: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(n_steps, width) * _SPREAD)

    def forward(self, position: Tensor) -> Tensor:
        """Vectors (B, T, D) for positions (B, T) in [0, 1]."""
        last = len(self.entries) - 1
        place = (position.clamp(0.0, 1.0) * (last + 1) - 0.5).clamp(0.0, last)
        low = place.floor().long()
        rest = (place - low).unsqueeze(-1)
        below = functional.embedding(low, self.entries)
        above = functional.embedding((low + 1).clamp(max=last), self.entries)
        return below + rest * (above - below)


class Querying(Protocol):
    """Learned queries over what stands side by side."""

    out_width: int

    def levels(self, tokens: Tensor, valid: Tensor) -> list[Tensor]:
        """(B, K, width) after each layer, the last one last, from tokens (B, T, D) and valid (B, T)."""
        ...


class QFormer(nn.Module):
    """BLIP-2's Q-Former without its text side (arXiv 2301.12597), cross-attending in every layer as AffectGPT's does.

    The layers are those of transformers. With width 768, 12 heads and 2 layers they are AffectGPT's own.
    """

    def __init__(self, in_width: int, n_queries: int, config: FusionConfig) -> None:
        super().__init__()
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        self.queries = nn.Parameter(torch.randn(n_queries, config.width) * _SPREAD)
        self.former = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                num_hidden_layers=config.n_layers,
                num_attention_heads=config.n_heads,
                intermediate_size=4 * config.width,  # BERT's proportion
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                cross_attention_frequency=1,
                encoder_hidden_size=in_width,
            )
        )
        self.out_width = config.width

    def levels(self, tokens: Tensor, valid: Tensor) -> list[Tensor]:
        """As `Querying`."""
        given = self.former(
            query_embeds=self.queries.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens,
            encoder_attention_mask=never_empty(valid),
            output_hidden_states=True,
        )
        return list(given.hidden_states[1:])


class Perceiver(nn.Module):
    """Flamingo's resampler (arXiv 2204.14198): latents look at the steps and at themselves, layer by layer.

    The steps are normalised once, not again in each layer.
    """

    def __init__(self, in_width: int, n_queries: int, config: FusionConfig) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(in_width, config.width), nn.LayerNorm(config.width))
        self.latents = nn.Parameter(torch.randn(n_queries, config.width) * _SPREAD)
        self.layers = nn.ModuleList(_PerceiverLayer(config) for _ in range(config.n_layers))
        self.leave = nn.LayerNorm(config.width)
        self.out_width = config.width

    def levels(self, tokens: Tensor, valid: Tensor) -> list[Tensor]:
        """As `Querying`."""
        media = self.enter(tokens)
        latents = self.latents.expand(len(tokens), -1, -1)
        levels = []
        for layer in self.layers:
            latents = layer(latents, media, valid)
            levels.append(latents)
        return [*levels[:-1], self.leave(levels[-1])]


class _PerceiverLayer(nn.Module):
    """Multi-head attention without keys and values, then a feed-forward layer.

    A few latents look at many steps, so each head's key projection is moved onto the latents, and its value projection
    behind the weighted sum: the same product in another order, which costs a step 2 x heads x K x W multiplications
    where projecting it would cost 2 x W x W.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width, bias=False)
        self.leave = nn.Linear(width, width, bias=False)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width, bias=False),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * width, width, bias=False),
        )
        self.n_heads, self.dropout = config.n_heads, config.dropout

    def forward(self, latents: Tensor, media: Tensor, valid: Tensor) -> Tensor:
        """Latents (B, K, W) after one look at media (B, T, W) and at themselves."""
        calm = self.norm(latents)
        asked = self.ask(calm).reshape(*calm.shape[:2], self.n_heads, -1)  # (B, K, heads, W / heads)
        reach = torch.einsum("bkhd,hdw->bhkw", asked, self._by_head(self.keys)).flatten(1, 2)
        scale = (calm.shape[-1] // self.n_heads) ** -0.5
        far = (reach @ media.transpose(1, 2)).masked_fill(~valid[:, None], float("-inf"))
        # A latent always sees the latents, so no row of scores is empty.
        weights = (torch.cat([far, reach @ calm.transpose(1, 2)], 2) * scale).softmax(-1)
        weights = functional.dropout(weights, self.dropout, self.training)
        seen = weights[..., : media.shape[1]] @ media + weights[..., media.shape[1] :] @ calm
        seen = seen.reshape(len(seen), self.n_heads, -1, calm.shape[-1])  # (B, heads, K, W)
        heads = torch.einsum("bhkw,hdw->bkhd", seen, self._by_head(self.values))
        heard: Tensor = latents + self.leave(heads.flatten(2))
        fed: Tensor = heard + self.feed(heard)
        return fed

    def _by_head(self, layer: nn.Linear) -> Tensor:
        return layer.weight.reshape(self.n_heads, -1, layer.weight.shape[1])


def _querying(kind: str, in_width: int, n_queries: int, config: FusionConfig) -> QFormer | Perceiver:
    return (QFormer if kind == "qformer" else Perceiver)(in_width, n_queries, config)


class QueryAdapter(nn.Module):
    """One modality's steps, each with its moment added, under K learned queries."""

    def __init__(self, modality: ModalityConfig, config: FusionConfig) -> None:
        super().__init__()
        self.moment = TimeEmbedding(modality.n_steps, modality.width)
        self.querying = _querying(config.adapter, modality.width, modality.n_tokens, config)
        self.out_width, self.n_levels = self.querying.out_width, config.n_layers

    def levels(self, batch: FeatureBatch) -> list[Tensor]:
        """Tokens (B, K, width) after each layer, the last one last."""
        return self.querying.levels(batch.tokens + self.moment(batch.position), batch.valid)


class QueryPrefusion(nn.Module):
    """All modalities' steps, brought to one width and set one after another, under K learned queries.

    Each modality has moments of its own, which also tell the queries whose step it is.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        width, order = config.meeting_width, config.order
        self.enter = nn.ModuleDict({m.value: nn.Linear(config.modalities[m].width, width) for m in order})
        self.moment = nn.ModuleDict({m.value: TimeEmbedding(config.modalities[m].n_steps, width) for m in order})
        self.querying = _querying(config.prefusion, width, config.n_fused_tokens, config)
        self.order = order
        self.out_width, self.n_levels = self.querying.out_width, config.n_layers

    def levels(self, batches: Mapping[Modality, FeatureBatch]) -> list[Tensor]:
        """Tokens (B, K, width) after each layer, the last one last."""
        met = [self.enter[m.value](batches[m].tokens) + self.moment[m.value](batches[m].position) for m in self.order]
        return self.querying.levels(torch.cat(met, 1), torch.cat([batches[m].valid for m in self.order], 1))


def never_empty(valid: Tensor) -> Tensor:
    """The mask, with the first step open in rows that have none: what is read there is zero, and the row unused."""
    first = torch.zeros_like(valid)
    first[:, 0] = True
    return valid | (first & ~valid.any(1, keepdim=True))
