"""Full models with an adapter added into their weights, made once and kept in the user's cache.

Served merged, one adapter costs nothing a token; unmerged, a server can hold several and the plain base beside them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from affectgpt.engines import adapter, embedded, models
from affectgpt.errors import ModelError

__all__ = ["MERGER", "NOTES", "merged_folder", "write_merged"]

MERGER = 1
"""Raised whenever the folder's content would change: an older folder is then made anew."""

NOTES = "affectgpt.json"


def write_merged(part: Path, folder: Path, model: str | None) -> None:
    """Fill `part` with `model` and the adapter in `folder` as one (W' = W + alpha/r BA, in float32).

    `model` is as in `models.resolve`; None is the embedded one. Weights are stored as the base's are.

    Raises:
        ModelError: the adapter is not whole or of another base. OSError: `part` cannot be written.
    """
    import torch

    manifest = adapter.read_manifest(folder)
    name, place = models.resolve(model)
    merged, _ = adapter.merge(models.load_model(place), folder, name, models.config_file(place))
    # Loaded and merged in float32, so the loaded configuration no longer tells how the base is stored.
    told = json.loads(models.config_file(place).read_text("utf-8"))
    stored = getattr(torch, str(told.get("dtype") or told.get("torch_dtype") or "float32"))
    merged.to(stored).save_pretrained(part)
    models.load_tokenizer(place).save_pretrained(part)
    for weights in part.glob("*.safetensors"):
        weights.chmod(0o644)  # safetensors writes 0600; a server may run as somebody else
    notes = {"merged": manifest.id, "base_model": manifest.base_model, "weights_sha256": manifest.weights_sha256}
    (part / NOTES).write_text(json.dumps(notes, indent=2) + "\n", "utf-8")


def merged_folder(folder: Path, model: str | None = None) -> Path:
    """The same, kept in the cache: made on first use (some ten seconds for the embedded model) and then only found.

    The folder's name holds a hash of the adapter, of the base's configuration and of its files' names, sizes and
    times. It appears whole by a rename, one process makes it while others wait, and those of an adapter that changed
    are removed.

    Raises:
        ModelError: the adapter is not whole or of another base, or the cache cannot be written.
    """
    manifest = adapter.read_manifest(folder)
    name, place = models.resolve(model)
    stem = f"{name}+{manifest.id}-"
    shelf = embedded.cache_root() / "models" / "merged"
    target = shelf / f"{stem}{_key(folder, models.config_file(place).parent)}"
    if target.is_dir():
        return target
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with embedded.locked(shelf / ".lock"):
            if not target.is_dir():
                _make(target, folder, model)
                for older in shelf.glob(f"{stem}*"):
                    if older != target:
                        shutil.rmtree(older, ignore_errors=True)
    except OSError as e:
        remedy = "make room there, or point AFFECTGPT_CACHE at a folder that can be written"
        raise ModelError(f"cannot write the merged model to {shelf}: {e.strerror or e}", remedy) from e
    return target


def _make(target: Path, folder: Path, model: str | None) -> None:
    for left_over in target.parent.glob(".making-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        part.chmod(0o755)
        write_merged(part, folder, model)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _key(folder: Path, base: Path) -> str:
    """Twelve hex digits that change with the adapter, the base or this module's way of merging them."""
    parts = [str(MERGER)]
    parts += [adapter.file_sha256(path) for path in (folder / adapter.WEIGHTS, folder / adapter.CONFIG)]
    parts.append(adapter.file_sha256(base / "config.json"))
    for path in sorted(base.iterdir()):
        if path.is_file():
            found = path.stat()  # follows the links that model hubs' caches are made of
            parts.append(f"{path.name} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
