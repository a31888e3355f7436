"""The folder of a stage: recipe, run.json, history and checkpoints as in `finetune.runs`, and the result, sealed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from affectgpt.errors import OptionError
from finetune import runs
from finetune.cards import commit
from finetune.config import as_row, write_yaml
from finetune.fusing.recipe import FusingRecipe, load_fusing_recipe

__all__ = ["ADAPTER", "FUSION", "FusingRun", "open_fusing_run"]

FUSION = "fusion"
"""The result with soft tokens: a fusion folder."""
ADAPTER = "adapter"
"""The result without: a LoRA adapter."""


class FusingRun(runs.Run):
    """One stage's folder."""

    recipe: FusingRecipe  # type: ignore[assignment]

    def begin(self, rows: Mapping[str, int], started_from: Mapping[str, str] | None) -> None:
        """Write the resolved recipe and what decides the result beside it."""
        self.notes |= {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": "running",
            "seed": self.recipe.seed,
            "data_sha256": runs.data_sha256(self.recipe),  # type: ignore[arg-type]
            "commit": commit(),
            "versions": runs.versions(),
            "machine": {"system": platform.platform(), "n_cpus": os.cpu_count()},
            "command": sys.argv[1:],
            "rows": dict(rows),
            "started_from": dict(started_from) if started_from else None,
        }
        (self.folder / "recipe.yaml").write_text(write_yaml(self.recipe, "The resolved recipe of this stage."), "utf-8")
        self._write_notes()

    def told(self) -> dict[str, Any]:
        """What the result's manifest says of how it was made: no path of the machine it was made on."""
        names = ("started_from", "data_sha256", "steps", "best_step", "metrics", "commit", "versions", "rows")
        hidden = ("model", "data", "out", "start_from")
        decided = {k: v for k, v in as_row(self.recipe).items() if k not in hidden}
        return {"recipe": decided, **{name: self.notes.get(name) for name in names}}

    def result(self) -> Path | None:
        """The sealed result of a run that is over."""
        return next((f for name in (FUSION, ADAPTER) if (f := self.folder / name).is_dir()), None)


def open_fusing_run(recipe: FusingRecipe, *, fresh: bool) -> FusingRun:
    """The folder `out`, new or with an unfinished run of the same recipe over the same rows.

    Raises:
        OptionError: another recipe, or other rows, trained there before, or the folder cannot be written.
    """
    folder = Path(recipe.out).expanduser()
    if fresh:
        for name in (*runs.MADE, FUSION):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    _check_same(recipe, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OptionError(f"cannot write to {folder}: {e.strerror}", "name another out=") from None
    return FusingRun(recipe, folder, True)  # type: ignore[arg-type]


def _check_same(recipe: FusingRecipe, folder: Path) -> None:
    held = folder / "recipe.yaml"
    if not held.is_file():
        return
    before = load_fusing_recipe(held)
    for f in fields(FusingRecipe):
        old, new = getattr(before, f.name), getattr(recipe, f.name)
        if f.name not in runs.FREE_TO_CHANGE and old != new:
            raise OptionError(
                f"{folder} holds a run with {f.name} {old!r}, now {new!r}", "name another out=, or give --fresh"
            )
    notes = runs._read_notes(folder)
    if notes and notes.get("data_sha256") != runs.data_sha256(recipe):  # type: ignore[arg-type]
        raise OptionError(
            f"{folder} holds a run over other rows than {recipe.data} has now", "give --fresh, or another out="
        )
