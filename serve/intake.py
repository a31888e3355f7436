"""Where a client's files come in: a folder of this server's own, under names of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol

from serve.events import Attachment, MediaKind
from serve.openai_form import ApiError, MediaPart

__all__ = ["FolderIntake", "Intake"]


class Intake(Protocol):
    """Takes files in and lets go of them."""

    async def take_part(self, part: MediaPart) -> Attachment:
        """A file that came inside a request.

        Raises:
            ApiError: 400 for a URL that may not be fetched or broken base64, 413 too large, 415 no known medium.
        """
        ...

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """A file that was uploaded. Raises ApiError as `take_part` does."""
        ...

    async def release(self, attachments: Iterable[Attachment]) -> None:
        """The turn is over: delete them, unless they are to be kept for a while."""
        ...


class FolderIntake:
    """A temporary folder, one file an upload, known by its first bytes and nothing that the client says of it."""

    def __init__(self, max_bytes: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="affectgpt-"))
        self._max_bytes = max_bytes

    async def take_part(self, part: MediaPart) -> Attachment:
        """See `Intake.take_part`."""
        data = part.data
        if part.url is not None:
            head, comma, data = part.url.partition(",")
            if not head.startswith("data:") or not comma or not head.endswith(";base64"):
                raise ApiError("only data: URLs are taken", "send data:…;base64,…", code="url_not_allowed")
        try:
            content = await asyncio.to_thread(base64.b64decode, data or "", validate=True)
        except (binascii.Error, ValueError):
            raise ApiError(f"{part.part} holds no base64", "encode the file's bytes", param=part.part) from None

        async def whole() -> AsyncIterator[bytes]:
            yield content

        return await self.take_stream(whole(), part.name)

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """See `Intake.take_stream`."""
        digest, n_bytes, head = hashlib.sha256(), 0, b""
        handle, place = tempfile.mkstemp(dir=self._folder)
        path = Path(place)
        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in chunks:
                    n_bytes += len(chunk)
                    if n_bytes > self._max_bytes:
                        raise ApiError(f"more than {self._max_bytes} bytes", "send a smaller file", status=413)
                    head = head or chunk[:4096]
                    digest.update(chunk)
                    file.write(chunk)
            kind, suffix = _known(head, name)
            named = path.with_suffix(suffix)
            path.rename(named)
            return Attachment(named, kind, name, digest.hexdigest())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def release(self, attachments: Iterable[Attachment]) -> None:
        """See `Intake.release`."""
        for attachment in attachments:
            attachment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _known(head: bytes, name: str) -> tuple[MediaKind, str]:
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")) or head[8:12] == b"WEBP":
        return "image", ".img"
    if head.startswith((b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1")) or head[8:12] == b"WAVE":
        return "audio", ".snd"
    if head[4:8] == b"ftyp" or head.startswith(b"\x1a\x45\xdf\xa3") or head[8:12] == b"AVI ":
        return "video", ".vid"
    suffix = Path(name).suffix.lower()
    if suffix in {".srt", ".vtt", ".txt"} and b"\x00" not in head:
        return "transcript", suffix
    raise ApiError("no known image, sound, video or transcript", "send a common format", status=415)
