"""Whole runs: what they leave behind, going on after a kill or a full disk, and when they end themselves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from trainings import row, tiny_recipe

from affectgpt.engines import adapter
from affectgpt.engines.engine import EngineOptions
from affectgpt.engines.local import LocalEngine
from affectgpt.errors import EngineError, OptionError
from affectgpt.prompting import PromptLibrary
from finetune.config import write_yaml
from finetune.train import train

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text("utf-8").splitlines()]


def course(run: Path, key: str = "loss") -> list[tuple[int, float]]:
    return [(h["step"], h[key]) for h in history(run) if key in h]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with answers judged twice."""
    tmp = tmp_path_factory.mktemp("finished")
    recipe = tiny_recipe(tmp, "llama", "smollm2-135m", *JUDGED)
    train(recipe)
    return tmp


LONGER = (
    "max_steps=6",
    "eval_steps=3",
    "save_steps=3",
    "dropout=0.1",
    "learning_rate=0.01",
    "accumulate=1",
    "epochs=9",
)


JUDGED = (*LONGER, "n_answers=2", "answer_tokens=6", "report_to=tensorboard")


def test_a_run_leaves_what_decided_it_beside_the_result(finished: Path) -> None:
    run = finished / "run"
    notes = json.loads((run / "run.json").read_text("utf-8"))
    assert notes["state"] == "finished"
    assert notes["steps"] == 6
    assert set(notes["data_sha256"]) == {"train", "dev"}
    assert {"torch", "trl", "peft", "transformers", "python"} <= set(notes["versions"])
    assert len(notes["commit"]) == 40
    assert notes["prompts"] == {f"explain {PromptLibrary().get('explain').version}": 12}
    assert 0 <= notes["metrics"]["parsed"] <= 1
    assert [s for s, _ in course(run)] == [1, 2, 3, 4, 5, 6]
    assert [s for s, _ in course(run, "eval_parsed")] == [3, 6]
    assert len(list((run / "answers").glob("look-*.jsonl"))) == 2
    for name in ("loss.png", "answers.png"):
        assert (run / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert list((run / "checkpoints").rglob("events.out.tfevents*"))
    assert (run / "adapter" / adapter.WEIGHTS).stat().st_mode & 0o044 == 0o044
    manifest = adapter.read_manifest(run / "adapter")
    assert manifest.id == "explain"
    assert manifest.notes["metrics"] == notes["metrics"]
    assert str(finished) not in (run / "adapter" / "adapter_config.json").read_text("utf-8")


def test_the_best_checkpoint_by_the_dev_rows_is_what_is_sealed(finished: Path) -> None:
    run = finished / "run"
    notes = json.loads((run / "run.json").read_text("utf-8"))
    looks = dict(course(run, "eval_loss"))
    assert notes["best_step"] == min(looks, key=lambda s: looks[s])
    best = run / "checkpoints" / f"checkpoint-{notes['best_step']}" / adapter.WEIGHTS
    assert best.read_bytes() == (run / "adapter" / adapter.WEIGHTS).read_bytes()


def test_the_sealed_adapter_answers_through_the_engine(finished: Path) -> None:
    engine = LocalEngine(EngineOptions(dtype="float32"), str(finished / "llama"), str(finished / "run" / "adapter"))
    assert engine.model == "llama+explain (float32)"


KILLED = """
import sys
from finetune.config import load_recipe
from finetune.train import train
train(load_recipe(sys.argv[1]), tell=lambda line: print(line, flush=True))
"""


def test_a_run_that_was_killed_goes_on_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(finished, "llama", "smollm2-135m", *JUDGED, f"out={tmp_path / 'run'}")
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe), "utf-8")
    command = [sys.executable, "-c", KILLED, tmp_path / "recipe.yaml"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seal = tmp_path / "run" / "checkpoints" / "checkpoint-3" / "whole.json"
    until = time.monotonic() + 240
    while not seal.is_file() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    told = child.communicate()[1].decode()
    assert seal.is_file(), told
    # A later checkpoint that was cut short, as a kill leaves it.
    half = tmp_path / "run" / "checkpoints" / "checkpoint-5"
    half.mkdir(exist_ok=True)
    (half / "trainer_state.json").write_text('{"global_step": 5')
    said: list[str] = []
    train(recipe, tell=said.append)
    assert "checkpoint-5 was cut short and is removed" in said
    assert "going on from checkpoint-3" in said
    for key in ("loss", "eval_loss", "grad_norm", "learning_rate"):
        assert course(tmp_path / "run", key) == course(finished / "run", key), key
    ours, theirs = (p / "adapter" / adapter.WEIGHTS for p in (tmp_path / "run", finished / "run"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_run_that_is_over_takes_no_step_more(finished: Path) -> None:
    recipe = tiny_recipe(finished, "llama", "smollm2-135m", *JUDGED)
    folder, said = finished / "run" / "adapter", list[str]()
    weights, manifest = (folder / adapter.WEIGHTS).read_bytes(), (folder / adapter.MANIFEST).read_text("utf-8")
    assert train(recipe, tell=said.append) == folder
    assert said == ["this run was over already; --fresh trains anew"]
    # Killed between the last step and the seal.
    (folder / adapter.MANIFEST).unlink()
    assert train(recipe) == folder
    assert (folder / adapter.WEIGHTS).read_bytes() == weights
    assert (folder / adapter.MANIFEST).read_text("utf-8") == manifest


def test_another_recipe_or_other_rows_do_not_go_on_with_a_run(finished: Path) -> None:
    recipe = tiny_recipe(finished, "llama", "smollm2-135m", *JUDGED, "rank=8")
    with pytest.raises(OptionError, match="holds a run with rank 16, now 8; name another out=, or give --fresh"):
        train(recipe)
    same = tiny_recipe(finished, "llama", "smollm2-135m", *JUDGED)
    rows = finished / "data" / "dev.jsonl"
    held = rows.read_text("utf-8")
    rows.write_text(held + json.dumps(row(99, 5)) + "\n", "utf-8")
    try:
        with pytest.raises(OptionError, match="over other rows"):
            train(same)
    finally:
        rows.write_text(held, "utf-8")


FULL = """
import resource, signal, sys
from finetune.config import load_recipe
from finetune.trainer import AnswerTrainer
from finetune.train import main
whole = AnswerTrainer._save_checkpoint
def fill_disk(self, *rest):
    if self.state.global_step > 1:
        # No file may grow beyond 20 kB from here on: what a full disk does to the next checkpoint.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return whole(self, *rest)
AnswerTrainer._save_checkpoint = fill_disk
sys.argv = ["train", *sys.argv[1:]]
main()
"""


def test_a_full_disk_is_named_and_the_run_goes_on_afterwards(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "llama", "smollm2-135m", "eval_steps=1", "save_steps=1", "rank=32")
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "recipe.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write a checkpoint" in done.stderr
    assert "goes on from the last whole checkpoint" in done.stderr
    said: list[str] = []
    train(recipe, tell=said.append)
    assert "going on from checkpoint-1" in said


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    wild = ("learning_rate=1e30", "schedule=constant", "max_grad_norm=1e30")
    long = ("max_steps=8", "eval_steps=8", "save_steps=8", "epochs=9")
    recipe = tiny_recipe(tmp_path, "llama", "smollm2-135m", *wild, *long)
    with pytest.raises(EngineError, match="lower learning_rate"):
        train(recipe)


def test_early_stop_counts_looks_without_a_better_one(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, "llama", "smollm2-135m", "learning_rate=0", "early_stop=2", "max_steps=9",
                         "eval_steps=1", "save_steps=1", "epochs=9")  # fmt: skip
    train(recipe)
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["steps"] == 3


def test_a_run_goes_on_from_another_adapters_weights(finished: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    first = finished / "run" / "adapter"
    one_step = ("max_steps=1", "eval_steps=1", "save_steps=1", "learning_rate=1e-6", "warmup_steps=0", "dropout=0.0")
    recipe = tiny_recipe(finished, "llama", "smollm2-135m", *one_step, f"start_from={first}", f"out={tmp_path / 'run'}")
    folder = train(recipe)
    before, after = (load_file(f / adapter.WEIGHTS) for f in (first, folder))
    moved = max((after[k] - before[k]).abs().max().item() for k in before)
    assert 0 < moved < 1e-4, "neither begun anew nor left as it was"
    assert {t.dtype for t in after.values()} == {torch.float32}
    manifest = adapter.read_manifest(folder)
    told = manifest.notes["started_from"]
    assert told == {"id": "explain", "weights_sha256": adapter.read_manifest(first).weights_sha256}
    assert str(first) not in (folder / adapter.MANIFEST).read_text("utf-8")


def test_an_adapter_of_another_shape_or_base_is_no_beginning(finished: Path, tmp_path: Path) -> None:
    given = (*LONGER, f"out={tmp_path / 'run'}")
    first = f"start_from={finished / 'run' / 'adapter'}"
    with pytest.raises(OptionError, match="rank"):
        train(tiny_recipe(finished, "llama", "smollm2-135m", *given, first, "rank=4"))
    with pytest.raises(OptionError, match="trained on"):
        train(
            tiny_recipe(finished, "llama", "smollm2-135m", *LONGER, "start_from=shipped", f"out={tmp_path / 'other'}")
        )
