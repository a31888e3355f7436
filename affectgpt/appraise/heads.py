"""Trained heads: a small network in a safetensors file beside a JSON card, computed by numpy alone.

A set is a folder of heads under affectgpt/weights/appraisers: `default`, or `permissive`, which holds only what was
trained on data under Apache-2.0, MIT, CC BY or CC BY-SA. The card names the data, its licence, how it was split, what
was measured, and the SHA-256 of the weights: a file that was changed since is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from affectgpt.appraise import cards
from affectgpt.errors import InputError, ModelError

__all__ = ["CARD_FIELDS", "KINDS", "Head", "head_folder", "load_head", "read_card", "save_head"]

KINDS = ("softmax", "sigmoid", "regression")
"""One label of many, any number of labels, or numbers within the card's `range`."""
CARD_FIELDS = (*cards.MAKING_FIELDS, "classes", "kind", "temperature", "input")
"""What every card states. `input` is a mapping with `width`; `temperature` is one number or one a class."""

_CUBIC = 0.044715  # of the tanh form of GELU, Hendrycks & Gimpel 2016, arXiv 1606.08415


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """One trained head: B rows of width D in, C outputs out.

    mean (D,) and scale (D,) standardise the input · layers: (weight (I, O), bias (O,)) in order, with a GELU between.
    """

    name: str
    card: Mapping[str, Any]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The outputs' names, in order."""
        return tuple(self.card["classes"])

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return str(self.card["kind"])

    @property
    def width(self) -> int:
        """D, the width of an input row."""
        return int(self.mean.shape[0])

    def logits(self, x: ArrayLike) -> NDArray[np.float64]:
        """Outputs (B, C) before any squashing, of rows (B, D).

        Raises:
            InputError: rows of another width, or a value that is not finite.
        """
        rows = np.asarray(x, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise InputError(f"head {self.name}: rows of shape {rows.shape}", f"give (B, {self.width})")
        if not np.isfinite(rows).all():
            raise InputError(f"head {self.name}: a row holds a value that is not finite", "leave such rows out")
        hidden = (rows - self.mean) / self.scale
        for i, (weight, bias) in enumerate(self.layers):
            hidden = (_gelu(hidden) if i else hidden) @ weight + bias
        return hidden.astype(np.float64)

    def probabilities(self, x: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities (B, C) of rows (B, D): softmax rows sum to 1, sigmoid columns stand alone.

        Raises:
            ModelError: this head gives numbers, not probabilities. InputError: as `logits`.
        """
        if self.kind == "regression":
            raise ModelError(f"head {self.name} gives numbers, not probabilities", "ask for values()")
        scores = self.logits(x) / np.asarray(self.card["temperature"], dtype=np.float64)
        if self.kind == "sigmoid":
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores)))
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def values(self, x: ArrayLike) -> NDArray[np.float64]:
        """Numbers (B, C) of rows (B, D), cut to the card's `range`.

        Raises:
            ModelError: this head gives probabilities. InputError: as `logits`.
        """
        if self.kind != "regression":
            raise ModelError(f"head {self.name} gives probabilities, not numbers", "ask for probabilities()")
        low, high = self.card["range"]
        return np.clip(self.logits(x), low, high)


def head_folder(permissive: bool = False) -> Path:
    """The folder of the shipped set."""
    return cards.set_folder(permissive)


def load_head(name: str, permissive: bool = False, folder: Path | None = None) -> Head:
    """A head of the shipped set, or of `folder`, read once and checked.

    Raises:
        ModelError: no such head, a card that lacks a field, weights that are not the card's, or shapes that do not fit.
    """
    return _load((folder or head_folder(permissive)).resolve(), name)


def read_card(name: str, permissive: bool = False, folder: Path | None = None) -> Mapping[str, Any]:
    """A head's card alone, as written. Raises ModelError where there is none or it lacks a field."""
    card = cards.read_card(folder or head_folder(permissive), name, ())
    _check_card(name, card)
    return dict(card)


def save_head(folder: Path, name: str, weights: Mapping[str, NDArray[Any]], card: Mapping[str, Any]) -> Head:
    """Write `<name>.safetensors` and `<name>.json`, the same bytes for the same weights, and load them back.

    `weights`: `0.weight` (D, H), `0.bias` (H,), `1.weight` … by layer, and `mean`, `scale` (D,) where the input is
    standardised; float32 or float16.

    Raises:
        ModelError: the card lacks a field, or the shapes do not fit it; then nothing usable is left behind.
    """
    _check_card(name, card)
    data, full = cards.sealed(weights, card)
    _assemble(name, full, dict(weights))
    cards.write_weights(folder, name, data, full)
    _load.cache_clear()
    return load_head(name, folder=folder)


@lru_cache(maxsize=64)
def _load(folder: Path, name: str) -> Head:
    card = read_card(name, folder=folder)
    return _assemble(name, card, cards.read_weights(folder, name, card))


def _assemble(name: str, card: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Head:
    """Tensors as a head, every shape checked against its neighbour and the card."""
    n_layers = sum(key.endswith(".weight") for key in tensors)
    expected = {f"{i}.{part}" for i in range(n_layers) for part in ("weight", "bias")}
    _demand(n_layers > 0 and expected <= set(tensors) <= expected | {"mean", "scale"}, name, "its tensors' names")
    _demand(all(np.isfinite(t).all() for t in tensors.values()), name, "a weight is not finite")
    ready = {key: np.asarray(t, dtype=np.float32) for key, t in tensors.items()}
    width = int(card["input"]["width"])
    mean, scale = ready.get("mean", np.zeros(width, np.float32)), ready.get("scale", np.ones(width, np.float32))
    _demand(mean.shape == scale.shape == (width,) and bool((scale > 0).all()), name, "its input's width or scale")
    layers = tuple((ready[f"{i}.weight"], ready[f"{i}.bias"]) for i in range(n_layers))
    reached = width
    for weight, bias in layers:
        _demand(weight.ndim == 2 and weight.shape[0] == reached, name, f"a layer of shape {weight.shape}")
        _demand(bias.shape == weight.shape[1:], name, f"a bias of shape {bias.shape}")
        reached = weight.shape[1]
    _demand(reached == len(card["classes"]), name, f"{reached} outputs for {len(card['classes'])} classes")
    return Head(name, card, mean, scale, layers)


def _check_card(name: str, card: Any) -> None:
    _demand(isinstance(card, Mapping), name, "its card is not a mapping")
    missing = [field for field in CARD_FIELDS if field not in card]
    _demand(not missing, name, f"its card lacks {', '.join(missing)}")
    _demand(card["kind"] in KINDS, name, f"its kind {card['kind']!r}")
    _demand(isinstance(card["input"], Mapping) and _whole(card["input"].get("width")), name, "its input's width")
    _demand(isinstance(card["classes"], list | tuple) and _unlike(card["classes"]), name, "its classes")
    temperature = np.asarray(card["temperature"], dtype=np.float64)
    one_each = temperature.shape in ((), (len(card["classes"]),))
    _demand(one_each and bool((temperature > 0).all()), name, "its temperature")
    if card["kind"] == "regression":
        _demand(np.shape(card.get("range")) == (2,) and card["range"][0] < card["range"][1], name, "its range")


def _whole(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x > 0


def _unlike(names: Iterable[Any]) -> bool:
    listed = list(names)
    return bool(listed) and all(isinstance(n, str) for n in listed) and len(set(listed)) == len(listed)


def _demand(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise ModelError(f"head {name} does not fit together: {what}", "reinstall, or retrain it")


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(_CUBIC) * x**3)
    return np.asarray(np.float32(0.5) * x * (np.float32(1.0) + np.tanh(inner)), dtype=np.float32)
