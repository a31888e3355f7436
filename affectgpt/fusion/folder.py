"""Fusion folders: an adapter's weights beside a manifest that says what they fit, sealed by its sums.

`fusion.safetensors` holds the weights, `fusion.json` the manifest. A LoRA adapter that was trained with them stands in
a folder of its own. Nothing in either file can bring code, and no more memory is taken than the weights have bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.errors import ModelError, OptionError
from affectgpt.fusion.config import FusionConfig
from affectgpt.versions import loaded_versions, own_version

if TYPE_CHECKING:
    from torch import Tensor

    from affectgpt.fusion.fuser import Fuser

__all__ = ["MANIFEST", "WEIGHTS", "FusionManifest", "load_fusion", "read_fusion_manifest", "save_fusion"]

MANIFEST = "fusion.json"
WEIGHTS = "fusion.safetensors"

_FORM = 1
"""Of the manifest; raised when a field changes its meaning."""
_TEXTS = ("id", "base_model", "base_config_sha256", "weights_sha256")
_SHOWN = 8
"""Names of tensors that an error lists of each kind of fault, before it counts the rest."""
_REMEDY = "name a folder that `affectgpt finetune` made, with --fusion FOLDER"


@dataclass(frozen=True, slots=True)
class FusionManifest:
    """What a fusion folder is and what it fits.

    id: its name in every `Completion.model` · base_model: of the language model, for people and for servers ·
    base_config_sha256: of that model's config.json · config: encoders, widths, kinds · weights_sha256: of the weights ·
    versions: of the packages that made it · notes: whatever else its maker records (data, steps, prompt, metrics).
    """

    id: str
    base_model: str
    base_config_sha256: str
    config: FusionConfig
    weights_sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def check_base(self, base_model: str, base_config: Path | None = None) -> None:
        """Nothing, where this is the base model that the weights were trained with.

        With the base's `config.json` at hand its sum decides, whatever the folder is called; without, the name.

        Raises:
            ModelError: another base, or no such config.json.
        """
        if base_config is None:
            fits = self.base_model == base_model
        else:
            try:
                fits = self.base_config_sha256 == hashlib.sha256(base_config.read_bytes()).hexdigest()
            except OSError as e:
                raise ModelError(f"the base model's {base_config} cannot be read: {e}", "name another --model") from e
        if not fits:
            raise ModelError(
                f"soft tokens by {self.id!r}, trained with {self.base_model!r}, do not fit {base_model!r}",
                "use the base model they were trained with, or --path text",
            )


def save_fusion(
    folder: Path, fuser: Fuser, id_: str, base_model: str, base_config: Path, notes: Mapping[str, Any] | None = None
) -> FusionManifest:
    """Write weights, as they are in memory, and their manifest; each file appears whole or not at all.

    Weights stand before the manifest: cut short in between, a folder that was overwritten is refused by `load_fusion`.

    Raises:
        ModelError: a weight that is not finite, or base_config cannot be read. OSError: the disk.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fuser.state_dict().items()}
    _demand_finite(tensors, f"the weights of {id_!r}")
    try:
        base_sum = hashlib.sha256(base_config.read_bytes()).hexdigest()
    except OSError as e:
        raise ModelError(f"the base model's {base_config} cannot be read: {e}", "name the base's config.json") from e
    data = save({name: tensors[name] for name in sorted(tensors)})
    versions = {"affectgpt": own_version(), **loaded_versions()}
    manifest = FusionManifest(
        id_, base_model, base_sum, fuser.config, hashlib.sha256(data).hexdigest(), versions, dict(notes or {})
    )
    text = json.dumps({"form": _FORM, **asdict(manifest)}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS, data)
    _write(folder / MANIFEST, text.encode())
    return manifest


def read_fusion_manifest(folder: Path) -> FusionManifest:
    """A folder's manifest alone; the weights are not looked at.

    Raises:
        ModelError: no such folder, no manifest in it, or a malformed one.
    """
    missing = [name for name in (MANIFEST, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"fusion folder {folder} has no {' and no '.join(missing)}", _REMEDY)
    try:
        data = json.loads((folder / MANIFEST).read_text("utf-8"))
        if not isinstance(data, dict) or data.pop("form", None) != _FORM:
            raise ValueError(f"it is not of form {_FORM}")
        manifest = FusionManifest(**{**data, "config": FusionConfig.from_json(data.get("config"))})
        if not all(isinstance(text := getattr(manifest, name), str) and text for name in _TEXTS):
            raise ValueError(f"{', '.join(_TEXTS)} must be text")
        if not (isinstance(manifest.versions, dict) and isinstance(manifest.notes, dict)):
            raise ValueError("versions and notes must be mappings")
    except (OSError, ValueError, TypeError, RecursionError) as e:
        raise ModelError(f"{folder / MANIFEST} is malformed: {e}", _REMEDY) from e
    except OptionError as e:
        raise ModelError(f"{folder / MANIFEST} is malformed: {e.what}", _REMEDY) from e
    return manifest


def load_fusion(folder: Path, base_model: str, base_config: Path | None = None) -> tuple[Fuser, FusionManifest]:
    """The adapters of a folder, in float32 and eval mode, checked against manifest and base model.

    Raises:
        ModelError: as `read_fusion_manifest` and `FusionManifest.check_base`; weights that are not those the manifest
            seals; missing, unexpected or misshapen tensors, which are listed; a weight that is not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from affectgpt.fusion.fuser import Fuser

    manifest = read_fusion_manifest(folder)
    manifest.check_base(base_model, base_config)
    try:
        data = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.weights_sha256:
            raise ModelError(f"{folder / WEIGHTS} is not what its manifest seals", "copy the folder again")
        tensors = load(data)
    except (OSError, SafetensorError) as e:
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {e}", "copy the folder again") from e
    # On the meta device a configuration costs no memory, however large it says it is.
    with torch.device("meta"):
        fuser = Fuser(manifest.config)
    _demand_same(fuser.state_dict(), tensors, f"fusion folder {folder}")
    _demand_finite(tensors, f"fusion folder {folder}")
    # Cast here: `assign` takes the loaded tensors themselves, half precision or not.
    fuser.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True, assign=True)
    return fuser.eval(), manifest


def _demand_same(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """Raises ModelError that lists missing, unexpected and misshapen tensors."""
    shared = sorted(expected.keys() & found.keys())
    faults = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)}, not {tuple(expected[name].shape)}"
            for name in shared
            if found[name].shape != expected[name].shape
        ],
        "no floating point": [name for name in shared if not found[name].is_floating_point()],
    }
    told = [f"{kind}: {_listed(names)}" for kind, names in faults.items() if names]
    if told:
        raise ModelError(f"{what} does not hold what its configuration asks for ({'; '.join(told)})", "train it anew")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _demand_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    broken = [name for name, tensor in sorted(tensors.items()) if not tensor.isfinite().all()]
    if broken:
        raise ModelError(f"{what}: not finite: {_listed(broken)}", "train it anew, with a lower learning rate")


def _write(path: Path, data: bytes) -> None:
    """The file appears whole, by a rename, or not at all."""
    handle, made = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(made).chmod(0o644)  # mkstemp makes it for its owner alone
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
