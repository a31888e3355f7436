"""What a card says of the making: when, from which commit, by which seed."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path
from typing import Any

__all__ = ["commit", "making"]


def making(seed: int) -> dict[str, Any]:
    """Date, commit and seed."""
    return {"date": date.today().isoformat(), "commit": commit()[:7], "seed": seed}


def commit() -> str:
    """The commit that this code stands at, in full; `unknown` outside a git checkout or without git."""
    here = Path(__file__).resolve().parent
    try:
        asked = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()
