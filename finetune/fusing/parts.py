"""What a stage is put together from: base, adapters, LoRA, and the scenes that they learn from.

Imports torch: import it where training is about to begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from affectgpt.engines import adapter as lora
from affectgpt.engines import models
from affectgpt.errors import OptionError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.config import FusionConfig
from affectgpt.fusion.folder import load_fusion
from affectgpt.fusion.fuser import Fuser
from affectgpt.fusion.pretraining import Pretraining, PretrainingOptions
from affectgpt.fusion.soft_reader import lora_folder
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Modality
from affectgpt.records.signal_example import WHOLE, SignalExample
from finetune.fusing.batching import feature_batches
from finetune.fusing.models import FusedModel, PretrainModel
from finetune.fusing.recipe import FusingRecipe
from finetune.fusing.scenes import FEATURES, Wanted, choose, read_scenes
from finetune.loading import device_of, load_base, lora_config, quiet

__all__ = ["Built", "Scenes", "build", "gather_scenes", "scene_words"]

TEXT_WIDTH = 384
"""Of the words' vectors: all-MiniLM-L6-v2's hidden size, the package's own sentence encoder."""
_STANDARDISED = 64
"""Scenes side by side while features are measured."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """A stage's scenes, and the cache that their features lie in."""

    train: list[SignalExample]
    dev: list[SignalExample]
    cache: FeatureCache


@dataclass(frozen=True, slots=True)
class Built:
    """What is trained, and the adapters' configuration; None where there are no soft tokens."""

    model: FusedModel | PretrainModel
    config: FusionConfig | None
    started_from: dict[str, str] | None


def gather_scenes(recipe: FusingRecipe) -> Scenes:
    """The whole scenes that a stage learns from and is watched on.

    Raises:
        OptionError: none are left to use. InputError: a malformed row.
    """
    folder, wanted = Path(recipe.data).expanduser(), Wanted.of(recipe)
    sides = []
    for split, n in (("train", recipe.n_rows), ("dev", recipe.n_dev_rows)):
        fitting = [s for s in read_scenes(folder / f"{split}.jsonl") if s.condition == WHOLE and wanted.takes(s)]
        if not fitting:
            raise OptionError(f"no {split} scene of {folder} is left to use", "see answer, kinds and modalities")
        sides.append(choose(fitting, n, recipe.seed))
    return Scenes(*sides, FeatureCache(folder / FEATURES))


def build(recipe: FusingRecipe, scenes: Scenes) -> Built:
    """The model of a stage, from the folder that it starts from or anew.

    Raises:
        OptionError: a folder of other adapters. ModelError: the base or the folder cannot be loaded.
    """
    torch.manual_seed(recipe.seed)
    device = device_of()
    base_name, place = models.resolve(recipe.model)
    with quiet():
        llm = load_base(recipe, place, device)
    fuser, started = None, None
    if recipe.stage == "pretrain" or PromptLibrary().get(recipe.prompt).soft:
        fuser, started = _fuser(recipe, scenes, llm, (base_name, models.config_file(place)))
    if recipe.stage == "pretrain":
        assert fuser is not None
        return Built(PretrainModel(_pretraining(recipe, fuser)).to(device), fuser.config, started)
    llm.requires_grad_(False)
    if recipe.stage == "instruct":
        with quiet():
            llm = _with_lora(recipe, llm)
    model = FusedModel(llm, fuser, recipe.vad_weight)
    return Built(model if recipe.quantize != "none" else model.to(device), fuser.config if fuser else None, started)


def _fuser(
    recipe: FusingRecipe, scenes: Scenes, llm: Any, base: tuple[str, Path]
) -> tuple[Fuser, dict[str, str] | None]:
    embeddings = llm.get_input_embeddings().weight
    rms = float(embeddings.detach().float().square().mean().sqrt())
    config = recipe.fusion(_encoders(scenes), embeddings.shape[1], rms)
    if recipe.start_from:
        fuser, manifest = load_fusion(Path(recipe.start_from).expanduser(), *base)
        if replace(fuser.config, token_rms=None) != replace(config, token_rms=None):
            raise OptionError(
                f"start_from: {manifest.id!r} has other adapters, or other encoders, than the recipe asks for",
                "give the recipe the adapters that it was made with",
            )
        return fuser.train(), {"id": manifest.id, "weights_sha256": manifest.weights_sha256}
    fuser = Fuser(config)
    pieces = (scenes.train[i : i + _STANDARDISED] for i in range(0, len(scenes.train), _STANDARDISED))
    fuser.standardize(feature_batches(piece, config, scenes.cache) for piece in pieces)
    return fuser, None


def _encoders(scenes: Scenes) -> dict[Modality, tuple[str, int]]:
    """Encoder and width by modality, as the features tell."""
    found: dict[Modality, tuple[str, int]] = {}
    for scene in scenes.train:
        for modality, key in scene.features.items():
            if modality not in found and (features := scenes.cache.get(key)) is not None:
                found[modality] = (features.encoder, features.width)
        if len(found) == len(Modality) - 1:
            break
    if not found:
        raise OptionError("no scene has features", "build the scenes anew with `affectgpt data signals`")
    return {m: found[m] for m in Modality if m in found}


def _with_lora(recipe: FusingRecipe, llm: Any) -> Any:
    """The base with a LoRA update: that of the folder it starts from, or a new one."""
    from peft import PeftModel, get_peft_model

    held = lora_folder(Path(recipe.start_from).expanduser()) if recipe.start_from else None
    if held is None:
        return get_peft_model(llm, lora_config(recipe))  # type: ignore[arg-type]
    lora.read_manifest(held)
    return PeftModel.from_pretrained(llm, str(held), is_trainable=True)


def _pretraining(recipe: FusingRecipe, fuser: Fuser) -> Pretraining:
    options = PretrainingOptions(
        recipe.pairwise,
        recipe.reconstruct,
        recipe.hierarchical if len(fuser.adapters) > 1 else 0.0,
        text_width=TEXT_WIDTH if recipe.pairwise else None,
    )
    return Pretraining(fuser, options)


def scene_words(scenes: Sequence[SignalExample]) -> dict[str, Any]:
    """The vector (384,) of each scene's quoted words, by the scene's id; scenes without words are left out."""
    from affectgpt.appraise.encoder import load_encoder

    said = {s.id: " ".join(o.quote or "" for o in s.observations.of(Modality.SPEECH)).strip() for s in scenes}
    spoken = {name: text for name, text in said.items() if text}
    if not spoken:
        return {}
    vectors = load_encoder().embed(list(spoken.values()))
    return {name: torch.from_numpy(vector).float() for name, vector in zip(spoken, vectors, strict=True)}
