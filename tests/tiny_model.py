"""A tiny random language model over bytes, an adapter of it, and the engine that answers with them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from affectgpt.engines import adapter as adapters
from affectgpt.engines import models
from affectgpt.engines.engine import EngineOptions, open_engine
from affectgpt.engines.local import LocalEngine

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def write_tiny(folder: Path, context_tokens: int = 256) -> Path:
    """A two-layer random Llama over bytes, with hidden generation settings, as some published folders have."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(kinds.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<s>", "</s>", "<pad>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context_tokens, initializer_range=0.5, eos_token_id=257,
        bos_token_id=256, pad_token_id=258,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    hidden = {"eos_token_id": 257, "repetition_penalty": 3.0, "do_sample": True, "top_k": 3, "temperature": 5.0}
    (folder / "generation_config.json").write_text(json.dumps(hidden))
    return folder


def opened(folder: Path, **options: Any) -> LocalEngine:
    """The local engine with a model of this module, in float32 where nothing else is said."""
    engine = open_engine(EngineOptions(engine="local", model=str(folder), **{"dtype": "float32", **options}), {})
    assert isinstance(engine, LocalEngine)
    return engine


def write_tuned(folder: Path, tiny: Path) -> Path:
    """A random LoRA adapter of the tiny model, sealed."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped = get_peft_model(models.load_model(tiny), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, weights in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.3)
    wrapped.save_pretrained(str(folder))
    adapters.write_manifest(folder, "tuned-1", "tiny", tiny, {"prompt": "explain 2"})
    return folder
