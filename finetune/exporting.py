"""What leaves a training: a sealed adapter folder, a full model with the adapter merged in, or a folder to hand on."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter, embedded, merged, models
from affectgpt.errors import AffectError, ModelError, OptionError
from finetune.config import Recipe, as_row
from finetune.runs import Over, Run

__all__ = ["CARD", "STORED", "base_of", "export", "merge", "seal", "seal_again"]

CARD = "README.md"
DATA_CARD = "data_card.md"
PART = ".adapter.part"
STORED = ("bfloat16", "float16", "float32")
"""Number types that an exported adapter's weights may be stored in."""


def seal(trainer: Any, recipe: Recipe, run: Run) -> Path:
    """Write the adapter folder with manifest and card; every process must call this, the main one writes.

    The folder appears whole, by a rename.
    """
    part = run.folder / PART
    if run.is_main:
        shutil.rmtree(part, ignore_errors=True)
    trainer.save_model(str(part))
    if run.is_main:
        _finish(part, recipe, run, getattr(trainer.model.config, "_commit_hash", None))
    trainer.accelerator.wait_for_everyone()
    return run.folder / "adapter"


def seal_again(recipe: Recipe, run: Run, over: Over) -> Path:
    """The adapter of a run that was over; made from its best checkpoint where it was not sealed any more."""
    target = run.folder / "adapter"
    try:
        adapter.read_manifest(target)
        return target
    except ModelError:
        part = run.folder / PART
        if run.is_main:
            run.finish(over.state, 0.0)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for name in (adapter.WEIGHTS, adapter.CONFIG):
                shutil.copyfile(over.best / name, part / name)
            _finish(part, recipe, run, None)
        return target


def _finish(part: Path, recipe: Recipe, run: Run, revision: str | None) -> None:
    """From peft's files to a sealed folder in its place."""
    for extra in part.iterdir():
        if extra.name not in (adapter.WEIGHTS, adapter.CONFIG):
            extra.unlink()
    _tidy_config(part / adapter.CONFIG, recipe)
    (part / adapter.WEIGHTS).chmod(0o644)  # safetensors writes 0600; a server may run as somebody else
    name, place = models.resolve(recipe.model)
    base = models.config_file(place).parent
    manifest = adapter.write_manifest(part, recipe.name, name, base, notes_of(recipe, run, revision))
    (part / CARD).write_text(card(manifest), "utf-8")
    _copy_data_card(Path(recipe.data).expanduser(), part)
    target = run.folder / "adapter"
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def notes_of(recipe: Recipe, run: Run, revision: str | None) -> dict[str, Any]:
    """What a manifest tells of how the adapter was made."""
    told = (
        "started_from",
        "data_sha256",
        "steps",
        "best_step",
        "metrics",
        "commit",
        "versions",
        "prompts",
        "rows",
        "tasks",
    )
    # No path of the machine it was made on: hashes tell the rows, the base is named above.
    decided = {k: v for k, v in as_row(recipe).items() if k not in ("model", "data", "out", "start_from")}
    return {
        "recipe": decided,
        "licence": _licences(Path(recipe.data).expanduser()),
        "base_revision": revision or recipe.revision,
        **{key: run.notes.get(key) for key in told},
    }


def card(manifest: adapter.Manifest) -> str:
    """The adapter's card as Markdown, with the front matter that model hubs read."""
    n = manifest.notes
    recipe: Mapping[str, Any] = n.get("recipe", {})
    metrics = "\n".join(f"| {k} | {v:.4g} |" for k, v in (n.get("metrics") or {}).items())
    n_rows = (n.get("rows") or {}).get("train")
    prompts = ", ".join(n.get("prompts") or {}) or "not told by the rows"
    return f"""---
base_model: {manifest.base_model}
library_name: peft
tags: [lora, affectgpt]
---

# {manifest.id}

A LoRA adapter (r {recipe.get("rank")}, alpha {recipe.get("alpha")}) for {manifest.base_model}, trained with TRL by
`affectgpt finetune` for {n.get("steps")} steps on {n_rows} rows; the checkpoint of step {n.get("best_step")} was the
best on the dev rows.
Prompts it was trained on: {prompts}. It answers those; asked otherwise, it has learned nothing.

| on the dev rows | |
|---|---|
{metrics}

Its licence follows the base's and the rows': see `{DATA_CARD}` where the rows came with one. Everything that decided it
stands in `{adapter.MANIFEST}`. It describes how people seem, never what they feel, and must not decide about anybody.
"""


