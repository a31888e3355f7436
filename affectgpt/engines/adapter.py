"""Adapter folders: LoRA weights beside a manifest that says which base they belong to, and the merge into that base."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from affectgpt.engines import embedded
from affectgpt.errors import ModelError

__all__ = [
    "CONFIG",
    "MANIFEST",
    "WEIGHTS",
    "Manifest",
    "file_sha256",
    "merge",
    "read_manifest",
    "shipped",
    "write_manifest",
]

MANIFEST = "manifest.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an adapter is and what it fits.

    id: its name in every `Completion.model`. base_model: as in `Completion.model`, for people.
    base_config_sha256: of the base's config.json. weights_sha256: of adapter_model.safetensors.
    notes: whatever else its maker records (prompt id and version, data, steps).
    """

    id: str
    base_model: str
    base_config_sha256: str
    weights_sha256: str
    notes: Mapping[str, Any] = field(default_factory=dict)


def shipped() -> Path | None:
    """The adapter folder inside this package, or None where the package carries none."""
    place = Path(__file__).resolve().parent.parent / "weights" / "explain"
    return place if (place / MANIFEST).is_file() else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(folder: Path, id_: str, base_model: str, base: Path, notes: Mapping[str, Any]) -> Manifest:
    """Seal a folder that peft's `save_pretrained` filled: `base` is the model folder that it was trained on."""
    manifest = Manifest(id_, base_model, file_sha256(base / "config.json"), file_sha256(folder / WEIGHTS), notes)
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", "utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest, its weights checked against it.

    Raises:
        ModelError: no such folder, no manifest, a malformed one, or weights that are not the ones it seals.
    """
    remedy = "name a folder that `affectgpt finetune` made, or --adapter none"
    missing = [name for name in (MANIFEST, CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"adapter folder {folder} has no {', '.join(missing)}", remedy)
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text("utf-8")))
        texts = (manifest.id, manifest.base_model, manifest.base_config_sha256, manifest.weights_sha256)
        if not all(isinstance(text, str) and text for text in texts):
            raise ValueError("id, base_model and both sums must be text")
    except (ValueError, TypeError) as e:
        raise ModelError(f"{folder / MANIFEST} is malformed: {e}", remedy) from e
    if file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise ModelError(f"{folder / WEIGHTS} is not what its manifest seals", "copy the folder again, or train anew")
    return manifest


def merge(model: Any, folder: Path, base_name: str, base_config: Path) -> tuple[Any, str]:
    """The float32 base `model` with the adapter's weights added in, and the adapter's id.

    Raises:
        ModelError: the adapter is of another base, not a LoRA, or its tensors are not exactly those it should have.
    """
    manifest = read_manifest(folder)
    same_name = manifest.base_model == base_name or embedded.MODEL_ID not in (manifest.base_model, base_name)
    if not same_name or file_sha256(base_config) != manifest.base_config_sha256:
        raise ModelError(
            f"adapter {manifest.id!r}, trained on {manifest.base_model!r}, does not fit {base_name!r}",
            "use the base it was trained on, or --adapter none",
        )
    from peft import LoraConfig, PeftConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        raise ModelError(f"adapter {manifest.id!r} is a {config.peft_type} adapter", "only LoRA adapters can be loaded")
    tensors = load_file(folder / WEIGHTS)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        wrapped = get_peft_model(model, config)
    expected = {name: tensor.shape for name, tensor in get_peft_model_state_dict(wrapped).items()}
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise ModelError(f"adapter {manifest.id!r} does not hold the tensors its configuration names", "train it anew")
    set_peft_model_state_dict(wrapped, tensors)
    return wrapped.merge_and_unload(), manifest.id
