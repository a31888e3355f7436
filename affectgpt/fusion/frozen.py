"""Networks that are read and never trained: from a folder or a hub, whole, and frozen whatever their parent does.

Importing this module loads torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import nn

from affectgpt.errors import ModelError

__all__ = ["Frozen", "load_config", "load_frozen", "version_of"]

_UNREAD: Final = frozenset({"masked_spec_embed", "mask_embedding", "mask_token", "embeddings.mask_token"})
"""Vectors that stand in for what was masked in training: nothing is masked here, and some checkpoints lack them."""
_WEIGHTS: Final = ("*.safetensors", "config.json", "preprocessor_config.json", "processor_config.json")
_DIGITS: Final = 12


class Frozen(nn.Module):
    """A network without gradients, in evaluation mode for good: a parent's `train()` does not reach it.

    Dropout, layer drop and masking would otherwise give other features in training than in use.
    """

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, **inputs: Any) -> Any:
        """The network's output, without gradients even where a parent asked every parameter for them."""
        with torch.no_grad():
            return self.network(**inputs)


def load_config(place: str | Path) -> Any:
    """The configuration of a model in a folder or on a hub.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(place))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"no model in {str(place)!r} ({_first_line(error)})", _remedy(place)) from error


def load_frozen(kind: Any, place: str | Path) -> Frozen:
    """A transformers class `kind` with the weights of `place`, in float32.

    Raises:
        ModelError: no safetensors weights, or weights that are missing or of another shape than the configuration's.
    """
    try:
        network, report = kind.from_pretrained(
            str(place), use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"no weights for {str(place)!r} ({_first_line(error)})", _remedy(place)) from error
    missing = sorted(k for k in report["missing_keys"] if not any(k == u or k.endswith("." + u) for u in _UNREAD))
    wrong = missing + sorted(str(k[0]) for k in report["mismatched_keys"])
    if wrong:
        listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise ModelError(
            f"{str(place)!r} lacks {len(wrong)} weights of a {kind.__name__}, or holds them in other shapes: {listed}",
            "name a checkpoint of this very architecture",
        )
    return Frozen(network)


def version_of(place: str | Path, config: Any, options: Mapping[str, object]) -> str:
    """What decides the features: the weights (a hub's commit, or a hash over a folder's files) and how they are read.

    `config` is that of the loaded network, which knows its commit.
    """
    commit = getattr(config, "_commit_hash", None)
    weights = str(commit)[:_DIGITS] if commit else _folder_hash(Path(place))
    return "-".join([weights, *(f"{name}{value}" for name, value in options.items())])


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted({p for pattern in _WEIGHTS for p in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _remedy(place: str | Path) -> str:
    if Path(place).is_dir():
        return "the folder needs config.json, preprocessor_config.json and model.safetensors"
    return "name a folder that save_pretrained made, or a hub's id while online"
