"""The gated temporal adapter: one token a window of time, and a gate that believes reliable windows more.

After Edu-EmotionNet's modality importance (arXiv 2510.08802), whose exact formula is not published: a modality's share
in a window grows with exp(score) and with its reliability, and is 0 where it is absent. The carry over time, which
keeps the last state that was believed, is this project's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.fusion.attention import masked_softmax
from affectgpt.fusion.batches import FeatureBatch
from affectgpt.fusion.config import FusionConfig, ModalityConfig
from affectgpt.records import Modality

__all__ = ["Carry", "GatedAdapter", "GatedPrefusion", "Windows"]

_LEAST = 1e-3
"""Reliabilities are held within [0.001, 0.999] before a logarithm; exactly 0 still closes the gate."""


class Windows(nn.Module):
    """K windows of equal length over the clip: within each, steps are weighed by score and reliability.

    A window's reliability is the mean over all its steps, a step where nothing was read counting 0.
    """

    def __init__(self, in_width: int, n_windows: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(in_width, width), nn.GELU())
        self.score = nn.Linear(width, 1)
        self.leave = nn.Linear(width, width)
        self.n_windows = n_windows

    def forward(self, batch: FeatureBatch) -> tuple[Tensor, Tensor]:
        """States (B, K, width), zeros where nothing was read, and reliabilities (B, K) in [0, 1]."""
        states = self.enter(batch.tokens)
        window = (batch.position * self.n_windows).long().clamp(0, self.n_windows - 1)
        inside = functional.one_hot(window, self.n_windows).bool() & (batch.position >= 0)[..., None]  # (B, T, K)
        trusted = batch.reliability * batch.valid
        reliability = (inside * trusted[..., None]).sum(1) / inside.sum(1).clamp(min=1)
        scores = self.score(states) + trusted.clamp(min=_LEAST).log()[..., None]
        weights = masked_softmax(scores.expand(-1, -1, self.n_windows), inside & (trusted > 0)[..., None], 1)
        read = self.leave(torch.einsum("btk,btd->bkd", weights, states))
        return read * (reliability > 0)[..., None], reliability


class Carry(nn.Module):
    """Goes from window to window and lets each one change the state as far as its gate opens.

    gate = sigmoid(W [window, state] + b + softplus(a) logit(reliability)), 0 where the reliability is 0: the state then
    stays. softplus(a) is 1 at the start and always positive, so more reliability never closes a gate.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)
        self.trust = nn.Parameter(torch.tensor(1.0).expm1().log())
        self.start = nn.Parameter(torch.randn(width) * 0.02)  # before anything was seen; BERT's initial spread
        self.leave = nn.LayerNorm(width)

    def gates(self, window: Tensor, state: Tensor, reliability: Tensor) -> Tensor:
        """Gates (B, width) in [0, 1] of windows (B, width) of reliability (B,)."""
        odds = torch.logit(reliability, eps=_LEAST)[:, None] * functional.softplus(self.trust)
        opened: Tensor = torch.sigmoid(self.gate(torch.cat([window, state], -1)) + odds)
        return opened * (reliability > 0)[:, None]

    def forward(self, windows: Tensor, reliability: Tensor) -> Tensor:
        """States (B, K, width) after each window, of windows (B, K, width) and reliabilities (B, K)."""
        state, states = self.start.expand(len(windows), -1).to(windows.dtype), []
        for window, sure in zip(windows.unbind(1), reliability.unbind(1), strict=True):
            state = torch.lerp(state, window, self.gates(window, state, sure).to(window.dtype))
            states.append(state)
        calm: Tensor = self.leave(torch.stack(states, 1))
        return calm


class GatedAdapter(nn.Module):
    """One modality: token k tells what was believed by the end of the k-th of K windows."""

    def __init__(self, modality: ModalityConfig, config: FusionConfig) -> None:
        super().__init__()
        self.windows = Windows(modality.width, modality.n_tokens, config.width)
        self.carry = Carry(config.width)
        self.out_width, self.n_levels = config.width, 2

    def levels(self, batch: FeatureBatch) -> list[Tensor]:
        """Windows, then states, each (B, K, width)."""
        windows, reliability = self.windows(batch)
        return [windows, self.carry(windows, reliability)]


class GatedPrefusion(nn.Module):
    """All modalities, window by window: shares by score and reliability, then one carry over time."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        n_windows, width = config.n_fused_tokens, config.width
        made = {m.value: Windows(config.modalities[m].width, n_windows, width) for m in config.order}
        self.windows = nn.ModuleDict(made)
        self.weigh = nn.Linear(width, 1)
        self.carry = Carry(width)
        self.order = config.order
        self.out_width, self.n_levels = width, 2

    def shares(self, windows: Tensor, reliability: Tensor) -> Tensor:
        """Shares (B, M, K) of windows (B, M, K, width), sum 1 over those with reliability (B, M, K) above 0."""
        scores = self.weigh(windows)[..., 0] + reliability.clamp(min=_LEAST).log()
        return masked_softmax(scores, reliability > 0, 1)

    def levels(self, batches: Mapping[Modality, FeatureBatch]) -> list[Tensor]:
        """Windows shared out between the modalities, then states, each (B, K, width)."""
        read = [self.windows[m.value](batches[m]) for m in self.order]
        windows, reliability = torch.stack([w for w, _ in read], 1), torch.stack([r for _, r in read], 1)
        shares = self.shares(windows, reliability)
        fused = torch.einsum("bmk,bmkw->bkw", shares, windows)
        return [fused, self.carry(fused, (shares * reliability).sum(1))]
