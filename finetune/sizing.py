"""What a training will need, before any weight is loaded: parameters, memory, time, disk.

Parameters are counted on PyTorch's meta device, which holds shapes and no numbers. Memory and time are estimates; the
constants below were set by the shapes that autograd keeps and by one measured run (EXPERIMENTS.md, "Fine-tuning").
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.config import Recipe

__all__ = ["Need", "Shape", "count_packs", "free_memory_bytes", "measure_flops", "need", "shape_of"]

ADAM_BYTES = 16
"""A trained parameter: value, gradient and AdamW's two moments, float32 each."""
NF4_BYTES = 0.5 + 0.127 / 8
"""A weight in nf4 with double quantisation: 4 bits and .127 bits of constants (QLoRA, arXiv 2305.14314, section 3)."""
LOGIT_BYTES = 14
"""A logit in training: bfloat16, its float32 copy, the softmax and its gradient in float32."""
RUNTIME_BYTES = 0.7e9
"""The interpreter with torch, transformers, peft and TRL loaded."""
EFFICIENCY = 0.35
"""Of a plain matrix product's speed, what a whole step reaches: narrow layers, norms, the adapter's thin products."""
PACK_BATCH = 1000
"""Rows that TRL packs together (datasets' batch size)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model in numbers: parameters of all, of its linear layers (output layer aside), and of the adapter."""

    n_base: int
    n_linear: int
    n_adapter: int
    n_layers: int
    hidden: int
    inner: int
    kv_width: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Need:
    """What one device needs: steps, bytes, seconds, and bytes of disk for the checkpoints kept."""

    n_steps: int
    memory_bytes: float
    seconds: float
    disk_bytes: float


def shape_of(recipe: Recipe, place: str | Path) -> Shape:
    """Count without weights.

    Raises:
        OptionError: none of the recipe's targets is a layer of the model.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from affectgpt.errors import OptionError
    from finetune.loading import lora_config, quiet

    config = AutoConfig.from_pretrained(str(place), revision=recipe.revision)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
        n_base = sum(p.numel() for p in model.parameters())
        linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")]
        n_linear = sum(m.weight.numel() for m in linear)
        try:
            with quiet():
                model = get_peft_model(model, lora_config(recipe))
        except ValueError as e:
            raise OptionError(f"targets {', '.join(recipe.targets)} do not fit {place}: {e}", "see targets") from None
    n_adapter = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_width = head * (getattr(config, "num_key_value_heads", None) or heads)
    return Shape(
        n_base, n_linear, n_adapter, config.num_hidden_layers, config.hidden_size, config.intermediate_size, kv_width,
        config.vocab_size,
    )  # fmt: skip


def need(recipe: Recipe, shape: Shape, lengths: Sequence[int], n_answer: int, flops: float) -> Need:
    """Memory, time and disk of training on rows of these `lengths`, `n_answer` of whose tokens take a loss.

    `flops` is what the device does a second on a plain product (`measure_flops`).
    """
    total, mean = sum(lengths), sum(lengths) / max(1, len(lengths))
    n_units = count_packs(lengths, recipe.max_length) if recipe.packing else len(lengths)
    per_epoch = max(1, math.ceil(n_units / (recipe.batch * recipe.accumulate)))
    n_steps = recipe.max_steps or max(1, round(per_epoch * recipe.epochs))
    largest = recipe.batch * (recipe.max_length if recipe.packing else max(lengths, default=0))
    seconds = n_steps / per_epoch * _flop(recipe, shape, total, mean, n_answer) / (flops * EFFICIENCY)
    memory = _fixed(recipe, shape) + _moving(recipe, shape, largest, n_answer / max(1, total))
    disk = (recipe.keep + 2) * shape.n_adapter * (ADAM_BYTES - 4)
    return Need(n_steps, memory, seconds, disk)


def _fixed(recipe: Recipe, shape: Shape) -> float:
    width = {"bfloat16": 2, "float32": 4}[recipe.dtype]
    linear = shape.n_linear * (NF4_BYTES if recipe.quantize == "nf4" else width)
    return linear + (shape.n_base - shape.n_linear) * width + shape.n_adapter * ADAM_BYTES + RUNTIME_BYTES


def _moving(recipe: Recipe, shape: Shape, n_tokens: int, answered: float) -> float:
    """Activations that autograd keeps, and logits.

    A layer keeps, a token: two norms' inputs (bfloat16 and float32) and outputs, query, key and value before and after
    rotation, attention's output, and four inner vectors.
    """
    h, inner, kv = shape.hidden, shape.inner, shape.kv_width
    layer = 2 * 8 * h + 4 * (h + 2 * kv) + 4 * h + 8 * inner
    scale = 1 if recipe.dtype == "bfloat16" else 2
    kept = layer + shape.n_layers * 2 * h if recipe.gradient_checkpointing else shape.n_layers * layer
    return n_tokens * (scale * kept + answered * shape.vocabulary * LOGIT_BYTES)


def _flop(recipe: Recipe, shape: Shape, total: int, mean: float, n_answer: int) -> float:
    """Operations of one epoch.

    Two a weight forwards, two backwards (frozen weights need no gradient of their own), two again where activations
    are computed twice; attention over the row; the output layer at answers only.
    """
    passes = 3 if recipe.gradient_checkpointing else 2
    attention = 2 * shape.n_layers * shape.hidden * mean
    token = passes * (2 * shape.n_linear + attention) + 6 * shape.n_adapter
    return total * token + n_answer * 4 * shape.hidden * shape.vocabulary


def count_packs(lengths: Sequence[int], max_length: int) -> int:
    """Sequences that best-fit decreasing makes of these rows, as TRL packs them."""
    n = 0
    for at in range(0, len(lengths), PACK_BATCH):
        room: list[int] = []
        for length in sorted((min(x, max_length) for x in lengths[at : at + PACK_BATCH]), reverse=True):
            fitting = [i for i, space in enumerate(room) if space >= length]
            if fitting:
                room[min(fitting, key=room.__getitem__)] -= length
            else:
                room.append(max_length - length)
        n += len(room)
    return n


def measure_flops(shape: Shape, dtype: str, device: str, seconds: float = 0.3) -> float:
    """Operations a second of a product of this model's size on this device, now."""
    import torch

    kind = getattr(torch, dtype)
    tokens = torch.randn(512, shape.hidden, device=device).to(kind)
    weight = torch.randn(shape.hidden, shape.inner, device=device).to(kind)
    product, n = tokens @ weight, 0
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        product = tokens @ weight
        float(product[0, 0])  # a GPU answers before it is done; reading waits for it
        n += 1
    return n * 2 * 512 * shape.hidden * shape.inner / spent


def free_memory_bytes(device: str) -> float:
    """Free memory of a CPU's machine or of the first GPU."""
    if device == "cpu":
        import psutil

        return float(psutil.virtual_memory().available)
    import torch

    return float(torch.cuda.mem_get_info()[0])