def export(folder: Path, target: Path, dtype: str | None = None) -> Path:
    """Copy a sealed adapter, checked against its manifest, and nothing else.

    `dtype` (`bfloat16`, `float16`, `float32`) rounds the weights and seals them anew: half the bytes. The manifest's
    `notes.rounded` then says from which weights they were rounded.

    Raises:
        ModelError: it is not whole. OptionError: something is there already, or no such number type.
    """
    if dtype is not None and dtype not in STORED:
        raise OptionError(f"dtype: {dtype!r} does not fit", f"give one of {', '.join(STORED)}")
    manifest = adapter.read_manifest(folder)
    names = (adapter.MANIFEST, adapter.CONFIG, adapter.WEIGHTS, CARD, DATA_CARD)

    def fill(part: Path) -> None:
        for name in names:
            if (folder / name).is_file():
                shutil.copy2(folder / name, part / name)
        if dtype is not None:
            _round(part, manifest, dtype)

    return _build(target, fill)


def _round(part: Path, manifest: adapter.Manifest, dtype: str) -> None:
    """The folder's weights stored as `dtype`, and its manifest over them."""
    import torch
    from safetensors.torch import load_file, save_file

    path = part / adapter.WEIGHTS
    weights = {k: w.to(getattr(torch, dtype)).contiguous() for k, w in load_file(path).items()}
    if not all(bool(w.isfinite().all()) for w in weights.values()):
        raise ModelError(f"a weight of {manifest.id!r} is beyond {dtype}", "store it as bfloat16 or float32")
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)
    rounded = {"dtype": dtype, "from_sha256": manifest.weights_sha256}
    sealed = replace(manifest, weights_sha256=adapter.file_sha256(path), notes={**manifest.notes, "rounded": rounded})
    (part / adapter.MANIFEST).write_text(json.dumps(asdict(sealed), indent=2) + "\n", "utf-8")


def merge(folder: Path, target: Path, model: str | None = None) -> Path:
    """A full model with the adapter added into its weights (W' = W + alpha/r BA, in float32), ready to serve anywhere.

    `model` names the base where it is not the one that the manifest names. Weights are stored as the base's are.

    Raises:
        ModelError: the adapter is not whole or of another base. OptionError: something is there already.
    """
    name = model or base_of(adapter.read_manifest(folder))
    return _build(target, lambda part: merged.write_merged(part, folder, name))


def base_of(manifest: adapter.Manifest) -> str:
    """The base model's name, where it is one that can be found from anywhere.

    Raises:
        OptionError: it is a folder somewhere.
    """
    if manifest.base_model == embedded.MODEL_ID or manifest.base_model.count("/") == 1:
        return manifest.base_model
    raise OptionError(f"the base {manifest.base_model!r} is a folder somewhere", "name it with --model")


def _build(target: Path, fill: Callable[[Path], object]) -> Path:
    """A folder that appears whole or not at all."""
    if target.exists():
        raise OptionError(f"{target} is there already", "name a new folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as e:
        raise OptionError(f"cannot write to {target.parent}: {e.strerror}", "name another folder") from None
    try:
        part.chmod(0o755)
        fill(part)
        part.rename(target)
    except OSError as e:
        raise AffectError(f"cannot write {target}: {e.strerror or e}", "make room, and run it again") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _tidy_config(path: Path, recipe: Recipe) -> None:
    """The base by its Hugging Face id, else not at all: the manifest names it, and a path is somebody's disk."""
    try:
        row = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise ModelError(f"{path} was not written: {e}") from e
    place = models.resolve(recipe.model)[1]
    row["base_model_name_or_path"] = place if isinstance(place, str) else None
    path.write_text(json.dumps(row, indent=2) + "\n", "utf-8")


def _licences(data: Path) -> dict[str, str]:
    """Each source of the rows with its terms, as the rows' card tells; empty where they came without one."""
    try:
        told = json.loads((data / "card.json").read_text("utf-8"))["licences"]
        return {str(source): str(terms) for source, terms in told.items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def _copy_data_card(data: Path, folder: Path) -> None:
    if (data / "card.md").is_file():
        shutil.copyfile(data / "card.md", folder / DATA_CARD)
