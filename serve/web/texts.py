"""The page's own words, from texts.toml: one file to translate."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["say", "table"]


def say(key: str, **values: object) -> str:
    """The text at a dotted key (`chat.stop`), its places filled. Raises KeyError where there is none."""
    found: Any = _texts()
    for part in key.split("."):
        found = found[part]
    return str(found).format(**values) if values else str(found)


def table(key: str) -> dict[str, str]:
    """A whole table of texts."""
    return dict(_texts()[key])


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads((files("serve.web") / "texts.toml").read_text(encoding="utf-8"))
