"""transformers' Trainer over scenes: rows of like length together, rates of their own for adapters and LoRA.

Imports torch and transformers: import it where training is about to begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from finetune.fusing.recipe import FusingRecipe
from finetune.loading import device_of, step_settings
from finetune.trainer import telling_disk

__all__ = ["CountEpochs", "FusingTrainer", "optimizer", "settings"]


class FusingTrainer(Trainer):  # type: ignore[misc]
    """The loss is the model's own.

    lengths: the train rows' numbers of tokens · dev_collator: of the dev rows, from which nothing is dropped. A
    collator cannot tell by the model's mode: batches are made ahead, across a look at the dev rows too.
    """

    lengths: Sequence[int] = ()
    dev_collator: Callable[[Any], Any]

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The dev rows by their own collator."""
        held, self.data_collator = self.data_collator, self.dev_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = held

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss, a mean over the batch's labelled tokens; over batches that make up one step, their mean."""
        llm = getattr(self.accelerator.unwrap_model(model), "llm", None)
        # LoRA's float32 matrices are cast down; casting what goes through them up costs a quarter more time.
        # Activations that are computed twice are computed in the backward pass too, which stands outside of this.
        is_once = isinstance(llm, PeftModel) and not self.args.gradient_checkpointing
        casting = disable_input_dtype_casting(llm) if is_once else nullcontext()
        with casting:
            found = model(**inputs)
        return (found["loss"], found) if return_outputs else found["loss"]

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """The loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach().float(), None, None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return _Grouped(size, list(self.lengths), self.args.seed)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with telling_disk(self.args.output_dir):
            super()._save_checkpoint(model, trial)


class _Grouped(LengthGroupedSampler):  # type: ignore[misc]
    """Rows of like length together, in an order that the seed and the epoch decide alone: a resumed run has it too."""

    def __init__(self, size: int, lengths: list[int], seed: int) -> None:
        super().__init__(size, lengths=lengths, generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # Seeded here: whoever skips what was done before begins to read more than once.
        self.generator.manual_seed(self._seed * 100_003 + self._epoch)
        return iter(super().__iter__())


class CountEpochs(TrainerCallback):  # type: ignore[misc]
    """Tells the number of each epoch that begins, from 0."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell it."""
        self._tell(int(state.epoch or 0))


def optimizer(recipe: FusingRecipe, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over what learns: LoRA at its own rate; no decay on gains, biases and whatever else is no matrix."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(("lora_" in name, parameter.ndim >= 2), []).append(parameter)
    rates = {True: recipe.lora_learning_rate or recipe.learning_rate, False: recipe.learning_rate}
    return torch.optim.AdamW(
        [
            {"params": found, "lr": rates[is_lora], "weight_decay": recipe.weight_decay if is_matrix else 0.0}
            for (is_lora, is_matrix), found in groups.items()
        ]
    )


def settings(recipe: FusingRecipe, folder: str) -> TrainingArguments:
    """A recipe as transformers takes it."""
    return TrainingArguments(
        output_dir=folder,
        **step_settings(recipe),
        bf16=recipe.dtype == "bfloat16" and recipe.stage != "pretrain",
        gradient_checkpointing=recipe.gradient_checkpointing and recipe.stage != "pretrain",
        use_cpu=device_of() == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to=[],
    )
