"""What a model server is to hold: the base, and the adapters that fit it, each checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.engines import adapter, embedded, merged, models
from affectgpt.errors import ModelError, OptionError

__all__ = ["Held", "Weights", "choose"]

_BEYOND_LORA = ("use_dora", "modules_to_save", "lora_bias", "use_qalora", "use_bdlora")
_EDGES = {"embed_tokens", "lm_head"}


@dataclass(frozen=True, slots=True)
class Held:
    """One adapter: the name that requests give, its folder, the rank of its matrices, the layers that it adds to."""

    name: str
    folder: Path
    rank: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """`place` is a folder or a Hugging Face id, served as `name`; `context_tokens` None where nothing tells it.

    `is_merged`: the one adapter is part of the weights, and the plain base is not served.
    """

    name: str
    place: str | Path
    adapters: tuple[Held, ...] = ()
    context_tokens: int | None = None
    is_merged: bool = False


def choose(model: str | None, adapters: Sequence[Path] | None, *, merge: bool = False) -> Weights:
    """The weights for `model` (as in `models.resolve`) with `adapters`; None: the shipped one, where it fits.

    Raises:
        ModelError: a folder that is no whole adapter, or one of another base, or not a LoRA that vLLM can serve.
        OptionError: two adapters of one name, or not exactly one to merge. MissingDependency: the embedded model.
    """
    name, place = models.resolve(model)
    if adapters is None:
        own = adapter.shipped() if name == embedded.MODEL_ID else None
        adapters = (own,) if own else ()
    config = models.config_file(place)
    held = tuple(_hold(folder.expanduser().resolve(), name, config) for folder in adapters)
    names = [name, *(one.name for one in held)]
    if len(set(names)) < len(names):
        raise OptionError(f"several would be served under one name: {', '.join(names)}", "leave one of them out")
    context = _context(config)
    if not merge:
        return Weights(name, place, held, context)
    if len(held) != 1:
        raise OptionError(f"one adapter can be merged, and {len(held)} are named", "name one, or serve them unmerged")
    folder = merged.merged_folder(held[0].folder, model)
    return Weights(f"{name}+{held[0].name}", folder, (), context, is_merged=True)


def _hold(folder: Path, base_name: str, base_config: Path) -> Held:
    manifest = adapter.read_manifest(folder)
    if manifest.base_config_sha256 != adapter.file_sha256(base_config):
        raise ModelError(
            f"adapter {manifest.id!r}, trained on {manifest.base_model!r}, does not fit {base_name!r}",
            "serve the base it was trained on, or leave the adapter out",
        )
    config = _read(folder / adapter.CONFIG)
    # vLLM loads plain LoRA matrices; what else peft can put into a folder it refuses, or worse, leaves out.
    others = [
        key for key in ("use_dora", "modules_to_save", "lora_bias", "use_qalora", "use_bdlora") if config.get(key)
    ]
    if config.get("peft_type") != "LORA" or config.get("bias") not in (None, "none") or others:
        what = ", ".join(others) or f"{config.get('peft_type')} with bias {config.get('bias')}"
        raise ModelError(
            f"adapter {manifest.id!r} is more than a LoRA ({what})", "merge it: `affectgpt finetune merge`"
        )
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise ModelError(f"adapter {manifest.id!r} names no rank", "copy the folder again, or train anew")
    layers = config.get("target_modules")
    if not isinstance(layers, list) or not layers or _EDGES & set(layers):
        # With `prompt_embeds` in a request, vLLM 0.32 dies in an embedding that holds LoRA matrices.
        raise ModelError(
            f"adapter {manifest.id!r} does not name its layers, or adds to the first or the last one",
            "merge it: `affectgpt finetune merge`",
        )
    return Held(manifest.id, folder, max(ranks), tuple(sorted(layers)))


def _context(config: Path) -> int | None:
    """Tokens of the model's context, also where a multimodal model keeps them one level down."""
    told = _read(config)
    found = told.get("max_position_embeddings") or (told.get("text_config") or {}).get("max_position_embeddings")
    return int(found) if found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as e:
        raise ModelError(f"{path} cannot be read: {e}", "copy the folder again") from e
