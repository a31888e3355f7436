"""What leaves a stage: a fusion folder with the LoRA adapter inside it, or that adapter alone; whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter as lora
from affectgpt.engines import models
from affectgpt.fusion.folder import save_fusion
from affectgpt.fusion.soft_reader import LORA_FOLDER
from affectgpt.prompting import PromptLibrary
from finetune.exporting import CARD, DATA_CARD, card
from finetune.fusing.recipe import FusingRecipe
from finetune.fusing.runs import ADAPTER, FUSION, FusingRun

__all__ = ["seal"]


def seal(model: Any, recipe: FusingRecipe, run: FusingRun) -> Path:
    """Write the result of a finished run beside its checkpoints; the folder appears whole, by a rename.

    The manifest names the prompt that the language model was taught to read soft tokens in, by id and version.
    """
    template = PromptLibrary().get(recipe.prompt)
    notes = run.told()
    if recipe.stage != "pretrain":
        notes["prompt"] = f"{template.id} {template.version}"
    part = run.folder / ".result.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    name, place = models.resolve(recipe.model)
    config = models.config_file(place)
    llm = getattr(model, "llm", None)
    inside = part if model.fuser is None else part / LORA_FOLDER
    if hasattr(llm, "peft_config"):
        _seal_lora(llm, recipe, inside, (name, config.parent), notes)
    if model.fuser is not None:
        save_fusion(part, model.fuser, recipe.name, name, config, notes)
    data = Path(recipe.data).expanduser() / "card.md"
    if data.is_file():
        shutil.copyfile(data, part / DATA_CARD)
    target = run.folder / (ADAPTER if model.fuser is None else FUSION)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    return target


def _seal_lora(llm: Any, recipe: FusingRecipe, folder: Path, base: tuple[str, Path], notes: dict[str, Any]) -> None:
    llm.save_pretrained(str(folder))
    for extra in folder.iterdir():
        if extra.name not in (lora.WEIGHTS, lora.CONFIG):
            extra.unlink()
    (folder / lora.WEIGHTS).chmod(0o644)  # safetensors writes 0600; a server may run as somebody else
    row = json.loads((folder / lora.CONFIG).read_text("utf-8"))
    place = models.resolve(recipe.model)[1]
    # A path is somebody's disk; the manifest names the base.
    row["base_model_name_or_path"] = place if isinstance(place, str) else None
    (folder / lora.CONFIG).write_text(json.dumps(row, indent=2) + "\n", "utf-8")
    manifest = lora.write_manifest(folder, recipe.name, base[0], base[1], notes)
    (folder / CARD).write_text(card(manifest), "utf-8")
