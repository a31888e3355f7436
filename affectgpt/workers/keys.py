"""What a reading of a medium is kept under: everything that shapes it, by hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from affectgpt.versions import DISTRIBUTIONS, own_version
from affectgpt.workers.cache import MediaCache

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["NOT_SENSING", "code_digest", "plain_option", "reading_key"]

NOT_SENSING: Final = frozenset(
    {"top_k", "key_observations", "decide", "permissive", "coverage", "revisions", "sampling"}
)
"""Options of `AgentOptions` that the readers never see. One that is not named here is taken to shape the reading."""

_READING_CODE: Final = ("media", "perceive", "fusion", "records", "data", "agent.py", "jobs.py", "readers.py")
_SHAPING: Final = frozenset({".py", ".toml", ".npy", ".npz", ".json", ".safetensors"})
"""Code, tables and weights; documents and templates of pages shape nothing."""


def reading_key(options: DataclassInstance, media_sha256: str, suffix: str, *beside: str) -> str:
    """A `MediaCache` key: the medium, its kind, the options that readers see, and the readers themselves.

    `options` are an `AgentOptions`; a file that they name counts by its content. `suffix` is the medium's (`.mp4`, in
    any case), `beside` the hashes of whatever else is read along with it, such as subtitles in a file of their own.

    Raises:
        OptionError: `media_sha256` is no SHA-256.
    """
    shaping = {f.name: plain_option(getattr(options, f.name)) for f in fields(options) if f.name not in NOT_SENSING}
    whisper = os.environ.get("AFFECTGPT_WHISPER")
    return MediaCache.key(media_sha256, suffix.lower(), shaping, whisper, dict(_readers()), *beside)


def plain_option(value: object) -> object:
    """An option in JSON's types; a file by its content, so that another file under the same name is another option."""
    if isinstance(value, Path):
        from affectgpt import media  # every worker imports this package, and few need numpy

        return media.media_hash(value) if value.is_file() else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_option(getattr(value, f.name)) for f in fields(value)}
    return sorted(map(str, value)) if isinstance(value, frozenset) else value


@cache
def code_digest(*names: str) -> str:
    """SHA-256 of this package's own files under these names: code, tables and weights alike."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in names:
        for file in sorted(p for p in (package / name, *(package / name).rglob("*")) if p.suffix in _SHAPING):
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def _readers() -> Mapping[str, str]:
    """What decides a reading besides media and options: the libraries' versions, and our own code and tables."""
    versions = {"affectgpt": own_version()}
    for distribution in DISTRIBUTIONS.values():
        with suppress(metadata.PackageNotFoundError):
            versions[distribution] = metadata.version(distribution)
    return MappingProxyType({**versions, "code": code_digest(*_READING_CODE)})
