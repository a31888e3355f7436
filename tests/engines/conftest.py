"""The tiny model and its adapter, made once for the tests of the engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import write_tiny, write_tuned


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer random Llama over bytes."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter of it."""
    return write_tuned(tmp_path_factory.mktemp("adapters") / "tuned", tiny)
