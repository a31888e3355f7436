"""What tuning changed in the sentence encoder: a matrix of low rank added to each of its linear layers.

Hu et al. 2021, LoRA, arXiv 2106.09685. The sum is made once, when the encoder is loaded: a tuned encoder costs nothing
more to run than the one as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise import cards
from affectgpt.errors import ModelError

__all__ = ["CARD_FIELDS", "NAME", "LowRankUpdate", "load_update", "save_update"]

NAME = "words_encoder"
CARD_FIELDS = (*cards.MAKING_FIELDS, "base", "rank")
"""`base` is the SHA-256 of the weights that the update was made for."""
_IN, _OUT = ".in", ".out"


@dataclass(frozen=True, slots=True, eq=False)
class LowRankUpdate:
    """For each layer L by its name in the encoder: `L.in` (rank, width in) and `L.out` (width out, rank)."""

    card: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it changes."""
        return tuple(sorted(key.removesuffix(_IN) for key in self.tensors if key.endswith(_IN)))

    def change(self, layer: str) -> NDArray[np.float32]:
        """What is added to a layer's matrix (width out, width in)."""
        inner, outer = self.tensors[layer + _IN], self.tensors[layer + _OUT]
        return np.asarray(outer.astype(np.float32) @ inner.astype(np.float32), np.float32)

    def added_to(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        """The encoder's weights (torch tensors by name) with every change added.

        Raises:
            ModelError: it changes a layer that the encoder lacks or that has another shape.
        """
        import torch

        changed = dict(weights)
        for layer in self.layers:
            change, held = torch.from_numpy(self.change(layer)), weights.get(f"{layer}.weight")
            if held is None or held.shape != change.shape:
                raise ModelError(f"the update of the sentence encoder does not fit its {layer}", "reinstall it")
            changed[f"{layer}.weight"] = held + change
        return changed


def load_update(permissive: bool = False, folder: Path | None = None) -> LowRankUpdate:
    """The update of the shipped set, or of `folder`.

    Raises:
        ModelError: none there, a card that lacks a field, weights that are not the card's, or tensors without a pair.
    """
    folder = folder or cards.set_folder(permissive)
    card = cards.read_card(folder, NAME, CARD_FIELDS)
    return _checked(card, cards.read_weights(folder, NAME, card))


def save_update(folder: Path, tensors: Mapping[str, NDArray[Any]], card: Mapping[str, Any]) -> LowRankUpdate:
    """Write the update, the same bytes for the same tensors, and load it back. Raises ModelError as `load_update`."""
    data, full = cards.sealed(tensors, card)
    _checked(full, tensors)
    cards.write_weights(folder, NAME, data, full)
    return load_update(folder=folder)


def _checked(card: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> LowRankUpdate:
    missing = [field for field in CARD_FIELDS if field not in card]
    if missing:
        raise ModelError(f"the encoder's update has a card that lacks {', '.join(missing)}", "reinstall, or retrain it")
    update = LowRankUpdate(card, tensors)
    if not update.layers or set(tensors) != {layer + end for layer in update.layers for end in (_IN, _OUT)}:
        raise ModelError("the encoder's update has tensors without their pair", "reinstall, or retrain it")
    for layer in update.layers:
        inner, outer = tensors[layer + _IN].shape, tensors[layer + _OUT].shape
        if len(inner) != 2 or len(outer) != 2 or inner[0] != card["rank"] or outer[1] != card["rank"]:
            raise ModelError(f"the encoder's update has another rank than its card at {layer}", "reinstall it")
    return update
