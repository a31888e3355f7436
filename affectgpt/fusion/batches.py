"""What goes into the adapters, several clips side by side, and what comes out of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from affectgpt.errors import InputError, ModelError
from affectgpt.records import SoftPart

__all__ = ["FeatureBatch", "SoftTokens"]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBatch:
    """One modality of B clips, T steps each.

    tokens (B, T, D) · valid (B, T) bool: where it is False, nothing may be read from the token, whatever it holds ·
    reliability (B, T) in [0, 1]: how far a step's reading can be trusted · present (B,) bool: where it is False the
    clip has not this modality · position (B, T): the step's middle as a share of the clip, in [0, 1]; -1 where the
    clip has ended and the batch is only filled up.

    Raises:
        InputError: shapes or types that do not go together. Values are the maker's affair.
    """

    tokens: Tensor
    valid: Tensor
    reliability: Tensor
    present: Tensor
    position: Tensor

    def __post_init__(self) -> None:
        steps = self.tokens.shape[:2]
        fits = self.tokens.ndim == 3 and self.valid.shape == self.reliability.shape == self.position.shape == steps
        if not fits or self.present.shape != steps[:1]:
            shapes = ", ".join(f"{f.name} {tuple(getattr(self, f.name).shape)}" for f in fields(self))
            raise InputError(f"a feature batch of {shapes}", "give (B, T, D), (B, T), (B, T), (B,) and (B, T)")
        if self.valid.dtype != torch.bool or self.present.dtype != torch.bool or not self.tokens.is_floating_point():
            raise InputError(f"a feature batch of {self.tokens.dtype} with masks that are not bool", "make it anew")

    @classmethod
    def of(cls, tokens: Tensor, valid: Tensor | None = None, reliability: Tensor | None = None) -> FeatureBatch:
        """A batch of clips that are all T steps long, evenly spaced; what is not given is valid and trusted in full."""
        n_rows, n_steps = tokens.shape[:2]
        if valid is None:
            valid = torch.ones(n_rows, n_steps, dtype=torch.bool, device=tokens.device)
        if reliability is None:
            reliability = torch.ones(n_rows, n_steps, device=tokens.device)
        position = (torch.arange(n_steps, device=tokens.device) + 0.5) / max(n_steps, 1)
        return cls(tokens, valid, reliability, valid.any(1), position.expand(n_rows, n_steps))

    @property
    def width(self) -> int:
        """D."""
        return int(self.tokens.shape[2])

    def to(self, *args: Any, **options: Any) -> FeatureBatch:
        """As `Tensor.to`; a dtype is applied to the tokens alone."""
        tokens = self.tokens.to(*args, **options)
        rest = {f.name: getattr(self, f.name).to(tokens.device) for f in fields(self)[1:]}
        return FeatureBatch(tokens, **rest)

    def masked(self, keep: Tensor) -> FeatureBatch:
        """With only those valid steps that `keep` (B, T) names; a row that keeps none is not present."""
        valid = self.valid & keep & self.present[:, None]
        return replace(self, valid=valid, present=valid.any(1))

    def readable(self) -> FeatureBatch:
        """The same, made safe to compute with: one step at least, and zeros wherever nothing may be read.

        What stood there, NaN included, reaches neither a result nor a gradient.
        """
        batch = self.masked(self.valid)
        if not batch.tokens.shape[1]:
            n_rows, _, width = batch.tokens.shape
            empty = batch.tokens.new_zeros(n_rows, 1, width)
            no = torch.zeros(n_rows, 1, dtype=torch.bool, device=empty.device)
            return replace(batch, tokens=empty, valid=no, reliability=empty[..., 0], position=empty[..., 0] - 1)
        dark = ~batch.valid
        tokens = batch.tokens.masked_fill(dark[..., None], 0.0)
        reliability = batch.reliability.to(tokens.dtype).masked_fill(dark, 0.0).clamp(0.0, 1.0)
        return replace(batch, tokens=tokens, reliability=reliability)


@dataclass(frozen=True, slots=True, eq=False)
class SoftTokens:
    """What stands in a prompt's stead of words, by name: a modality's value, or FUSED.

    tokens: (B, K, D) each, D the language model's width; zeros where not present, which must not be read ·
    present: (B,) bool each.
    """

    tokens: Mapping[str, Tensor]
    present: Mapping[str, Tensor]

    def parts(self, row: int) -> tuple[SoftPart, ...]:
        """The present ones of a row, in order: what a prompt can be spliced with.

        Raises:
            ModelError: a value that is not finite, as weights that diverged in training give.
        """
        there = {name: tokens[row] for name, tokens in self.tokens.items() if bool(self.present[name][row])}
        try:
            return tuple(SoftPart(name, k.detach().float().cpu().numpy()) for name, k in there.items())
        except ValueError as e:
            raise ModelError(f"the adapter failed: {e}", "use other weights, or train them anew") from e
