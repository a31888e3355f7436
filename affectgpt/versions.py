"""Which versions made a result: only of what was really loaded."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import metadata

__all__ = ["loaded_versions", "own_version"]

# Import name -> distribution name: everything whose version can change a number or a word of an outcome.
DISTRIBUTIONS = {
    "av": "av",
    "decord": "decord",
    "faster_whisper": "faster-whisper",
    "librosa": "librosa",
    "mediapipe": "mediapipe",
    "numpy": "numpy",
    "openai": "openai",
    "opensmile": "opensmile",
    "parselmouth": "praat-parselmouth",
    "peft": "peft",
    "pocketsphinx": "pocketsphinx",
    "silero_vad": "silero-vad",
    "torch": "torch",
    "transformers": "transformers",
    "whisper": "openai-whisper",
}


def own_version() -> str:
    """This package's version, or `unknown` in a tree that was never installed."""
    try:
        return metadata.version("affectgpt")
    except metadata.PackageNotFoundError:
        return "unknown"


def loaded_versions() -> dict[str, str]:
    """Versions of this package, of Python and of the libraries that are loaded in this process."""
    versions = {"affectgpt": own_version(), "python": platform.python_version()}
    for module, distribution in DISTRIBUTIONS.items():
        if module in sys.modules and (version := _version(distribution)) is not None:
            versions[distribution] = version
    return versions


@cache
def _version(distribution: str) -> str | None:
    """What is installed, looked up once: that reads files, and every outcome asks. None: a module from elsewhere."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
