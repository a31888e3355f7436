"""Tune the sentence encoder on several corpora at once: a low-rank change of each linear layer, the rest frozen.

Hu et al. 2021, LoRA, arXiv 2106.09685. Each task has a linear output of its own on the averages that the appraiser
reads; the outputs are thrown away and the heads fitted anew. The change is written as a module of its own and not by
`peft`, whose layers took 1.4 times as long for these short sentences. Seeded draws and a fixed number of threads: one
seed gives the same bytes on one machine.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from affectgpt.appraise import words
from affectgpt.appraise.encoder import WIDTH, find_encoder, load_network, load_tokenizer
from affectgpt.engines.models import has_native_bfloat16
from finetune.fitting import LEAST_STEPS, threads

__all__ = ["N_THREADS", "Task", "Tuned", "Tuning", "losses", "tune"]

Log = logging.getLogger(__name__)

N_THREADS = 1
"""Sums are split among threads, so that their number is part of the result; one is the same on every machine."""
_STD = 0.02  # of BERT's own weights before training (Devlin et al. 2019)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Texts with their answers: labels (B,) for softmax, tags (B, C) for sigmoid, numbers (B, C) for regression.

    passes: how often each text is seen; half a pass is half of them, drawn. weight: how much its loss counts. NaN
    marks a number that is not known.
    """

    name: str
    kind: str
    texts: Sequence[str]
    y: NDArray[Any]
    passes: float = 1
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """How it is tuned: `rank` and `scale` of the change, AdamW's rates for it and for the outputs, rows a step."""

    rank: int = 8
    scale: float = 2.0
    rate: float = 1e-3
    output_rate: float = 2e-3
    decay: float = 0.01
    dropout: float = 0.2
    warmup: float = 0.06
    batch: int = 64
    checkpoint_steps: int = 100
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The change by layer, as `save_update` takes it, and each task's output."""

    tensors: dict[str, NDArray[np.float16]]
    outputs: dict[str, dict[str, Tensor]]


class LowRankLinear(nn.Module):
    """A frozen linear layer with the product of two narrow matrices added."""

    def __init__(self, frozen: nn.Linear, tuning: Tuning) -> None:
        super().__init__()
        self.frozen, self.scale = frozen, tuning.scale
        self.inner = nn.Parameter(torch.randn(tuning.rank, frozen.in_features) * _STD)
        self.outer = nn.Parameter(torch.zeros(frozen.out_features, tuning.rank))

    def forward(self, x: Tensor) -> Tensor:
        """Rows (…, width in) to rows (…, width out)."""
        narrow = functional.linear(x, self.inner.to(x.dtype))
        change = functional.linear(narrow, (self.scale * self.outer).to(x.dtype))
        return change + self.frozen(x)


def tune(tasks: Sequence[Task], tuning: Tuning, checkpoint: Path | None = None) -> Tuned:
    """Tune on all tasks, their batches mixed.

    `checkpoint` names a file that is written now and then and removed at the end: a run that was broken off goes on
    from it, to the same bytes. One of other tasks or another tuning is started over.
    """
    with threads(N_THREADS):
        torch.manual_seed(tuning.seed)
        run = Run(tasks, tuning)
        run.finish(checkpoint)
        return Tuned(_half(run.layers, tuning), {name: _copied(o) for name, o in run.outputs.items()})


def losses(tuned: Tuned, tasks: Sequence[Task], tuning: Tuning) -> dict[str, list[float]]:
    """The mean loss on each task's texts by its own output, and that of the constant answer that fits them best."""
    found = {}
    with threads(N_THREADS), torch.inference_mode():
        network, _ = _network(tuning, tuned)
        for task in tasks:
            held = tuned.outputs[task.name]
            output = nn.Linear(WIDTH * len(words.LAYERS), len(held["bias"]))
            output.load_state_dict(held)
            parts = [
                (float(_loss(t.kind, output(_pooled(network, ids)), torch.from_numpy(y))), len(y))
                for t, ids, y in _batches([task], tuning)
            ]
            told = sum(loss * n for loss, n in parts) / sum(n for _, n in parts)
            found[task.name] = [round(told, 4), round(_constant_loss(task), 4)]
    return found


def _network(tuning: Tuning, start: Tuned | None) -> tuple[nn.Module, dict[str, LowRankLinear]]:
    """The encoder with a change in each linear layer, and the changes by the layer's name."""
    network: nn.Module = load_network(find_encoder(), "bfloat16" if has_native_bfloat16() else "float32")
    network.requires_grad_(False)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    layers = {}
    for name in names:
        parent, _, own = name.rpartition(".")
        layers[name] = LowRankLinear(network.get_submodule(name), tuning)  # type: ignore[arg-type]
        if start:
            layers[name].inner.data = torch.from_numpy(start.tensors[f"{name}.in"]).float()
            layers[name].outer.data = torch.from_numpy(start.tensors[f"{name}.out"]).float() / tuning.scale
        setattr(network.get_submodule(parent), own, layers[name])
    return network, layers


