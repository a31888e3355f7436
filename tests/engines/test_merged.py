"""Merged models in the cache: whole, found again, made anew when the adapter changes, and none of another base."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from affectgpt.engines import adapter, merged, models
from affectgpt.errors import ModelError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    vocabulary = {c: i for i, c in enumerate(["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=258, num_attention_heads=2, eos_token_id=1, pad_token_id=0, **sizes)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sealed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA whose weights are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapters") / "tiny-lora"
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        get_peft_model(models.load_model(base), config).save_pretrained(folder)
    adapter.write_manifest(folder, "tiny-lora", base.name, base, {})
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFFECTGPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_made_once_and_holds_base_plus_adapter(base: Path, sealed: Path, cache: Path) -> None:
    import torch

    folder = merged.merged_folder(sealed, str(base))
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert folder.name.startswith("tiny+tiny-lora-")
    assert merged.merged_folder(sealed, str(base)) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    expected, _ = adapter.merge(models.load_model(base), sealed, base.name, base / "config.json")
    found = models.load_model(folder).state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found[name], tensor.to(torch.bfloat16).float()), name
    assert json.loads((folder / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    assert models.load_tokenizer(folder).chat_template
    assert json.loads((folder / merged.NOTES).read_text("utf-8"))["merged"] == "tiny-lora"


def test_a_changed_adapter_is_merged_anew_and_the_older_goes(
    base: Path, sealed: Path, cache: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(sealed, tmp_path / "lora")
    first = merged.merged_folder(copy, str(base))
    tensors = {name: tensor * 2 for name, tensor in load_file(copy / adapter.WEIGHTS).items()}
    save_file(tensors, copy / adapter.WEIGHTS, metadata={"format": "pt"})
    adapter.write_manifest(copy, "tiny-lora", base.name, base, {})
    second = merged.merged_folder(copy, str(base))
    assert second != first
    assert [path.name for path in second.parent.iterdir() if path.is_dir()] == [second.name]


def test_an_adapter_of_another_base_leaves_nothing(base: Path, sealed: Path, cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "config.json").read_text("utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}), "utf-8")
    with pytest.raises(ModelError, match="does not fit"):
        merged.merged_folder(sealed, str(other))
    shelf = cache / "models" / "merged"
    assert [path.name for path in shelf.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_a_model_error(base: Path, sealed: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(ModelError, match="AFFECTGPT_CACHE"):
        merged.merged_folder(sealed, str(base))
