"""The fused path of a gateway: who reads a clip's features into soft tokens, and who explains from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from affectgpt.engines.adapter import read_manifest
from affectgpt.engines.engine import EngineOptions, open_engine
from affectgpt.errors import OptionError
from affectgpt.fusion.soft_reader import SoftReader, lora_folder
from affectgpt.readers import open_soft_reader
from serve.settings import ServeSettings
from serve.writers import LocalWriter, UpstreamWriter, Writer

__all__ = ["Fusion", "open_fusion"]


@dataclass(frozen=True, slots=True)
class Fusion:
    """`reader` makes the soft tokens, `writer` explains from them."""

    reader: SoftReader
    writer: Writer


def open_fusion(folder: Path, settings: ServeSettings, explainer: Writer) -> Fusion:
    """The fused path by a fusion folder: with its own LoRA adapter where it holds one, else with the explainer.

    Raises:
        OptionError: a model that takes no soft tokens, or a server that does not hold the folder's LoRA adapter.
        ModelError: a folder that is not whole, or of another base model or prompt.
    """
    writer, lora = explainer, lora_folder(folder)
    if lora is not None and isinstance(explainer, UpstreamWriter):
        writer = _of_server(explainer, read_manifest(lora).id)
    elif lora is not None and settings.engine != "echo":
        local = EngineOptions(engine="local", model=settings.model, adapter=str(lora))
        writer = LocalWriter(open_engine(local, {}))
    return Fusion(open_soft_reader(folder, writer), writer)


def _of_server(explainer: UpstreamWriter, adapter: str) -> UpstreamWriter:
    """The same server's other adapter."""
    names = [str(row["id"]) for row in explainer.listed]
    if adapter not in names:
        what = f"the server has no adapter {adapter!r}, which the soft tokens were trained with"
        raise OptionError(f"{what}: {', '.join(names[:20]) or 'none'}", "let the server hold it too")
    return UpstreamWriter(explainer.upstream, adapter, continues=explainer.continues, listed=explainer.listed)
