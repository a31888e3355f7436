"""Streams into an upload folder, and a look at what lies there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from serve.events import Attachment
from serve.incoming.uploads import UploadLimits, Uploads

LIMITS = UploadLimits(max_bytes=2_000_000, max_image_bytes=500_000, max_transcript_bytes=1000, max_duration_s=5.0)


async def flow(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


def take(uploads: Uploads, data: bytes | AsyncIterator[bytes], name: str = "clip") -> Attachment:
    return asyncio.run(take_in(uploads, data, name))


async def take_in(uploads: Uploads, data: bytes | AsyncIterator[bytes], name: str = "clip") -> Attachment:
    return await uploads.receive(flow(data) if isinstance(data, bytes) else data, name)


async def tried(uploads: Uploads, data: bytes) -> Attachment | BaseException:
    (outcome,) = await asyncio.gather(take_in(uploads, data), return_exceptions=True)
    return outcome


def held(uploads: Uploads) -> list[Path]:
    """Every file in the folder but locks."""
    root = uploads._kept.parent
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")


class Endless:
    """A stream without an end that counts how much of it was taken."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.n_taken = 0
        self.is_closed = False

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        self.n_taken += 1
        await asyncio.sleep(0)
        return self.head + bytes(10_000) if self.n_taken == 1 else bytes(10_000)

    async def aclose(self) -> None:
        self.is_closed = True
