"""The folder of a training: what decided it, how far it is, and where its pieces lie.

recipe.yaml    the resolved recipe            tokens/       encoded rows, made anew each time
run.json       versions, data, machine, state checkpoints/  whole ones carry whole.json
history.jsonl  every log of the trainer       answers/      what was written at each look
loss.png, answers.png                         adapter/      the result, sealed
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter
from affectgpt.errors import OptionError
from affectgpt.versions import own_version
from finetune.cards import commit
from finetune.config import Recipe, load_recipe, write_yaml
from finetune.loading import started_folder
from finetune.preflight import Report
from finetune.rows import Encoded, file_sha256

__all__ = ["Run", "open_run", "versions"]

FREE_TO_CHANGE = {"keep", "report_to", "threads", "out"}
"""Keys that change nothing that was computed, so that a run may go on with other values."""
MADE = (
    "recipe.yaml",
    "run.json",
    "history.jsonl",
    "loss.png",
    "answers.png",
    "checkpoints",
    "answers",
    "adapter",
)
DISTRIBUTIONS = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "tokenizers",
    "numpy",
)


@dataclass(frozen=True, slots=True)
class Over:
    """A training that took its last step: the trainer's state then, and the checkpoint that is its result."""

    state: Any
    best: Path


class Run:
    """One training's folder. Only the main process writes."""

    def __init__(self, recipe: Recipe, folder: Path, is_main: bool) -> None:
        self.recipe, self.folder, self.is_main = recipe, folder, is_main
        self.checkpoints = folder / "checkpoints"
        self.notes: dict[str, Any] = {}

    @contextmanager
    def tokens(self) -> Iterator[Callable[[str, Encoded], None]]:
        """Somewhere to put encoded rows; whole files by the end of the block, or none."""
        import datasets
        from datasets.arrow_writer import ArrowWriter

        folder = self._tokens()
        folder.mkdir(parents=True, exist_ok=True)
        ids = datasets.List(datasets.Value("int32"))
        shape = datasets.Features({"input_ids": ids, "labels": ids})
        paths = {name: folder / f"{name}.arrow" for name in ("train", "dev")}
        writers = {name: ArrowWriter(path=f"{path}.part", features=shape) for name, path in paths.items()}
        try:
            yield lambda name, e: writers[name].write({"input_ids": e.input_ids, "labels": e.labels})
            for name, writer in writers.items():
                # A writer that was given no row has no file to finish.
                writer.finalize()
                Path(f"{paths[name]}.part").replace(paths[name])
        finally:
            for writer in writers.values():
                writer.close()

    def dataset(self, split: str) -> Any:
        """The rows of one split, read from disk as they are needed."""
        import datasets

        return datasets.Dataset.from_file(str(self._tokens() / f"{split}.arrow"))

    def _tokens(self) -> Path:
        # Every process encodes for itself: none waits for another's file.
        rank = int(os.environ.get("RANK", "0"))
        return self.folder / "tokens" / f"process-{rank}"

    def describe(self, report: Report) -> None:
        """Write the resolved recipe and what decides the result beside it."""
        self.notes |= {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": "running",
            "seed": self.recipe.seed,
            "data_sha256": data_sha256(self.recipe),
            "commit": commit(),
            "versions": versions(),
            "machine": {"system": platform.platform(), "device": report.device, "n_cpus": os.cpu_count()},
            "command": sys.argv[1:],
            "rows": {"train": len(report.train.lengths), "dev": len(report.dev.lengths)},
            "started_from": _started_from(self.recipe),
            "tasks": dict(report.train.tasks),
            "prompts": dict(report.train.prompts),
            "expected": {"steps": report.need.n_steps, "seconds": round(report.need.seconds),
                         "memory_bytes": round(report.need.memory_bytes)},
        }  # fmt: skip
        if self.is_main:
            _write(self.folder / "recipe.yaml", write_yaml(self.recipe, "The resolved recipe of this run."))
            self._write_notes()

    def resume_from(self, tell: Callable[[str], None]) -> Path | None:
        """The last whole checkpoint, once those that were cut short are gone."""
        from finetune.trainer import last_whole

        start, broken = last_whole(self.checkpoints)
        for folder in broken:
            if self.is_main:
                tell(f"{folder.name} was cut short and is removed")
                shutil.rmtree(folder, ignore_errors=True)
        if start and self.is_main:
            tell(f"going on from {start.name}")
        return start

    def keep_history(self, state: Any) -> None:
        """Write every log so far, and the curves."""
        from finetune.plots import plot

        _write(self.folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in state.log_history))
        plot(state.log_history, self.folder)

    def over(self) -> Over | None:
        """What a training left that took its last step, whether or not it came to seal it; None where it goes on."""
        from transformers import TrainerState

        from finetune.trainer import last_whole

        last, _ = last_whole(self.checkpoints)
        if last is None:
            return None
        state = TrainerState.load_from_json(str(last / "trainer_state.json"))
        control = state.stateful_callbacks.get("TrainerControl") or {}
        is_stopped = bool((control.get("args") or {}).get("should_training_stop"))
        if state.global_step < state.max_steps and not is_stopped:
            return None
        self.notes = _read_notes(self.folder)
        best = self.checkpoints / Path(state.best_model_checkpoint or last).name
        return Over(state, best)

    def finish(self, state: Any, seconds: float) -> None:
        """Write history and plots, and that the run is over."""
        if not self.is_main:
            return
        self.keep_history(state)
        self.notes |= {
            "state": "finished",
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps": state.global_step,
            "seconds_here": round(seconds, 1),
            "best_step": _step_of(state.best_model_checkpoint),
            "metrics": best_metrics(state.log_history, _step_of(state.best_model_checkpoint)),
        }
        self._write_notes()

    def _write_notes(self) -> None:
        _write(self.folder / "run.json", json.dumps(self.notes, indent=2) + "\n")


