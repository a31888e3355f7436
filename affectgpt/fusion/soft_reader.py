"""From a clip's features to the soft parts of its prompt: the Protocol, and the reader that a fusion folder makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from affectgpt.errors import ModelError, OptionError
from affectgpt.fusion.folder import FusionManifest, load_fusion, read_fusion_manifest
from affectgpt.prompting import PromptLibrary
from affectgpt.records import SoftPart

if TYPE_CHECKING:
    from affectgpt.fusion.batches import SoftTokens
    from affectgpt.fusion.features import Features
    from affectgpt.fusion.fuser import Fuser

__all__ = [
    "LORA_FOLDER",
    "PROMPT_ID",
    "FusedReader",
    "SoftReader",
    "find_fusion",
    "lora_folder",
    "open_fused",
]

PROMPT_ID: Final = "explain-fused"
"""The prompt of a fusion folder whose notes name none."""

LORA_FOLDER: Final = "adapter"
"""Within a fusion folder: the LoRA adapter that was trained with it, where one was."""


class SoftReader(Protocol):
    """Reads a clip's features into soft tokens.

    id: stamps the answers · prompt_id: the prompt that the language model was taught to read them in · encoders:
    `id@version` of those whose features it takes.
    """

    id: str
    prompt_id: str
    encoders: tuple[str, ...]

    def read(self, features: Sequence[Features], reliability: Mapping[str, float]) -> tuple[SoftPart, ...]:
        """The clip's soft parts; a modality that is missing has none. `reliability` in [0, 1] is `Appraisal`'s.

        Thread-safe.

        Raises:
            ModelError: features of another encoder, or weights that give no finite numbers.
        """
        ...


class FusedReader:
    """A `SoftReader` out of a fusion folder's adapters."""

    def __init__(self, fuser: Fuser, manifest: FusionManifest) -> None:
        self._fuser = fuser.eval()
        self.config = fuser.config
        self.id = manifest.id
        self.prompt_id = _taught(manifest)[0]
        self.encoders = tuple(self.config.modalities[m].encoder for m in self.config.order)

    def read(self, features: Sequence[Features], reliability: Mapping[str, float]) -> tuple[SoftPart, ...]:
        """See `SoftReader.read`."""
        import torch

        from affectgpt.fusion.collating import collate

        clip = {one.modality: one for one in features}
        trust = {m: reliability[m.value] for m in clip if m.value in reliability}
        with torch.inference_mode():
            fused: SoftTokens = self._fuser(collate([clip], self.config, [trust]))
        return fused.parts(0)


def open_fused(folder: Path, bases: Sequence[str] = (), base_config: Path | None = None) -> FusedReader:
    """The reader of a fusion folder, for a language model that goes by the names `bases`.

    With the model's `config.json` at hand (`base_config`) its sum decides; without names nothing is compared, for an
    engine that reads no soft tokens.

    Raises:
        ModelError: a folder that is not whole, weights of another base model (see `folder.load_fusion`), or trained in
            another version of their prompt. PromptError: there is no such prompt.
    """
    manifest = read_fusion_manifest(folder)
    prompt_id, version = _taught(manifest)
    found = PromptLibrary().get(prompt_id).version
    if version not in ("", found):
        raise ModelError(
            f"soft tokens by {manifest.id!r} were trained in prompt {prompt_id} {version}, and this is {found}",
            "train them anew, or use the affectgpt that they were made with",
        )
    base = bases[0] if bases and manifest.base_model not in bases else manifest.base_model
    return FusedReader(*load_fusion(folder, base, base_config))


def lora_folder(folder: Path) -> Path | None:
    """The LoRA adapter that was trained with a fusion folder's soft tokens, or None."""
    inside = folder / LORA_FOLDER
    return inside if inside.is_dir() else None


def find_fusion(folder: Path | None) -> Path:
    """A fusion folder that is whole as far as its manifest goes; None stands for the one inside this package.

    Raises:
        OptionError: none was named and none is shipped. ModelError: no fusion folder, or a malformed manifest.
    """
    shipped = Path(__file__).resolve().parent.parent / "weights" / "fusion"
    if folder is None and not shipped.is_dir():
        raise OptionError("soft tokens need a fusion folder, and none is shipped", "name one by --fusion FOLDER")
    found = shipped if folder is None else folder.expanduser()
    read_fusion_manifest(found)
    return found


def _taught(manifest: FusionManifest) -> tuple[str, str]:
    """The prompt's id and version that a manifest's notes name as `prompt: "explain-fused 1"`."""
    told = manifest.notes.get("prompt")
    prompt_id, _, version = told.partition(" ") if isinstance(told, str) and told else (PROMPT_ID, "", "")
    return prompt_id, version
