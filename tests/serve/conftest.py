"""What several tests of the server stand on: upload folders, readings that do as a file says, a server behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bombs import obey, warm
from gateway_fakes import Behind, Gateway, behind, running
from upload_room import LIMITS

from affectgpt.workers import Limits, MediaCache, WorkerPool
from serve.incoming.uploads import UploadLimits, Uploads
from serve.perception import Perception
from serve.upstream import Upstream


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """One worker with the readers warm, and three places to wait."""
    with WorkerPool(1, 3, Limits(1 << 30, 20.0), warm=warm) as pool:
        yield pool


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    return MediaCache(tmp_path / "cache", 10_000_000)


@pytest.fixture
def perception(pool: WorkerPool, cache: MediaCache) -> Iterator[Perception]:
    """One whose readings do as the file says."""
    perception = Perception(pool, cache, read=obey)
    yield perception
    perception.close()


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., Path]:
    """Makes files that say how their reading goes; each reading leaves a mark."""

    def make(name: str = "clip.mp4", **orders: object) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"marks": str(tmp_path / "marks"), **orders}))
        return path

    return make


@pytest.fixture(scope="module")
def header_pool() -> Iterator[WorkerPool]:
    """One worker that looks at headers."""
    with WorkerPool(1, 8, Limits(1 << 30, 30.0)) as pool:
        yield pool


@pytest.fixture
def open_uploads(tmp_path: Path, header_pool: WorkerPool) -> Iterator[Callable[..., Uploads]]:
    """Makes upload folders that are closed at the end."""
    opened: list[Uploads] = []

    def make(limits: UploadLimits = LIMITS, **options: Any) -> Uploads:
        opened.append(Uploads(tmp_path / "uploads", limits, header_pool, **options))
        return opened[-1]

    yield make
    for uploads in opened:
        uploads.close()


@pytest.fixture
def uploads(open_uploads: Callable[..., Uploads]) -> Uploads:
    return open_uploads()


@pytest.fixture(scope="module")
def passing() -> Iterator[tuple[Behind, Gateway]]:
    """A server of other models, and a gateway before it that hands on."""
    with behind() as server, running(upstream=Upstream(server.url, "sk-key")) as running_gateway:
        yield server, running_gateway


@pytest.fixture
def server(passing: tuple[Behind, Gateway]) -> Behind:
    passing[0].reset()
    return passing[0]


@pytest.fixture
def front(passing: tuple[Behind, Gateway]) -> Gateway:
    return passing[1]
