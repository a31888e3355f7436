"""What every page of this package stands on: its own files, its policy against foreign scripts, an atomic write."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path

__all__ = ["plotly_js", "policy", "printable", "read_data", "script_json", "write_page"]


def write_page(path: Path, page: str) -> None:
    """Write a page. It appears whole, by a rename, or not at all.

    Raises:
        OSError: the folder is missing, full or closed to writing.
    """
    handle, made = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(made).chmod(0o666 & ~_umask())
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


def read_data(name: str) -> str:
    """The text of a file of this package's data folder."""
    return (files("affectgpt") / "data" / name).read_text(encoding="utf-8")


def plotly_js() -> str:
    """Plotly's own script, as the package brings it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def policy(*scripts: str) -> str:
    """A content security policy under which only these scripts run and nothing is fetched."""
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts if s)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: no `<` that could end it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def printable(text: str) -> str:
    """Text that UTF-8 can write: undecodable bytes of a file name become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _umask() -> int:
    # The only way to read it is to set it; mkstemp made the file for its owner alone.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
