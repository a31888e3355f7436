"""Train the adapter that `affectgpt explain` ships: composed rows, the embedded model, LoRA.

    python -m instruction_data.rows --goemotions FOLDER --out DATA
    python -m finetune.explain --data DATA --out RUN --ship

The loss is taken on the answer alone. The same seed gives the same rows in the same order; on another processor the
last bits of the weights may differ.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter, embedded, models
from affectgpt.errors import OptionError
from affectgpt.records import Message

__all__ = ["Recipe", "main", "ship", "tokenize", "train"]

log = logging.getLogger(__name__)

ADAPTER = "explain-2"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was trained and how; it lies beside every result.

    `rank` 16 and `alpha` 32 on all seven projections are AffectGPT's settings; `learning_rate` is the usual one for
    LoRA on a model of this size, ten times that of full tuning. A step is `batch` rows side by side,
    `accumulate` times; `steps` 0 is one pass over the rows.
    """

    seed: int = 7
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    steps: int = 320
    batch: int = 4
    accumulate: int = 1
    max_length: int = 1536
    save_steps: int = 50


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False, start: Path | None = None) -> Path:
    """Train on `data`/train.jsonl, watch `data`/dev.jsonl, and seal the adapter folder `out`/adapter; returns it.

    `start` is an adapter folder whose weights are gone on from, with a fresh optimiser.
    """
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainingArguments

    # The softmax over 49,152 tokens of a model that has learned its form is mostly denormal, and those are slow. Set
    # before any work starts: threads take the setting from the one that makes them.
    torch.set_flush_denormal(True)
    base = embedded.folder()
    splits = {name: data / f"{name}.jsonl" for name in ("train", "dev")}
    tokenizer = models.load_tokenizer(base)
    rows = {name: [tokenize(row, tokenizer, recipe.max_length) for row in _read(path)] for name, path in splits.items()}
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=TARGETS,
        task_type="CAUSAL_LM",
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16")
    settings = TrainingArguments(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        train_sampling_strategy="sequential",
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_steps,
        num_train_epochs=1,
        max_steps=recipe.steps or -1,
        prediction_loss_only=True,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=recipe.save_steps,
        save_steps=recipe.save_steps,
        save_total_limit=3,
        seed=recipe.seed,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = _answer_trainer()(
        model=_adapted(model, lora, start),
        args=settings,
        train_dataset=_by_length(rows["train"], recipe),
        eval_dataset=rows["dev"],
        data_collator=_pad_right,
    )
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=resume)
    return _seal(trainer, recipe, base, out, splits, time.monotonic() - began)


def _adapted(model: Any, lora: Any, start: Path | None) -> Any:
    """The model with new low-rank matrices, or with those of `start`, every one of them."""
    from peft import get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    adapted = get_peft_model(model, lora)
    if start is not None:
        found = set_peft_model_state_dict(adapted, load_file(start / adapter.WEIGHTS))
        lacking = [name for name in found.missing_keys if "lora_" in name]
        if lacking or found.unexpected_keys:
            raise OptionError(f"{start} does not fit this recipe", "start from an adapter of the same rank")
    return adapted


