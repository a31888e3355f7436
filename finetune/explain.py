"""Train the adapter that `affectgpt explain` ships: composed rows, the embedded model, LoRA, TRL's SFTTrainer.

    python -m instruction_data.rows --goemotions FOLDER --out DATA
    python -m finetune.explain --data DATA --out RUN

The loss is taken on the answer alone. The same seed gives the same rows in the same order; on another processor the
last bits of the weights may differ.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter, embedded

__all__ = ["Recipe", "main", "train"]

log = logging.getLogger(__name__)

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was trained and how; it lies beside every result.

    `rank` 16 and `alpha` 32 on all seven projections are AffectGPT's settings; `learning_rate` is the usual one for
    LoRA on a model of this size, ten times that of full tuning. One row at a time: without padding the attention is
    plainly causal, for which the CPU has a fused kernel.
    """

    seed: int = 7
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    learning_rate: float = 8e-4
    warmup_steps: int = 20
    batch: int = 1
    accumulate: int = 8
    max_length: int = 1536
    save_steps: int = 60


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on `data`/train.jsonl, watch `data`/dev.jsonl, and seal the adapter folder `out`/adapter; returns it."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    base = embedded.folder()
    splits = {name: data / f"{name}.jsonl" for name in ("train", "dev")}
    rows = load_dataset("json", data_files={k: str(v) for k, v in splits.items()}, cache_dir=str(out / "cache"))
    rows = rows.select_columns(["prompt", "completion"])
    settings = SFTConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        num_train_epochs=1,
        max_length=recipe.max_length,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length",
        logging_steps=5,
        eval_strategy="steps",
        eval_steps=recipe.save_steps,
        save_steps=recipe.save_steps,
        save_total_limit=3,
        seed=recipe.seed,
        use_cpu=not _has_cuda(),
        bf16=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16"),
        args=settings,
        train_dataset=rows["train"],
        eval_dataset=rows["dev"],
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=TARGETS,
            task_type="CAUSAL_LM",
        ),
    )
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=resume)
    return _seal(trainer, recipe, base, out, splits, time.monotonic() - began)


def _seal(trainer: Any, recipe: Recipe, base: Path, out: Path, splits: dict[str, Path], seconds: float) -> Path:
    folder = out / "adapter"
    trainer.save_model(str(folder))
    for extra in folder.iterdir():
        if extra.name not in (adapter.WEIGHTS, adapter.CONFIG):
            extra.unlink()
    notes = {
        "recipe": asdict(recipe),
        "data_sha256": {k: sha256(v.read_bytes()).hexdigest() for k, v in splits.items()},
        "steps": trainer.state.global_step,
        "hours": round(seconds / 3600, 2),
        "commit": _commit(),
        "log": [e for e in trainer.state.log_history if "eval_loss" in e],
        "prompt": json.loads(splits["train"].read_text(encoding="utf-8").split("\n", 1)[0])["prompt_id"],
    }
    adapter.write_manifest(folder, "explain-1", embedded.MODEL_ID, base, notes)
    return folder


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def main() -> None:
    """Command line: one option a field of the recipe."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl and dev.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    data, out, resume = given.pop("data"), given.pop("out"), given.pop("resume")
    log.info("adapter in %s", train(Recipe(**given), data, out, resume))


if __name__ == "__main__":
    main()
