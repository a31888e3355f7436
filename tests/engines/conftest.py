"""The tiny model and its adapter, made once for the tests of the engines; and a server that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripted_server import Scripted, scripted_server
from tests.tiny_model import write_tiny, write_tuned


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer random Llama over bytes."""
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter of it."""
    return write_tuned(tmp_path_factory.mktemp("adapters") / "tuned", tiny)


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A scripted server."""
    with scripted_server() as scripted:
        yield scripted