def _answer_trainer() -> Any:
    """The library's Trainer with the loss computed at the answer's tokens only.

    The prompt is more than half of a row and takes no loss; its logits, 49,152 a token, need not be computed.
    """
    import torch
    from peft.helpers import disable_input_dtype_casting
    from transformers import Trainer

    class AnswerTrainer(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            causal = model.get_base_model()
            targets = inputs["labels"][:, 1:]
            kept = targets != -100
            # The adapter's float32 matrices are cast down; casting what goes through them up costs a quarter more time.
            with torch.autocast("cpu", dtype=torch.bfloat16), disable_input_dtype_casting(model):
                hidden = causal.model(input_ids=inputs["input_ids"]).last_hidden_state[:, :-1]
                logits = causal.lm_head(hidden[kept]).float()
            total = torch.nn.functional.cross_entropy(logits, targets[kept], reduction="sum")
            loss = total / (num_items_in_batch if num_items_in_batch is not None else kept.sum())
            return (loss, {}) if return_outputs else loss

    return AnswerTrainer


def tokenize(row: Mapping[str, Any], tokenizer: Any, max_length: int) -> dict[str, list[int]]:
    """Token ids of prompt and answer, and labels that leave out (-100) the prompt and the given opening.

    The prompt goes through the engines' own `chat_ids`, and the opening is cut off as they cut it, so that what is
    trained is what will be asked.

    Raises:
        OptionError: the row is longer than `max_length` tokens; a cut answer would teach to stop anywhere.
    """
    messages = [Message(m["role"], m["content"]) for m in row["prompt"]]
    written, opening = row["completion"][0]["content"], row["opening"]
    given, answer = (
        tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        for text in (opening, written[len(opening) :])
    )
    given, answer = models.chat_ids(tokenizer, messages) + given, [*answer, tokenizer.eos_token_id]
    if len(given) + len(answer) > max_length:
        raise OptionError(f"a row has {len(given) + len(answer)} tokens", f"raise --max-length above {max_length}")
    return {"input_ids": given + answer, "labels": [-100] * len(given) + answer}


def _by_length(rows: list[dict[str, list[int]]], recipe: Recipe) -> list[dict[str, list[int]]]:
    """The rows in random order, in batches of like length: shuffled, sorted in stretches of 16 batches, shuffled."""
    rng, stretch = random.Random(recipe.seed), 16 * recipe.batch
    rows = rng.sample(rows, len(rows))
    batches = []
    for at in range(0, len(rows), stretch):
        ordered = sorted(rows[at : at + stretch], key=lambda row: len(row["input_ids"]))
        batches += [ordered[i : i + recipe.batch] for i in range(0, len(ordered), recipe.batch)]
    # A short last batch would shift all behind it.
    whole = [b for b in batches if len(b) == recipe.batch]
    rest = [b for b in batches if len(b) < recipe.batch]
    return [row for batch in [*rng.sample(whole, len(whole)), *rest] for row in batch]


def _pad_right(rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Any]:
    """A batch without attention mask.

    Under causal attention no token sees the padding to its right, and no loss is taken there. A mask would keep the
    CPU from its fused causal kernel.
    """
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "labels": -100}
    return {k: torch.tensor([[*row[k], *[v] * (width - len(row[k]))] for row in rows]) for k, v in fill.items()}


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _seal(trainer: Any, recipe: Recipe, base: Path, out: Path, splits: dict[str, Path], seconds: float) -> Path:
    folder = out / "adapter"
    trainer.save_model(str(folder))
    for extra in folder.iterdir():
        if extra.name not in (adapter.WEIGHTS, adapter.CONFIG):
            extra.unlink()
    _shrink(folder)
    notes = {
        "recipe": asdict(recipe),
        "data_sha256": {k: sha256(v.read_bytes()).hexdigest() for k, v in splits.items()},
        "steps": trainer.state.global_step,
        "hours": round(seconds / 3600, 2),
        "commit": _commit(),
        "log": [e for e in trainer.state.log_history if "eval_loss" in e],
        "prompt": json.loads(splits["train"].read_text(encoding="utf-8").split("\n", 1)[0])["prompt_id"],
    }
    adapter.write_manifest(folder, ADAPTER, embedded.MODEL_ID, base, notes)
    return folder


def _shrink(folder: Path) -> None:
    """Weights in bfloat16, which the embedded model runs in anyway, and no path of this machine in the config."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = {name: w.to(torch.bfloat16).contiguous() for name, w in load_file(folder / adapter.WEIGHTS).items()}
    save_file(weights, folder / adapter.WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / adapter.CONFIG).read_text(encoding="utf-8")) | {"base_model_name_or_path": None}
    (folder / adapter.CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def ship(folder: Path) -> Path:
    """Put an adapter in the place of the one that the package carries; returns that place."""
    manifest = adapter.read_manifest(folder)
    place = Path(adapter.__file__).parent.parent / "weights" / "explain"
    place.mkdir(parents=True, exist_ok=True)
    for name in (adapter.WEIGHTS, adapter.CONFIG, adapter.MANIFEST):
        shutil.copyfile(folder / name, place / name)
    log.info("%s is the shipped adapter now", manifest.id)
    return place


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Command line: one option a field of the recipe."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl and dev.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the adapter")
    parser.add_argument("--ship", action="store_true", help="put the result in the place of the shipped adapter")
    parser.add_argument("--start", type=Path, help="an adapter folder to go on from")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args())
    data, out, resume, start, is_shipped = (given.pop(name) for name in ("data", "out", "resume", "start", "ship"))
    folder = train(Recipe(**given), data, out, resume, start)
    log.info("adapter in %s", folder)
    if is_shipped:
        ship(folder)


if __name__ == "__main__":
    main()
