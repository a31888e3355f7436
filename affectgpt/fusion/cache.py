"""Features on disk by the media they came from: memory-mapped safetensors, whole or absent, shared by processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affectgpt.errors import InputError, OptionError
from affectgpt.fusion.features import Encoder, Features, Signals
from affectgpt.records import Modality

__all__ = ["FeatureCache"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KEY: Final = re.compile(r"[0-9a-f]{64}-[0-9a-f]{32}")
_FORM: Final = "affectgpt features 1"
_SUFFIX: Final = ".safetensors"
_KINDS: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "BOOL": np.dtype(np.bool_)}
_MOST_HEADER_BYTES: Final = 1 << 16


class FeatureCache:
    """Features in `folder` (0700), a file of 0600 each, for as long as nobody removes them.

    What is read back is mapped into memory, not copied, and read-only. A file that was cut short, altered or written by
    another version of this form is a miss and is removed: each read checks a CRC-32 over the arrays, which costs one
    pass over bytes that are about to be used. Several processes may use the folder at once. A failing disk costs hits
    and never features.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.n_hits = self.n_misses = 0

    @staticmethod
    def key(media_sha256: str, encoder: Encoder, *shaped_by: object) -> str:
        """A key: the media's hash, then by hash the encoder's id and version and whatever else shapes its features.

        That is, in JSON's types, for an encoder of tracks: which reader made them, at what rate, of which person.

        Raises:
            OptionError: no SHA-256.
        """
        if not _SHA256.fullmatch(media_sha256):
            raise OptionError(f"{media_sha256!r} is no SHA-256", "hash the media with affectgpt.media.media_hash")
        text = json.dumps([encoder.id, encoder.version, *shaped_by], sort_keys=True)
        return f"{media_sha256}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def encode(self, encoder: Encoder, media_sha256: str, signals: Signals, *shaped_by: object) -> Features:
        """The clip's features, kept from before or made now and kept. Raises what the encoder raises."""
        key = self.key(media_sha256, encoder, *shaped_by)
        found = self.get(key)
        if found is None:
            found = encoder.encode(signals)
            self.put(key, found)
        return found

    def get(self, key: str) -> Features | None:
        """What was put under `key`, or None. Raises OptionError for what is no key."""
        path = self._path(key)
        with suppress(OSError):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                found = _read(np.memmap(file, np.uint8, "r")) if size else None
            if found is not None:
                self.n_hits += 1
                return found
            path.unlink(missing_ok=True)
        self.n_misses += 1
        return None

    def put(self, key: str, features: Features) -> None:
        """Keep the features, in place of any that are there. Raises OptionError for what is no key."""
        path = self._path(key)
        part = path.with_suffix(f".{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_packed(features))
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def forget(self, media_sha256: str) -> int:
        """Remove everything that was encoded from this medium; returns how many features there were."""
        if not _SHA256.fullmatch(media_sha256):
            return 0
        found = list((self.folder / media_sha256[:2]).glob(f"{media_sha256}-*"))
        for path in found:
            path.unlink(missing_ok=True)
        return sum(path.suffix == _SUFFIX for path in found)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise OptionError(f"{key!r} is no key of a feature cache", "make it with FeatureCache.key")
        return self.folder / key[:2] / (key + _SUFFIX)


def _packed(features: Features) -> bytes:
    """The features as a safetensors document."""
    from safetensors.numpy import save

    given: dict[str, NDArray[Any]] = {"tokens": features.tokens, "times_s": features.times_s, "valid": features.valid}
    arrays = {name: np.ascontiguousarray(array) for name, array in given.items()}
    about = {
        "shape": features.tokens.shape,
        "encoder": features.encoder,
        "modality": features.modality.value,
        "grid": features.grid,
        "crc32": {name: _sum(array) for name, array in arrays.items()},
    }
    text = json.dumps(about)
    # The sum over `about` guards what the sums over the arrays do not.
    return save(arrays, metadata={"form": _FORM, "features": text, "crc32": str(zlib.crc32(text.encode()))})


def _sum(array: NDArray[Any]) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def _read(held: NDArray[np.uint8]) -> Features | None:
    """The features in a mapped file, or None for whatever is not what `_packed` gives.

    safetensors maps files for torch alone; for numpy it copies, hence the few lines of its form here.
    """
    n_header = int.from_bytes(held[:8].tobytes(), "little")
    if n_header > min(_MOST_HEADER_BYTES, len(held) - 8):
        return None
    try:
        header = json.loads(held[8 : 8 + n_header].tobytes())
        about = header.pop("__metadata__")
        if about["form"] != _FORM or str(zlib.crc32(about["features"].encode())) != about["crc32"]:
            return None
        told = json.loads(about["features"])
        arrays = {name: _array(held[8 + n_header :], entry) for name, entry in header.items()}
        sums = {name: _sum(array) for name, array in arrays.items()}
        if sums != told["crc32"] or list(arrays["tokens"].shape) != told["shape"]:
            return None
        grid = None if told["grid"] is None else tuple(map(int, told["grid"]))
        return Features(**arrays, encoder=told["encoder"], modality=Modality(told["modality"]), grid=grid)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, InputError):
        return None


def _array(data: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(data):
        raise ValueError("an array beyond the file")
    kind: np.dtype[Any] = _KINDS[entry["dtype"]]
    array: NDArray[Any] = np.asarray(data[start:end]).view(kind).reshape(entry["shape"])
    return array