def open_run(recipe: Recipe, *, fresh: bool, is_main: bool = True) -> Run:
    """The folder `out`, new or with an unfinished run of the same recipe over the same rows.

    Raises:
        OptionError: another recipe, or other rows, trained there before.
    """
    folder = Path(recipe.out).expanduser()
    if fresh and is_main:
        for name in MADE:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if is_main and not fresh:
        _check_same(recipe, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OptionError(f"cannot write to {folder}: {e.strerror}", "name another out=") from None
    return Run(recipe, folder, is_main)


def data_sha256(recipe: Recipe) -> dict[str, str]:
    """Hashes of the two files of rows."""
    folder = Path(recipe.data).expanduser()
    paths = {name: folder / f"{name}.jsonl" for name in ("train", "dev")}
    return {name: file_sha256(path) for name, path in paths.items() if path.is_file()}


def best_metrics(history: list[dict[str, Any]], step: int | None) -> dict[str, float]:
    """What was measured on the dev rows at this step, or last."""
    looks = [row for row in history if "eval_loss" in row]
    chosen = next((row for row in looks if row["step"] == step), looks[-1] if looks else {})
    skipped = ("runtime", "per_second", "num_tokens", "entropy")
    # Sorted, as a state that was read back has them.
    return {
        k.removeprefix("eval_"): v
        for k, v in sorted(chosen.items())
        if k.startswith("eval_") and not k.endswith(skipped)
    }


def versions() -> dict[str, str]:
    """Versions of everything that a training passes through."""
    found = {"affectgpt": own_version(), "python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _check_same(recipe: Recipe, folder: Path) -> None:
    held = folder / "recipe.yaml"
    if not held.is_file():
        return
    before = load_recipe(held)
    for f in fields(Recipe):
        old, new = getattr(before, f.name), getattr(recipe, f.name)
        if f.name not in FREE_TO_CHANGE and old != new:
            raise OptionError(
                f"{folder} holds a run with {f.name} {old!r}, now {new!r}", "name another out=, or give --fresh"
            )
    notes = _read_notes(folder)
    if notes and notes.get("data_sha256") != data_sha256(recipe):
        raise OptionError(
            f"{folder} holds a run over other rows than {recipe.data} has now", "give --fresh, or another out="
        )


def _read_notes(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "run.json").read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _started_from(recipe: Recipe) -> dict[str, str] | None:
    """Id and hash of the adapter whose weights this run began with."""
    if not recipe.start_from:
        return None
    manifest = adapter.read_manifest(started_folder(recipe))
    return {"id": manifest.id, "weights_sha256": manifest.weights_sha256}


def _step_of(checkpoint: str | None) -> int | None:
    return int(checkpoint.rpartition("-")[2]) if checkpoint else None


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)
