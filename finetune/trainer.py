"""TRL's SFTTrainer with three things added.

A loss at the answers alone on a CPU, answers written and judged at every look at the dev rows, and checkpoints that are
whole or not there.

Imports torch and TRL: import it where training is about to begin.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from transformers import TrainerCallback
from trl import SFTTrainer

from affectgpt.errors import AffectError, EngineError
from finetune.rows import IGNORED

__all__ = ["WHOLE", "AnswerTrainer", "Seal", "Telling", "last_whole", "telling_disk"]

WHOLE = "whole.json"
"""Written last into a checkpoint: the sizes of its files. A folder without it was cut short."""

Look = Callable[[Any], Mapping[str, float]]
"""From the model in training to figures of the answers it writes."""


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that computes logits where a loss is taken.

    On a GPU TRL's own kernel skips the prompt; elsewhere it scores every position, and the prompt is more than half
    of a row.
    """

    look: Look | None = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the tokens that are labelled."""
        if not self._is_one_cpu or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {k: v for k, v in inputs.items() if k != "labels"}
        targets = inputs["labels"][:, 1:]
        labelled = targets != IGNORED
        columns = labelled.any(0).nonzero().flatten()
        # The adapter's float32 matrices are cast down; casting what goes through them up costs a quarter more time.
        with disable_input_dtype_casting(self.accelerator.unwrap_model(model)):
            logits = model(**given, use_cache=False, logits_to_keep=columns).logits
        targets = targets[:, columns]
        kept = labelled[:, columns]
        logits, targets = (logits[0], targets[0]) if kept.all() and len(kept) == 1 else (logits[kept], targets[kept])
        total = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
        self._count(inputs, logits, targets)
        return total / (num_items_in_batch if num_items_in_batch is not None else max(1, len(targets)))

    @property
    def _is_one_cpu(self) -> bool:
        return self.args.device.type == "cpu" and self.accelerator.num_processes == 1

    def _count(self, inputs: Any, logits: Any, targets: Any) -> None:
        mode = "train" if self.model.training else "eval"
        hits = (logits.detach().argmax(-1) == targets).float().mean() if len(targets) else torch.tensor(0.0)
        self._metrics[mode]["mean_token_accuracy"].append(hits.item())
        if mode == "train":
            mask = inputs.get("attention_mask")
            self._total_train_tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The loss on the dev rows, and figures of the answers that are written to some of them."""
        out = super().evaluation_loop(*args, **kwargs)
        if self.look is not None:
            found = self.look(self.accelerator.unwrap_model(self.model))
            out.metrics.update({f"{kwargs.get('metric_key_prefix', 'eval')}_{k}": v for k, v in found.items()})
        return out

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: the card is written at the export, with what was measured."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with telling_disk(self.args.output_dir):
            super()._save_checkpoint(model, trial)


@contextmanager
def telling_disk(folder: str) -> Iterator[None]:
    """Writing a checkpoint in `folder`. Raises AffectError, with the room that is left, where that fails."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as e:
        free = shutil.disk_usage(folder).free
        raise AffectError(
            f"cannot write a checkpoint to {folder} ({free / 1e6:.0f} MB free): "
            f"{(str(e).strip() or type(e).__name__).splitlines()[0][:200]}",
            "make room; the same command then goes on from the last whole checkpoint",
        ) from e


class Seal(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as whole once every file of it is written; `after` then gets the trainer's state."""

    def __init__(self, after: Callable[[Any], None] | None = None) -> None:
        self._after = after

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the sizes of its files, last and in one piece."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        part = folder / f"{WHOLE}.part"
        part.write_text(json.dumps({p.name: p.stat().st_size for p in folder.iterdir() if p.is_file() and p != part}))
        part.replace(folder / WHOLE)
        if self._after:
            self._after(state)


def last_whole(checkpoints: Path) -> tuple[Path | None, list[Path]]:
    """The newest checkpoint whose files are all there in full, and those that were cut short."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    broken = [p for p in found if not _is_whole(p)]
    whole = [p for p in found if p not in broken]
    return (whole[-1] if whole else None), broken


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / WHOLE).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items() if name != WHOLE)
    except (OSError, ValueError, AttributeError):
        return False


class Telling(TrainerCallback):  # type: ignore[misc]
    """One line a log, with the time left; ends a training whose loss is no number any more."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        import time

        self._tell, self._clock, self._began, self._first = tell, time.monotonic, 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._began, self._first = self._clock(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Tell, and stop at NaN."""
        logs = logs or {}
        if not math.isfinite(logs.get("loss", 0.0)):
            raise EngineError(
                f"the loss is {logs['loss']} at step {state.global_step}", "lower learning_rate, or raise warmup_steps"
            )
        done = state.global_step - self._first
        shown = {k: v for k, v in logs.items() if k.removeprefix("eval_") in _SHOWN}
        if state.is_world_process_zero and shown:
            each = (self._clock() - self._began) / max(1, done)
            left = each * (state.max_steps - state.global_step)
            told = ", ".join(f"{k} {float(v):.4g}" for k, v in shown.items())
            self._tell(
                f"step {state.global_step} of {state.max_steps}: {told}; {each:.1f} s a step, {left / 60:.0f} min left"
            )


_SHOWN = {"loss", "learning_rate", "parsed", "label_f1", "supported", "hallucinated", "covered", "exact"}
