"""LoRA on a CPU, right and faster: rows that ask for no adapter get none, and an adapter's rows are multiplied at once.

vLLM 0.32 copies the matrices of its adapter for every token of a batch and multiplies row by row. A row without
adapter carries the index -1, which picks the last slot's matrices: wrong answers, silently, as soon as that slot is in
use. Here the rows are grouped by slot once a step; each group is two matrix products, and rows of -1 are in no group.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

TAKES = ["self", "y", "x", "lora_a_stacked", "lora_b_stacked", "scale", "output_slices", "buffer", "kwargs"]
"""Parameters of `PunicaWrapperCPU.add_lora_linear` in vLLM 0.32; where they differ nothing is replaced."""

Groups = list[tuple[int, "torch.Tensor | None"]]


def mend(module: Any) -> bool:
    """Replace the two methods of `vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU`; whether they fitted."""
    wrapper = getattr(module, "PunicaWrapperCPU", None)
    linear = getattr(wrapper, "add_lora_linear", None)
    update = getattr(wrapper, "update_metadata", None)
    if linear is None or update is None or list(inspect.signature(linear).parameters) != TAKES:
        return False

    def update_metadata(self: Any, *args: Any, **kwargs: Any) -> None:
        update(self, *args, **kwargs)
        self._affectgpt_groups = groups_of(self.token_lora_indices)

    def add_lora_linear(
        self: Any,
        y: Any,
        x: Any,
        lora_a_stacked: Any,
        lora_b_stacked: Any,
        scale: float,
        output_slices: Any,
        **rest: Any,
    ) -> None:
        groups = getattr(self, "_affectgpt_groups", None)
        if groups is None:  # before the first step
            linear(self, y, x, lora_a_stacked, lora_b_stacked, scale, output_slices, **rest)
        else:
            add(y, x, (lora_a_stacked, lora_b_stacked, output_slices), groups, scale)

    wrapper.update_metadata, wrapper.add_lora_linear = update_metadata, add_lora_linear
    return True


def groups_of(slots: torch.Tensor) -> Groups:
    """(slot, its rows) of a batch whose tokens name their slots (T,), -1 for none; rows None where all are alike."""
    found = slots.unique().tolist()
    if len(found) == 1:
        return [(found[0], None)] if found[0] >= 0 else []
    return [(slot, (slots == slot).nonzero().squeeze(1)) for slot in found if slot >= 0]


def add(y: torch.Tensor, x: torch.Tensor, matrices: tuple[Any, Any, Any], groups: Groups, scale: float) -> None:
    """Add to y (T, sum of widths) scale · x (T, W) Aᵀ Bᵀ, slice by slice, with each group's A (r, W) and B (width, r).

    `matrices`: for each slice the stacked A (slots, 1, r, W), the stacked B (slots, 1, width, r), and the width.
    """
    y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    for slot, rows in groups:
        asked = x if rows is None else x[rows]
        left = 0
        for a, b, width in zip(*matrices, strict=True):
            update = (asked @ a[slot, 0].T) @ b[slot, 0].T
            target = y[:, left : left + width]
            if rows is None:
                target.add_(update, alpha=scale)
            else:
                target.index_add_(0, rows, update, alpha=scale)
            left += width