class Run:
    """One tuning: the network with its changes, the tasks' outputs, the optimiser, and how far it got."""

    def __init__(self, tasks: Sequence[Task], tuning: Tuning) -> None:
        self.tuning, self.batches, self.n_done = tuning, list(_batches(tasks, tuning)), 0
        self.network, self.layers = _network(tuning, None)
        self.outputs = nn.ModuleDict({t.name: nn.Linear(WIDTH * len(words.LAYERS), _n_outputs(t)) for t in tasks})
        self.changes = [p for p in self.network.parameters() if p.requires_grad]
        rates = [tuning.rate, tuning.output_rate]
        groups = [{"params": self.changes}, {"params": list(self.outputs.parameters())}]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=tuning.decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            rates,
            total_steps=max(LEAST_STEPS, len(self.batches)),
            pct_start=tuning.warmup,
            anneal_strategy="linear",
        )

    def finish(self, checkpoint: Path | None) -> None:
        """Go on to the last batch, from the checkpoint where there is one of this very run."""
        if checkpoint and checkpoint.is_file():
            self._restore(torch.load(checkpoint, weights_only=True))
        for task, ids, y in self.batches[self.n_done :]:
            loss = self._step(task, ids, torch.from_numpy(y))
            if self.n_done % 50 == 0:
                Log.info("step %d of %d, %s: loss %.4f", self.n_done, len(self.batches), task.name, loss)
            self.n_done += 1
            if checkpoint and self.n_done % self.tuning.checkpoint_steps == 0:
                torch.save(self._state(), checkpoint.with_suffix(".part"))
                checkpoint.with_suffix(".part").replace(checkpoint)
        if checkpoint:
            checkpoint.unlink(missing_ok=True)

    def _step(self, task: Task, ids: Sequence[Sequence[int]], gold: Tensor) -> Tensor:
        pooled = functional.dropout(_pooled(self.network, ids), self.tuning.dropout)
        loss = _loss(task.kind, self.outputs[task.name](pooled), gold)
        self.optimiser.zero_grad()
        (task.weight * loss).backward()
        nn.utils.clip_grad_norm_(self.changes, 1.0)
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    def _state(self) -> dict[str, Any]:
        return {
            "of": self._name(),
            "n_done": self.n_done,
            "changes": self.changes,
            "outputs": self.outputs.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["of"] != self._name():
            return
        self.n_done = state["n_done"]
        for parameter, held in zip(self.changes, state["changes"], strict=True):
            parameter.data.copy_(held)
        self.outputs.load_state_dict(state["outputs"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        Log.info("going on from step %d of %d", self.n_done, len(self.batches))

    def _name(self) -> str:
        """A hash of all that decides what comes out."""
        found = hashlib.sha256(repr(self.tuning).encode())
        for task, ids, y in self.batches:
            found.update(repr((task.name, task.kind, task.weight, ids)).encode() + np.ascontiguousarray(y).tobytes())
        return found.hexdigest()


def _batches(tasks: Sequence[Task], tuning: Tuning) -> Iterator[tuple[Task, list[list[int]], NDArray[Any]]]:
    """Batches of one task and of like length each, in a mixed order."""
    draw, tokenizer = np.random.default_rng(tuning.seed), load_tokenizer(find_encoder())
    made = []
    for task in tasks:
        ids = [e.ids for e in tokenizer.encode_batch(list(task.texts))]
        order = np.concatenate([draw.permutation(len(ids)) for _ in range(math.ceil(task.passes))])
        seen = order[: round(task.passes * len(ids))]
        for pool in np.array_split(seen, max(1, len(seen) // (50 * tuning.batch))):
            near = sorted(pool, key=lambda k: len(ids[k]))
            made += [(task, ids, near[i : i + tuning.batch]) for i in range(0, len(near), tuning.batch)]
    for k in draw.permutation(len(made)):
        task, ids, rows = made[k]
        yield task, [ids[r] for r in rows], task.y[rows]


def _pooled(network: nn.Module, ids: Sequence[Sequence[int]]) -> Tensor:
    """The token averages of the appraiser's layers side by side, each brought to one scale."""
    longest = max(map(len, ids))
    x = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    states = network(input_ids=x, attention_mask=mask, output_hidden_states=True).hidden_states
    shown = mask.unsqueeze(-1).float()
    means = [(states[k].float() * shown).sum(1) / shown.sum(1) for k in words.LAYERS]
    return torch.cat([functional.layer_norm(m, (WIDTH,)) for m in means], dim=1)


def _loss(kind: str, out: Tensor, gold: Tensor) -> Tensor:
    if kind == "softmax":
        return functional.cross_entropy(out, gold)
    if kind == "sigmoid":
        # As large as a softmax's loss over as many labels.
        return functional.binary_cross_entropy_with_logits(out, gold.float(), reduction="none").sum(1).mean()
    known = torch.isfinite(gold)
    return functional.mse_loss(out[known], gold[known].float())


def _constant_loss(task: Task) -> float:
    if task.kind == "softmax":
        share = np.bincount(task.y) / len(task.y)
        return float(-np.log(share[task.y]).mean())
    usual = np.nanmean(task.y, axis=0)
    if task.kind == "sigmoid":
        p = np.clip(usual, 1e-6, 1 - 1e-6)
        return float(-(usual * np.log(p) + (1 - usual) * np.log(1 - p)).sum())
    return float(np.nanmean((task.y - usual) ** 2))


def _n_outputs(task: Task) -> int:
    return int(task.y.shape[1]) if task.y.ndim == 2 else int(task.y.max()) + 1


def _half(layers: Mapping[str, LowRankLinear], tuning: Tuning) -> dict[str, NDArray[np.float16]]:
    found = {}
    for name, layer in layers.items():
        found[f"{name}.in"] = layer.inner.detach().half().numpy()
        found[f"{name}.out"] = (tuning.scale * layer.outer.detach()).half().numpy()
    return found


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
