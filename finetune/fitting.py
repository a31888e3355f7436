"""Fitting small networks on frozen vectors, and the temperature that makes their probabilities honest.

One thread and seeded draws throughout: one seed gives the same weights, byte for byte, on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_STEPS", "Fit", "Recipe", "fit", "fit_ridge", "temperature", "threads"]

Floats = NDArray[np.float32]

LEAST_STEPS = 20
"""Below this many the schedule of rates has no room for its rise."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one head is fitted.

    kind: as in `affectgpt.appraise.heads`. hidden: width of the one hidden layer, 0 for a linear head.
    prior: how much of the classes' log frequency is taken off the softmax's last bias (Menon et al. 2021, logit
    adjustment, arXiv 2007.07314): 0 leaves the likeliest class of a calibrated head, 1 weighs all classes alike.
    """

    kind: str
    hidden: int = 0
    epochs: int = 6
    rate: float = 1e-3
    decay: float = 0.1
    dropout: float = 0.2
    hidden_dropout: float = 0.4
    smoothing: float = 0.0
    prior: float = 0.0
    batch: int = 128
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Fitted weights by tensor name, as `save_head` takes them."""

    weights: dict[str, NDArray[Any]]

    def __call__(self, x: Floats) -> NDArray[np.float64]:
        """Outputs (B, C) of rows (B, D): what the saved head will give."""
        w = {name: np.asarray(t, np.float32) for name, t in self.weights.items()}
        h = (x - w["mean"]) / w["scale"] @ w["0.weight"] + w["0.bias"]
        if "1.weight" in w:
            h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
            h = h @ w["1.weight"] + w["1.bias"]
        return np.asarray(h, np.float64)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch and numpy's linear algebra compute with `n` threads, and with as many as before afterwards.

    A sum over other parts is another sum in its last digit.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n):
            yield
    finally:
        torch.set_num_threads(before)


def fit(x: Floats, y: NDArray[Any], recipe: Recipe, weight: NDArray[Any] | None = None) -> Fit:
    """Fit rows (B, D) to labels (B,) for softmax, tags (B, C) for sigmoid; `weight` (B,) counts a row more or less."""
    with threads(1):
        return _fit(x, y, recipe, weight)


def _fit(x: Floats, y: NDArray[Any], recipe: Recipe, weight: NDArray[Any] | None) -> Fit:
    import torch
    from torch.nn import functional

    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    rows, n_classes = (x - mean) / scale, y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    net = _network(x.shape[1], n_classes, recipe)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    n_batches = -(-len(x) // recipe.batch)
    steps = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=max(LEAST_STEPS, recipe.epochs * n_batches), pct_start=0.1
    )
    gold, counts = torch.from_numpy(y), torch.from_numpy(np.ones(len(x)) if weight is None else weight).float()
    for _ in range(recipe.epochs):
        for chosen in np.array_split(draw.permutation(len(x)), n_batches):
            out, target = net(torch.from_numpy(rows[chosen])), gold[chosen]
            if recipe.kind == "softmax":
                loss = functional.cross_entropy(out, target, reduction="none", label_smoothing=recipe.smoothing)
            else:
                loss = functional.binary_cross_entropy_with_logits(out, target.float(), reduction="none").sum(1) / 4
            optimiser.zero_grad()
            (loss * counts[chosen]).mean().backward()
            optimiser.step()
            steps.step()
    return Fit(_tensors(net, mean, scale, recipe, y))


def fit_ridge(x: Floats, y: NDArray[Any], penalty: float) -> Fit:
    """Ridge regression of numbers (B, C) on rows (B, D), in closed form; `penalty` is a row's share.

    NaN marks a number that is not known: each column is fitted on the rows that have it.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    rows = ((x - mean) / scale).astype(np.float64)
    weight, bias = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    for c in range(y.shape[1]):
        known = np.isfinite(y[:, c])
        q, bias[c] = rows[known], y[known, c].mean()
        inner = q.T @ q + penalty * len(q) * np.eye(x.shape[1])
        weight[:, c] = np.linalg.solve(inner, q.T @ (y[known, c] - bias[c]))
    return Fit(_half({"0.weight": weight, "0.bias": bias, "mean": mean, "scale": scale}))


def temperature(
    logits: NDArray[np.float64], gold: NDArray[Any], kind: str, weight: NDArray[Any] | None = None
) -> float:
    """The temperature with the least log loss on rows that were not fitted on (Guo et al. 2017, arXiv 1706.04599).

    `weight` (B,) counts a row more or less; softmax only.
    """
    from scipy.optimize import minimize_scalar

    share = np.ones(len(logits)) if weight is None else weight

    def loss(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        if kind == "softmax":
            top = scaled.max(axis=1, keepdims=True)
            norm = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
            return float(share @ (norm - scaled[np.arange(len(gold)), gold]) / share.sum())
        return float((np.logaddexp(0.0, scaled) - gold * scaled).mean())

    return round(float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x)), 4)


def _network(width: int, n_classes: int, recipe: Recipe) -> Any:
    from torch import nn

    if not recipe.hidden:
        return nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(width, n_classes))
    return nn.Sequential(
        nn.Dropout(recipe.dropout), nn.Linear(width, recipe.hidden), nn.GELU(approximate="tanh"),
        nn.Dropout(recipe.hidden_dropout), nn.Linear(recipe.hidden, n_classes),
    )  # fmt: skip


def _tensors(net: Any, mean: Floats, scale: Floats, recipe: Recipe, y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    from torch import nn

    layers = [m for m in net if isinstance(m, nn.Linear)]
    found: dict[str, NDArray[Any]] = {"mean": mean, "scale": scale}
    for k, layer in enumerate(layers):
        found[f"{k}.weight"], found[f"{k}.bias"] = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    if recipe.prior and recipe.kind == "softmax":
        share = np.bincount(y, minlength=layers[-1].out_features) / len(y)
        last = f"{len(layers) - 1}.bias"
        found[last] = found[last] - recipe.prior * np.log(share)
    return _half(found)


def _half(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Matrices in half precision (a rounding of 0.05 %), the rest in single."""
    return {k: np.asarray(t, np.float16 if k.endswith(".weight") else np.float32) for k, t in tensors.items()}
