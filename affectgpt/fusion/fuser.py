"""The adapters of a configuration in one module: feature batches in, soft tokens for a language model out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from affectgpt.errors import InputError, ModelError
from affectgpt.fusion.attention import AttentionAdapter, AttentionPrefusion
from affectgpt.fusion.batches import FeatureBatch, SoftTokens
from affectgpt.fusion.config import FUSED, FusionConfig, ModalityConfig
from affectgpt.fusion.gating import GatedAdapter, GatedPrefusion
from affectgpt.fusion.querying import QueryAdapter, QueryPrefusion
from affectgpt.fusion.standard import Moments, Standard
from affectgpt.records import Modality

__all__ = ["Adapter", "Fuser", "Prefusion", "drop"]

Batches = Mapping[Modality, FeatureBatch]


class Adapter(Protocol):
    """From one modality's steps to K tokens of `out_width`, in `n_levels` levels."""

    out_width: int
    n_levels: int

    def levels(self, batch: FeatureBatch) -> list[Tensor]:
        """Tokens (B, K, out_width), the result last; before it what the layers below gave, the lowest first."""
        ...


class Prefusion(Protocol):
    """From all modalities' steps to K tokens of `out_width`, in `n_levels` levels."""

    out_width: int
    n_levels: int

    def levels(self, batches: Batches) -> list[Tensor]:
        """As `Adapter.levels`."""
        ...


_ADAPTERS: dict[str, Callable[[ModalityConfig, FusionConfig], nn.Module]] = {
    "attention": AttentionAdapter,
    "gated": GatedAdapter,
    "perceiver": QueryAdapter,
    "qformer": QueryAdapter,
}
_PREFUSIONS: dict[str, Callable[[FusionConfig], nn.Module]] = {
    "attention": AttentionPrefusion,
    "gated": GatedPrefusion,
    "perceiver": QueryPrefusion,
    "qformer": QueryPrefusion,
}


