"""Preflight: what is wrong is found before weights load, and the counts are counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trainings import row, tiny_recipe, write_data, write_rows
from typer.testing import CliRunner

from affectgpt.cli import app
from affectgpt.engines import embedded, models
from affectgpt.errors import MissingDependency, OptionError
from affectgpt.prompting import PromptLibrary
from finetune import sizing
from finetune.config import load_recipe
from finetune.loading import check_device
from finetune.preflight import inspect
from finetune.rows import Encoded, encode, read_rows

pytestmark = pytest.mark.slow


def test_a_clean_set_is_counted(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    taken: list[tuple[str, Encoded]] = []
    report = inspect(recipe, take=lambda name, e: taken.append((name, e)))
    tokenizer = models.load_tokenizer(embedded.folder())
    lengths = [len(encode(r, tokenizer).input_ids) for r in read_rows(tmp_path / "data" / "train.jsonl")]
    assert report.train.lengths == lengths == [len(e.input_ids) for name, e in taken if name == "train"]
    assert report.train.n_answer == sum(e.n_answer for name, e in taken if name == "train")
    assert (report.train.quantile(1.0), report.train.tasks, len(report.dev.lengths)) == (
        max(lengths),
        {"explain": 12},
        4,
    )
    assert report.train.prompts == {f"explain {PromptLibrary().get('explain').version}": 12}
    assert report.warnings == ()
    text = "\n".join(report.lines())
    assert "12 rows (explain 12)" in text
    assert "steps: 2" in text


def test_bad_rows_are_named_together_and_the_rest_counted(tmp_path: Path) -> None:
    rows = [row(i) for i in range(20)]
    for i in range(3, 15):
        rows[i]["opening"] = "nothing that it begins with"
    write_data(tmp_path / "data")
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    with pytest.raises(OptionError, match=r"12 bad rows: train.jsonl row 4: the answer does not begin") as caught:
        inspect(tiny_recipe(tmp_path))
    assert "and 4 more" in str(caught.value)


def test_long_rows_are_refused_dropped_or_cut_and_counted(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"train.jsonl row 1 has 3\d\d tokens, \d+ more than max_length"):
        inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", "max_length=100"))
    lengths = inspect(tiny_recipe(tmp_path)).train.lengths
    middle = sorted(lengths)[6]
    dropped = inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", f"max_length={middle}", "too_long=drop"))
    assert dropped.train.n_dropped == sum(n > middle for n in lengths)
    cut = inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", f"max_length={middle}", "too_long=cut"))
    assert max(cut.train.lengths) <= middle
    assert "teach to stop anywhere" in " ".join(cut.warnings)
    with pytest.raises(OptionError, match=r"no row of .* is left"):
        inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", "max_length=20", "too_long=drop"))
    with pytest.raises(OptionError, match=r"no row of .* is left"):
        inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", "tasks=label"))


def test_dev_rows_that_stand_in_train_are_told(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    write_rows(tmp_path / "data" / "dev.jsonl", [row(0, 0), row(1, 0), row(0, 1)])
    assert inspect(recipe).warnings[0].startswith("2 dev prompts stand in train too")


def test_targets_that_are_no_layers_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="targets nothing do not fit"):
        inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", "targets=nothing"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("quantize=nf4", "silently ruins the gradients; train on a GPU"),
        ("optimizer=paged_adamw_8bit", "needs CUDA"),
        ("attention=flash_attention_2", "needs CUDA"),
    ],
)
def test_what_only_a_gpu_can_do_is_refused_on_a_cpu(override: str, told: str) -> None:
    recipe = load_recipe("smollm2-135m", [override])
    with pytest.raises(OptionError, match=told):
        check_device(recipe, "cpu")
    check_device(recipe, "cuda")


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="wandb is not installed; pip install wandb"):
        inspect(tiny_recipe(tmp_path, "llama", "smollm2-135m", "report_to=wandb"))


def test_parameters_are_those_of_the_real_model(tmp_path: Path) -> None:
    import torch
    from peft import get_peft_model

    from finetune.loading import load_base, lora_config, quiet

    recipe = tiny_recipe(tmp_path)
    shape = sizing.shape_of(recipe, tmp_path / "llama")
    model = load_base(recipe, tmp_path / "llama", "cpu")
    assert shape.n_base == sum(p.numel() for p in model.parameters())
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    assert shape.n_linear == sum(m.weight.numel() for m in linear)
    with quiet():
        wrapped = get_peft_model(model, lora_config(recipe))
    assert shape.n_adapter == sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


def test_packs_are_counted_as_trl_packs_them() -> None:
    import random

    import datasets
    from trl import pack_dataset

    rng = random.Random(3)
    lengths = [rng.randint(1, 300) for _ in range(1500)]
    rows = datasets.Dataset.from_dict({"input_ids": [[1] * n for n in lengths]})
    assert sizing.count_packs(lengths, 256) == len(pack_dataset(rows, 256, "bfd"))


def test_more_means_more() -> None:
    small = sizing.Shape(10**8, 8 * 10**7, 10**6, 30, 576, 1536, 192, 49152)
    large = sizing.Shape(7 * 10**9, 65 * 10**8, 4 * 10**7, 28, 3584, 18944, 512, 152064)
    recipe, lengths = load_recipe("qwen2.5-7b"), [500] * 400
    need = sizing.need(recipe, large, lengths, 80_000, 1e14)
    assert need.memory_bytes > sizing.need(recipe, small, lengths, 80_000, 1e14).memory_bytes
    assert need.seconds > sizing.need(recipe, large, lengths[:100], 20_000, 1e14).seconds
    kept = sizing.need(load_recipe("qwen2.5-7b", ["gradient_checkpointing=false"]), large, lengths, 80_000, 1e14)
    assert kept.memory_bytes > need.memory_bytes
    assert kept.seconds < need.seconds
    four_bits = sizing.need(load_recipe("qwen2.5-7b", ["quantize=nf4"]), large, lengths, 80_000, 1e14)
    # 6.5 billion weights at 2 bytes against about half of one.
    assert need.memory_bytes - four_bits.memory_bytes == pytest.approx(65e8 * (2 - 0.516), rel=0.01)


def run(*given: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["finetune", *given])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_line_names_the_nearest_key_and_exits_2() -> None:
    code, _, told = run("smollm2-135m", "lerning_rate=1")
    assert (code, told.count("\n")) == (2, 1)
    assert "did you mean learning_rate?" in told
    code, _, told = run("check", "no-such-preset")
    assert code == 2
    assert "the presets are" in told


def test_keys_and_presets_are_listed() -> None:
    code, shown, _ = run("keys")
    assert code == 0
    assert "learning_rate=0.001\n    Peak learning rate." in shown
    assert "qwen2.5-7b-qlora" in shown


def test_check_and_train_by_the_command_line(tmp_path: Path) -> None:
    from finetune.config import write_yaml

    recipe = tiny_recipe(tmp_path)
    (tmp_path / "mine.yaml").write_text(write_yaml(recipe), "utf-8")
    code, shown, _ = run("check", str(tmp_path / "mine.yaml"))
    assert code == 0
    assert "steps: 2" in shown
    assert not (tmp_path / "run").exists()
    code, shown, told = run(str(tmp_path / "mine.yaml"), "rank=2")
    assert code == 0, told
    assert shown.strip() == str(tmp_path / "run" / "adapter")
    assert "step 2 of 2" in told
    manifest = json.loads((tmp_path / "run" / "adapter" / "manifest.json").read_text("utf-8"))
    assert manifest["notes"]["recipe"]["rank"] == 2
