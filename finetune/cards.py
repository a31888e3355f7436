"""What a head's card says of its making."""

from __future__ import annotations

import subprocess
from datetime import date
from typing import Any

__all__ = ["making"]


def making(seed: int) -> dict[str, Any]:
    """Date, commit and seed; `unknown` outside a git checkout."""
    try:
        asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    else:
        commit = asked.stdout.strip()
    return {"date": date.today().isoformat(), "commit": commit, "seed": seed}
