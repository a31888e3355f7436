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

from affectgpt.errors import UploadRefused, UploadTooLarge, UrlRefused
from serve.api.openai_form import MediaPart
from serve.events import Attachment
from serve.incoming.sniffing import N_HEAD_BYTES, sniff

__all__ = ["FolderIntake", "Intake"]


class Intake(Protocol):
    """Takes files in and lets go of them."""

    async def take_part(self, part: MediaPart) -> Attachment:
        """A file that came inside a request.

        Raises:
            UrlRefused: a URL that is not fetched. UploadTooLarge. UploadRefused: broken base64, no known medium.
        """
        ...

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """A file that was uploaded. Raises what `take_part` raises."""
        ...

    async def release(self, attachments: Iterable[Attachment]) -> None:
        """The turn is over: delete them, unless they are to be kept for a while."""
        ...

    def delete(self, upload_id: str) -> bool:
        """Delete a file now, by its path's stem; whether it was there."""
        ...


class FolderIntake:
    """A temporary folder of this process, for tests and for trying out; `serve.incoming.uploads` holds every limit."""

    def __init__(self, max_bytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="affectgpt-"))
        self._max_bytes = max_bytes

    async def take_part(self, part: MediaPart) -> Attachment:
        """See `Intake.take_part`."""
        data = part.data
        if part.url is not None:
            head, comma, data = part.url.partition(",")
            if not head.startswith("data:") or not comma or not head.endswith(";base64"):
                raise UrlRefused("only data: URLs are taken", "send data:…;base64,…")
        try:
            content = await asyncio.to_thread(base64.b64decode, data or "", validate=True)
        except (binascii.Error, ValueError):
            raise UploadRefused("broken base64", "encode the file's bytes") from None

        async def whole() -> AsyncIterator[bytes]:
            yield content

        return await self.take_stream(whole(), part.name)

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """See `Intake.take_stream`."""
        digest, n_bytes, head = hashlib.sha256(), 0, b""
        handle, place = tempfile.mkstemp(dir=self.folder)
        path = Path(place)
        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in chunks:
                    n_bytes += len(chunk)
                    if n_bytes > self._max_bytes:
                        raise UploadTooLarge(f"more than {self._max_bytes} bytes", "send a smaller file")
                    head = (head + chunk)[:N_HEAD_BYTES] if len(head) < N_HEAD_BYTES else head
                    digest.update(chunk)
                    file.write(chunk)
            if (known := sniff(head)) is None:
                raise UploadRefused(f"{name}: of no kind that is known", "send another format")
            named = path.rename(path.with_suffix(known.suffix))
            return Attachment(named, known.kind, name, digest.hexdigest())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def release(self, attachments: Iterable[Attachment]) -> None:
        """See `Intake.release`."""
        for attachment in attachments:
            attachment.path.unlink(missing_ok=True)

    def delete(self, upload_id: str) -> bool:
        """See `Intake.delete`."""
        found = [path for path in self.folder.iterdir() if path.stem == upload_id]
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
