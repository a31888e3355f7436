"""From a recipe to a tokenizer, frozen weights and the adapter's shape: what trains and on what."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter, models
from affectgpt.errors import MissingDependency, ModelError, OptionError
from finetune import attention
from finetune.config import Recipe

__all__ = [
    "device_of",
    "load_base",
    "load_started",
    "load_tokenizer",
    "lora_config",
    "need_packages",
    "quiet",
    "started_folder",
    "step_settings",
]

UPSTREAM: tuple[tuple[type[Warning], str], ...] = (
    # peft 0.21 and TRL 1.16 name what transformers 5.23 calls activation checkpointing.
    (FutureWarning, r"`\w*gradient_checkpointing\w*` is deprecated"),
)
NF4_NEEDS_CUDA = (
    "nf4 on a CPU writes about 1.5 tokens a second, and an answer generated before training silently ruins the "
    "gradients",
    "train on a GPU, or set quantize=none",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that nobody can act on: one library of the chain that uses another's older name."""
    # bitsandbytes, which peft imports where it is installed, tells everybody of a kernel that it can do without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for category, pattern in UPSTREAM:
            warnings.filterwarnings("ignore", pattern, category)
        yield


def need_packages(*names: str, remedy: str = "pip install 'affectgpt[train]'") -> None:
    """Say what is missing before anything is loaded.

    Raises:
        MissingDependency: one of the packages is not installed.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingDependency(f"{missing[0]} is not installed", remedy)


def device_of() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def is_distributed() -> bool:
    """Whether this is one of several processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def check_device(recipe: Recipe, device: str, *, nf4_on_cpu: bool = False) -> None:
    """Refuse what this device cannot do well.

    `nf4_on_cpu` is for tests of the nf4 path alone.

    Raises:
        OptionError: the recipe needs another device.
    """
    if device == "cuda":
        return
    if recipe.quantize == "nf4" and not nf4_on_cpu:
        raise OptionError(*NF4_NEEDS_CUDA)
    if "8bit" in recipe.optimizer and not nf4_on_cpu:
        raise OptionError(f"optimizer={recipe.optimizer} needs CUDA", "set optimizer=adamw_torch")
    if recipe.attention == "flash_attention_2":
        raise OptionError("attention=flash_attention_2 needs CUDA", "set attention=auto")


def attention_name(recipe: Recipe, device: str) -> str:
    """The attention that `auto` stands for here, made known to transformers."""
    name = recipe.attention
    if name == "auto":
        name = "flash_attention_2" if device == "cuda" and find_spec("flash_attn") else attention.SEGMENTS
    return attention.register() if name == attention.SEGMENTS else name


def lora_config(recipe: Recipe) -> Any:
    """The adapter's shape as peft takes it."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
    )


def load_base(recipe: Recipe, place: str | Path, device: str) -> Any:
    """The frozen causal language model; safetensors only, no remote code.

    Raises:
        ModelError: none there, damaged, or out of reach.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    shape: dict[str, Any] = {}
    if recipe.quantize == "nf4":
        shape["quantization_config"] = _nf4()
        if device == "cuda":
            shape["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(place),
            revision=recipe.revision or "main",
            dtype=getattr(torch, recipe.dtype),
            use_safetensors=True,
            attn_implementation=attention_name(recipe, device),
            **shape,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
        reason = (str(e).strip() or type(e).__name__).splitlines()[0][:300]
        raise ModelError(f"cannot load model {recipe.model}: {reason}", "name a folder or a Hugging Face id") from e


def started_folder(recipe: Recipe) -> Path:
    """The folder that `start_from` names.

    Raises:
        OptionError: it says shipped, and this package carries no adapter.
    """
    if recipe.start_from != "shipped":
        return Path(str(recipe.start_from)).expanduser()
    folder = adapter.shipped()
    if folder is None:
        raise OptionError("start_from: this package carries no adapter", "name a folder")
    return folder


def load_started(recipe: Recipe, base: Any, place: str | Path) -> Any:
    """The base with the adapter that `start_from` names, to be trained on.

    Raises:
        OptionError: the adapter is of another base or shape. ModelError: it is damaged or missing.
    """
    from peft import PeftModel

    folder = started_folder(recipe)
    manifest = adapter.read_manifest(folder)
    if adapter.file_sha256(models.config_file(place)) != manifest.base_config_sha256:
        raise OptionError(
            f"start_from: adapter {manifest.id!r} was trained on {manifest.base_model!r}, not on {recipe.model!r}",
            "name its base as model",
        )
    held = json.loads((folder / adapter.CONFIG).read_text("utf-8"))
    found = held.get("r"), held.get("lora_alpha"), sorted(held.get("target_modules") or ())
    if found != (recipe.rank, recipe.alpha, sorted(recipe.targets)):
        raise OptionError(
            f"start_from: adapter {manifest.id!r} has rank {found[0]}, alpha {found[1]}, targets {', '.join(found[2])}",
            "give the recipe the same rank, alpha and targets",
        )
    return PeftModel.from_pretrained(base, str(folder), is_trainable=True)


def load_tokenizer(recipe: Recipe, place: str | Path) -> Any:
    """The tokenizer as inference has it, at the recipe's revision."""
    if recipe.revision and isinstance(place, str):
        from huggingface_hub import snapshot_download

        weights = ["*.safetensors", "*.bin", "*.pth", "*.gguf", "*.onnx"]
        place = Path(snapshot_download(place, revision=recipe.revision, ignore_patterns=weights))
    return models.load_tokenizer(place)


def _nf4() -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    need_packages("bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def step_settings(recipe: Any) -> dict[str, Any]:
    """What transformers' arguments take alike from every kind of recipe: steps, rates, looks, checkpoints, seeds."""
    return {
        "per_device_train_batch_size": recipe.batch,
        "per_device_eval_batch_size": recipe.batch,
        "gradient_accumulation_steps": recipe.accumulate,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_steps,
        "max_grad_norm": recipe.max_grad_norm,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "logging_steps": recipe.log_steps,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps",
        "eval_steps": recipe.eval_steps,
        "save_steps": recipe.save_steps,
        "save_total_limit": recipe.keep,
        "load_best_model_at_end": True,
        "restore_callback_states_from_checkpoint": bool(recipe.early_stop),
        "prediction_loss_only": True,
        "disable_tqdm": True,
    }
