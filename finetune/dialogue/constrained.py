"""A policy fitted to what people chose, while what it may do at most is held by Lagrange multipliers.

min NLL(pi) s.t. E[c_i] <= d_i, after the constrained decision process of Responsible RL (arXiv 2511.10573): for fixed
multipliers the loss is NLL + sum lambda_i (E[c_i] - d_i); then lambda_i <- max(0, lambda_i + eta (E[c_i] - d_i)), and
so on until the limits hold. The expectation is the policy's own, over states that were seen: nobody is tried out on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.fitting import Fit, threads

__all__ = ["Constrained", "Limits", "expected_costs", "fit_constrained"]

Floats = NDArray[np.float32]
Double = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What a choice costs: `costs` (B, C, I) of C choices in B states by I constraints, and `most` (I,), its limits."""

    costs: Double
    most: Double


@dataclass(frozen=True, slots=True, eq=False)
class Constrained:
    """The fit, the multipliers (I,) it ended with, and the expected costs (I,) over the states it was fitted on."""

    fit: Fit
    multipliers: Double
    costs: Double


def fit_constrained(
    x: Floats, y: NDArray[np.intp], limits: Limits, penalty: float, rounds: int = 30, rate: float = 20.0
) -> Constrained:
    """Fit rows (B, D) to choices (B,) of C; `penalty` is the ridge on standardised inputs, `rate` the multipliers' eta.

    It ends when every limit holds to a twentieth, or after `rounds`. Deterministic.
    """
    with threads(1):
        return _fit(x, y, limits, penalty, rounds, rate)


def expected_costs(probabilities: Double, costs: Double) -> Double:
    """E[c_i] (I,) under choices' probabilities (B, C), over the states."""
    return np.asarray(np.einsum("bc,bci->i", probabilities, costs) / len(probabilities))


def _fit(x: Floats, y: NDArray[np.intp], limits: Limits, penalty: float, rounds: int, rate: float) -> Constrained:
    import torch
    from torch.nn import functional

    n, n_choices, n_limits = limits.costs.shape
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    rows = torch.from_numpy(((x - mean) / scale).astype(np.float32))
    gold, costs = torch.from_numpy(y), torch.from_numpy(limits.costs.astype(np.float32))
    most = torch.from_numpy(limits.most.astype(np.float32))
    weight = torch.zeros((x.shape[1], n_choices), requires_grad=True)
    bias = torch.zeros(n_choices, requires_grad=True)
    multipliers = torch.zeros(n_limits)

    def spent() -> Any:
        p = functional.softmax(rows @ weight + bias, dim=1)
        return torch.einsum("bc,bci->i", p, costs) / n

    for _ in range(rounds):
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

        def loss(optimiser: Any = optimiser, multipliers: Any = multipliers) -> Any:
            optimiser.zero_grad()
            value = functional.cross_entropy(rows @ weight + bias, gold) + penalty * (weight**2).sum()
            value = value + multipliers @ (spent() - most)
            value.backward()
            return value

        optimiser.step(loss)
        with torch.no_grad():
            over = spent() - most
            if bool((over <= 0.05 * most + 1e-9).all()):
                break
            multipliers = torch.clamp(multipliers + rate * over, min=0.0)
    tensors = {"0.weight": weight, "0.bias": bias}
    found: dict[str, NDArray[Any]] = {k: t.detach().numpy().astype(np.float32) for k, t in tensors.items()}
    found |= {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}
    with torch.no_grad():
        return Constrained(Fit(found), multipliers.numpy().copy(), spent().numpy().copy())
