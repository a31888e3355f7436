"""Train a LoRA adapter by a recipe: `affectgpt finetune RECIPE key=value …`, or under accelerate.

    accelerate launch --config_file finetune/configs/accelerate/fsdp2.yaml -m finetune.train RECIPE key=value …

The loop is TRL's SFTTrainer. A folder that holds an unfinished run of the same recipe over the same rows is gone on
with from its last whole checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.engines import models
from affectgpt.errors import AffectError, OptionError
from finetune import exporting, preflight
from finetune.config import Recipe, load_recipe
from finetune.loading import (
    device_of,
    is_distributed,
    load_base,
    load_started,
    load_tokenizer,
    lora_config,
    need_packages,
    quiet,
    step_settings,
)
from finetune.rows import choose, encode, read_rows
from finetune.runs import Run, open_run

__all__ = ["main", "prepare", "train"]


@dataclass(frozen=True, slots=True)
class Doors:
    """What no recipe can ask for. `nf4_on_cpu` is for tests of the nf4 path alone."""

    nf4_on_cpu: bool = False


def train(
    recipe: Recipe,
    *,
    fresh: bool = False,
    tell: Callable[[str], None] | None = None,
    doors: Doors | None = None,
) -> Path:
    """Train, and give the sealed adapter folder, `out`/adapter.

    `fresh` removes an older run in `out` instead of going on with it. `tell` gets lines of progress.

    Raises:
        OptionError: bad rows, a recipe that does not fit this machine, or another run in `out`.
        ModelError: the base cannot be loaded. AffectError: a checkpoint cannot be written.
    """
    doors, tell = doors or Doors(), tell or (lambda _: None)
    need_packages("trl", "datasets")
    prepare(recipe.threads)
    with quiet():
        return _train(recipe, fresh, tell, doors)


def _train(recipe: Recipe, fresh: bool, tell: Callable[[str], None], doors: Doors) -> Path:
    run = open_run(recipe, fresh=fresh, is_main=_is_main())
    if is_distributed():
        from accelerate import PartialState

        # Nobody may look for checkpoints while the main process still clears them away.
        PartialState(cpu=device_of() == "cpu").wait_for_everyone()
    if over := run.over():
        tell("this run was over already; --fresh trains anew")
        return exporting.seal_again(recipe, run, over)
    with run.tokens() as sink:
        report = preflight.inspect(recipe, nf4_on_cpu=doors.nf4_on_cpu, take=sink)
    run.describe(report)
    if _is_main():
        for line in report.lines():
            tell(line)
    trainer = _trainer(recipe, run, tell)
    began = time.monotonic()
    start = run.resume_from(tell)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    run.finish(trainer.state, time.monotonic() - began)
    return exporting.seal(trainer, recipe, run)


def prepare(threads: int | None) -> None:
    """Set up this process for training: torch's threads (None leaves them), and no progress bars."""
    import datasets
    import numpy as np
    import torch

    if device_of() == "cpu":
        # numpy looks for the smallest denormal once, and complains where there is none.
        for kind in (np.float32, np.float64):
            np.finfo(kind)
        # The softmax over the vocabulary of a model that has learned its form is mostly denormal, and those are slow.
        # Set before any work starts: threads take the setting from the one that makes them.
        torch.set_flush_denormal(True)
    datasets.disable_progress_bars()
    if threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _trainer(recipe: Recipe, run: Run, tell: Callable[[str], None]) -> Any:
    from transformers import EarlyStoppingCallback, PrinterCallback

    from finetune.trainer import AnswerTrainer, Seal, Telling
    from finetune.writing import Examiner

    device = device_of()
    place = models.resolve(recipe.model)[1]
    tokenizer = load_tokenizer(recipe, place)
    model = load_base(recipe, place, device)
    trainer = AnswerTrainer(
        model=load_started(recipe, model, place) if recipe.start_from else model,
        args=_settings(recipe, run, device),
        train_dataset=run.dataset("train"),
        eval_dataset=run.dataset("dev"),
        processing_class=tokenizer,
        peft_config=None if recipe.start_from else lora_config(recipe),
        callbacks=[Seal(run.keep_history), Telling(tell)]
        + ([EarlyStoppingCallback(recipe.early_stop)] if recipe.early_stop else []),
    )
    trainer.remove_callback(PrinterCallback)
    if recipe.n_answers and _is_sharded(trainer):
        raise OptionError("answers cannot be written while the weights are sharded", "set n_answers=0")
    if recipe.n_answers:
        rows = read_rows(Path(recipe.data).expanduser() / "dev.jsonl")
        rows = (row for row in rows if len(encode(row, tokenizer).input_ids) <= recipe.max_length)
        chosen = list(choose(rows, recipe.tasks, recipe.n_answers, recipe.seed))
        trainer.look = Examiner(chosen, tokenizer, recipe.answer_tokens, run.folder / "answers")
    return trainer


def _is_sharded(trainer: Any) -> bool:
    kind = trainer.accelerator.distributed_type.value
    return kind in ("FSDP", "DEEPSPEED")


def _settings(recipe: Recipe, run: Run, device: str) -> Any:
    from trl import SFTConfig

    # Flat rows need no padding; `sdpa` and `eager` would attend across them without a mask.
    is_flat = recipe.packing or recipe.attention not in ("sdpa", "eager")
    best = f"eval_{recipe.best_by}"
    return SFTConfig(
        output_dir=str(run.checkpoints),
        **step_settings(recipe),
        max_length=recipe.max_length if recipe.packing else None,
        packing=recipe.packing,
        padding_free=is_flat,
        shuffle_dataset=recipe.packing,
        weight_decay=recipe.weight_decay,
        optim=recipe.optimizer,
        bf16=recipe.dtype == "bfloat16",
        gradient_checkpointing=recipe.gradient_checkpointing,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        metric_for_best_model=best,
        greater_is_better=recipe.best_by not in ("loss", "hallucinated"),
        report_to=list(recipe.report_to),
        run_name=recipe.name,
    )


def main() -> None:
    """Command line under `accelerate launch`: a recipe and overrides."""
    given = [a for a in sys.argv[1:] if not a.startswith("--")]
    flags = {a for a in sys.argv[1:] if a.startswith("--")}
    if not given or flags - {"--fresh"}:
        sys.exit("usage: python -m finetune.train RECIPE [key=value …] [--fresh]")
    try:
        folder = train(load_recipe(given[0], given[1:]), fresh="--fresh" in flags, tell=lambda s: print(s, flush=True))
    except AffectError as e:
        print(f"finetune: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    if _is_main():
        print(f"adapter in {folder}")


if __name__ == "__main__":
    main()