class Fuser(nn.Module):
    """Each modality's own adapter, the pre-fusion beside them, and a linear layer from each into the LLM's width.

    A missing modality is masked, never filled with zeros that could pass for data: whatever stands under a mask changes
    no result and no gradient. What comes of all missing is marked as not present.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        own = [m for m in config.order if config.modalities[m].is_on]
        make = _ADAPTERS[config.adapter]
        self.standard = nn.ModuleDict({m.value: Standard(config.modalities[m].width) for m in config.order})
        self.adapters = nn.ModuleDict({m.value: make(config.modalities[m], config) for m in own})
        self.prefusion = None if config.prefusion == "none" else _PREFUSIONS[config.prefusion](config)
        self.project = nn.ModuleDict({name: _Projector(self.part(name).out_width, config) for name in config.names})

    def part(self, name: str) -> Adapter | Prefusion:
        """What makes the soft tokens of a name: a modality's own adapter, or the pre-fusion."""
        return cast("Adapter | Prefusion", self.prefusion if name == FUSED else self.adapters[name])

    def forward(self, batches: Batches) -> SoftTokens:
        """Soft tokens (B, K, D) by name, in the order of `config.names`.

        In training, modalities and steps are dropped first (`modality_dropout`, `step_dropout`), and `present` says
        what was left.

        Raises:
            ModelError: features of another width, or of a modality that the configuration has not.
            InputError: no modality at all, or batches of different sizes.
        """
        levels, present = self.levels(self.prepared(batches))
        tokens = {
            name: self.project[name](levels[name][-1]).masked_fill(~present[name][:, None, None], 0.0)
            for name in self.config.names
        }
        return SoftTokens(tokens, present)

    def prepared(self, batches: Batches) -> dict[Modality, FeatureBatch]:
        """Every modality's batch: checked, dropped from in training, made readable, standardised; missing ones empty.

        Raises: as `forward`.
        """
        given = self._complete(batches)
        if self.training:
            given = drop(given, self.config.modality_dropout, self.config.step_dropout)
        readable = {m: batch.readable() for m, batch in given.items()}
        return {m: cast(Standard, self.standard[m.value])(batch) for m, batch in readable.items()}

    def levels(self, prepared: Batches) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
        """What the adapters make of `prepared` batches, by name, before projection; and what is present (B,)."""
        own = {name: cast(Adapter, adapter) for name, adapter in self.adapters.items()}
        levels = {name: adapter.levels(prepared[Modality(name)]) for name, adapter in own.items()}
        present = {name: prepared[Modality(name)].present for name in self.adapters}
        if self.prefusion is not None:
            levels[FUSED] = cast(Prefusion, self.prefusion).levels(prepared)
            present[FUSED] = torch.stack([batch.present for batch in prepared.values()]).any(0)
        return levels, present

    @torch.no_grad()
    def standardize(self, batches: Iterable[Batches]) -> None:
        """Measure every feature's mean and spread over training batches; they stand before the adapters from then on.

        Without this, and for modalities that no batch has, features enter as they are.

        Raises: as `forward`.
        """
        sums = {m: Moments(self.config.modalities[m].width) for m in self.config.order}
        for given in batches:
            for modality, batch in self._complete(given).items():
                sums[modality].take(batch.readable())
        for modality, moments in sums.items():
            cast(Standard, self.standard[modality.value]).take(moments)

    def _complete(self, batches: Batches) -> dict[Modality, FeatureBatch]:
        order, wanted = self.config.order, self.config.modalities
        for modality, batch in batches.items():
            if modality not in wanted:
                raise ModelError(f"features of the {modality.value}, for an adapter that has it not", "leave them out")
            if batch.width != wanted[modality].width:
                raise ModelError(
                    f"{modality.value} features of width {batch.width}, for an adapter of {wanted[modality].width}",
                    f"encode with {wanted[modality].encoder}",
                )
        sizes = {len(batch.present) for batch in batches.values()}
        if len(sizes) != 1:
            raise InputError(
                f"batches of {sorted(sizes) or 'no'} clips", "give one batch a modality, of the same clips"
            )
        some = next(iter(batches.values()))
        empty = some.tokens.new_zeros(sizes.pop(), 0, 1)
        return {m: batches.get(m) or FeatureBatch.of(empty.expand(-1, -1, wanted[m].width)) for m in order}


class _TokenNorm(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))  # under autocast x is of half precision, and the norm is not


class _Projector(nn.Sequential):
    """Linear into the LLM's width; then, where asked for, a norm whose gain starts at `token_rms`."""

    def __init__(self, width: int, config: FusionConfig) -> None:
        layers: list[nn.Module] = [nn.Linear(width, config.llm_width)]
        if config.token_rms is not None:
            norm = _TokenNorm(config.llm_width, eps=1e-6)
            nn.init.constant_(norm.weight, config.token_rms)
            layers.append(norm)
        super().__init__(*layers)


def drop(batches: Batches, modality_share: float, step_share: float = 0.0) -> dict[Modality, FeatureBatch]:
    """Take modalities, then steps, from clips at random, each with the given probability.

    Of the modalities that a clip has, one chosen at random always stays, so that no clip becomes empty by this; torch's
    generator decides. A modality all of whose steps fell is no longer present.
    """
    if not (modality_share or step_share):
        return dict(batches)
    present = torch.stack([b.present & b.valid.any(1) for b in batches.values()])  # (M, B)
    chance = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    # The highest number stays whatever it is; of the others those under the threshold go.
    keep = (chance >= modality_share) | (chance == chance.amax(0))
    dropped: dict[Modality, FeatureBatch] = {}
    for (modality, batch), kept in zip(batches.items(), keep, strict=True):
        stays = kept[:, None] & (torch.rand(batch.valid.shape, device=batch.valid.device) >= step_share)
        dropped[modality] = batch.masked(stays)
    return dropped
