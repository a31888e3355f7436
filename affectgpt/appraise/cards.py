"""Trained weights beside their card: a safetensors file, and a JSON file that says what they were made of.

The card names the data and its licence, how it was split, what was measured, and the SHA-256 of the weights: a file
that was changed since is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import ModelError

__all__ = ["MAKING_FIELDS", "read_card", "read_weights", "sealed", "set_folder", "write_weights"]

MAKING_FIELDS = ("data", "licence", "split", "metrics", "date", "commit", "seed")
"""What every card states of how its weights were made."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Tensors = Mapping[str, NDArray[Any]]


def set_folder(permissive: bool = False) -> Path:
    """The folder of the shipped set."""
    return Path(__file__).parent.parent / "weights" / "appraisers" / ("permissive" if permissive else "default")


def read_card(folder: Path, name: str, fields: Sequence[str] = MAKING_FIELDS) -> dict[str, Any]:
    """A card as written. Raises ModelError where there is none, or where it lacks one of the fields."""
    path = _checked_path(folder, name, ".json")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ModelError(f"no readable card {path.name} in {path.parent}: {e}", "reinstall, or retrain it") from e
    if not isinstance(card, dict):
        raise ModelError(f"{name} does not fit together: its card is not a mapping", "reinstall, or retrain it")
    missing = [field for field in fields if field not in card]
    if missing:
        raise ModelError(f"{name} does not fit together: its card lacks {', '.join(missing)}", "reinstall it")
    return card


def read_weights(folder: Path, name: str, card: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The tensors that belong to a card. Raises ModelError: none there, unreadable, changed, or not finite."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = _checked_path(folder, name, ".safetensors")
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != card.get("sha256"):
            raise ModelError(f"the weights {path.name} are not those of their card", "reinstall, or retrain them")
        tensors: dict[str, NDArray[Any]] = load(data)
    except (OSError, SafetensorError) as e:
        raise ModelError(f"no readable weights {path.name} in {folder}: {e}", "reinstall, or retrain them") from e
    if not all(np.isfinite(t).all() for t in tensors.values()):
        raise ModelError(f"{name} does not fit together: a weight is not finite", "reinstall, or retrain it")
    return tensors


def sealed(weights: Tensors, card: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The weights' bytes, the same whatever the tensors' order, and the card with their SHA-256."""
    from safetensors.numpy import save

    data = save({key: np.ascontiguousarray(weights[key]) for key in sorted(weights)})
    return data, {**card, "sha256": hashlib.sha256(data).hexdigest()}


def write_weights(folder: Path, name: str, data: bytes, card: Mapping[str, Any]) -> None:
    """Write what `sealed` gave. Raises ModelError where the name is none."""
    weights, about = _checked_path(folder, name, ".safetensors"), _checked_path(folder, name, ".json")
    text = json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(data)
    about.write_text(text, encoding="utf-8")


def _checked_path(folder: Path, name: str, suffix: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ModelError(f"not the name of trained weights: {name!r}", "use lower-case letters, digits and underscores")
    return folder / f"{name}{suffix}"
