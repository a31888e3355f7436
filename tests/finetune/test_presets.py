"""Each preset takes one real step on a tiny random-weight model of its architecture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainings import tiny_recipe

from affectgpt.engines import adapter
from affectgpt.engines.engine import EngineOptions
from affectgpt.engines.local import LocalEngine
from affectgpt.errors import OptionError
from finetune.config import write_yaml
from finetune.train import Doors, train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("preset", "kind", "change"),
    [
        ("smollm2-135m", "llama", ("dtype=bfloat16", "n_answers=1", "answer_tokens=4")),
        ("qwen2.5-7b", "qwen2", ("dtype=bfloat16",)),
        ("qwen3-8b", "qwen3", ()),
        ("affectgpt", "qwen2", ()),
        ("qwen2.5-7b-fsdp2", "qwen2", ()),
    ],
)
def test_each_preset_takes_a_real_step(tmp_path: Path, preset: str, kind: str, change: tuple[str, ...]) -> None:
    recipe = tiny_recipe(tmp_path, kind, preset, "max_steps=1", "eval_steps=1", "save_steps=1", *change)
    folder = train(recipe)
    assert adapter.read_manifest(folder).notes["steps"] == 1
    assert _has_learned(folder)


def test_qlora_takes_a_real_step_through_the_tests_own_door(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, "qwen2", "qwen2.5-7b-qlora", "max_steps=1", "eval_steps=1", "save_steps=1", "dtype=bfloat16",
        "optimizer=adamw_torch",
    )  # fmt: skip
    with pytest.raises(OptionError, match="nf4 on a CPU writes about"):
        train(recipe)
    assert _has_learned(train(recipe, doors=Doors(nf4_on_cpu=True)))


def _has_learned(folder: Path) -> bool:
    from safetensors.torch import load_file

    return all(bool(v.any()) for k, v in load_file(folder / adapter.WEIGHTS).items() if "lora_B" in k)


def test_fsdp2_takes_a_real_step_as_two_gloo_processes_under_accelerate(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "qwen2", "qwen2.5-7b-fsdp2", "max_steps=1", "eval_steps=1", "save_steps=1")
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe), "utf-8")
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", ROOT / "finetune" / "configs" / "accelerate" / "fsdp2.yaml",
        "--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0",
        ROOT / "tests" / "finetune" / "fsdp_on_cpu.py", tmp_path / "recipe.yaml",
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "distributed: FSDP, 2 processes, sharded" in done.stdout
    folder = tmp_path / "run" / "adapter"
    assert _has_learned(folder)
    # Whole matrices, not one process' share: the engine takes it.
    engine = LocalEngine(EngineOptions(dtype="float32"), str(tmp_path / "qwen2"), str(folder))
    assert engine.model.startswith("qwen2+qwen2.5-7b-explain")


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_the_accelerate_files_are_read_by_accelerate(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "finetune" / "configs" / "accelerate" / f"{name}.yaml"))
    assert config.mixed_precision == "bf16"
    assert config.distributed_type.value == {"fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    else:
        assert config.deepspeed_config["zero_stage"] == 3
