"""Where a client's files come in: limits held while they stream, names of our own, and nothing kept by accident."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import re
import secrets
import threading
import time
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from affectgpt import media
from affectgpt.errors import AffectError, PoolFull, UploadRefused, UploadTooLarge, UrlRefused
from affectgpt.records import Clip
from affectgpt.workers import Limits, ProcessFolder, WorkerPool, private_folder
from serve.api.openai_form import MediaPart
from serve.events import Attachment, MediaKind
from serve.incoming.inline import decode_base64, open_data_url
from serve.incoming.remote import Remote
from serve.incoming.sniffing import N_HEAD_BYTES, Sniffed, sniff
from serve.threads import in_thread

__all__ = ["UploadLimits", "Uploads", "shown_name"]

MB: Final = 1_000_000
_BLOCK_BYTES: Final = 1 << 18
_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_NAME: Final = 80
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's general categories of what cannot be seen, or turns the direction of what can."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one upload may have, and all of this process together (`max_held_bytes`).

    `seconds` is how long one may take to arrive, `stall_s` how long it may pause, `probe_s` how long its header may
    take to read. Subtitles of a three-hour film are about 150 kB. 240 frames a second is a telephone's slow motion.
    """

    max_bytes: int = 512 * MB
    max_image_bytes: int = 64 * MB
    max_transcript_bytes: int = 2 * MB
    max_held_bytes: int = 8_000 * MB
    max_duration_s: float = 600.0
    max_pixels: int = 40_000_000
    max_fps: float = 240.0
    seconds: float = 900.0
    stall_s: float = 30.0
    probe_s: float = 30.0

    def most_bytes(self, kind: MediaKind) -> int:
        """The most bytes that a file of this kind may have."""
        own = {"image": self.max_image_bytes, "transcript": self.max_transcript_bytes}
        return min(self.max_bytes, own.get(kind, self.max_bytes))


class Uploads:
    """Files of clients in `folder` (0700; files 0600), each under a random name, known by its content alone.

    A file is let go of when it was answered (`release`), or, with `retain`, `ttl_s` seconds after it came. Nothing
    outlives that: `sweep` deletes what is older, and what a killed process left goes when the next one starts, at once
    without `retain`. `pool` reads headers: no decoder ever runs in this process. `remote` fetches URLs; None refuses.
    `forget` may be set to what else must go with a file that its client deletes; it is called with the SHA-256.
    """

    def __init__(
        self,
        folder: Path,
        limits: UploadLimits,
        pool: WorkerPool,
        *,
        ttl_s: float = 3600.0,
        retain: bool = False,
        remote: Remote | None = None,
    ) -> None:
        self.limits = limits
        self.ttl_s = ttl_s
        self.retain = retain
        self.forget: Callable[[str], object] = lambda sha256: None
        self._pool = pool
        self._remote = remote
        self._kept = private_folder(private_folder(folder) / "kept")
        self._own = ProcessFolder(folder / "open")
        self._counting = threading.Lock()
        self._n_held_bytes = 0
        self.sweep()

    async def receive(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """Take a stream in.

        Raises:
            UploadTooLarge, ImageTooLarge, MediaTooLong: over a limit; told as early as it is known.
            UploadRefused, UnreadableMedia: empty, of no kind that is read, damaged, or it came too slowly.
            WorkerDied: its header broke the reader. PoolFull: no worker, or no room, is free.
        """
        name = shown_name(name)
        path = self._folder / secrets.token_hex(16)
        try:
            async with aclosing(_paced(chunks, self.limits)) as paced:
                sniffed, sha256 = await self._write(paced, path, name)
            path = path.rename(path.with_suffix(sniffed.suffix))
            attachment = Attachment(path, sniffed.kind, name, sha256)
            attachment = await self._probe(attachment)
            await in_thread(_note, attachment)
        except TimeoutError:
            await in_thread(self._remove, path)
            raise UploadRefused(f"{name}: it came too slowly, or stopped", "send it again") from None
        except BaseException:
            await in_thread(self._remove, path)
            raise
        return attachment

    async def take_stream(self, chunks: AsyncIterator[bytes], name: str) -> Attachment:
        """See `receive`."""
        return await self.receive(chunks, name)

    async def take_part(self, part: MediaPart) -> Attachment:
        """A file inside a request: base64, a data: URL, or an http(s) URL of a host that is allowed.

        Raises:
            UrlRefused, UploadRefused: a URL that is not fetched, or broken base64. Also as `receive`.
        """
        most = self.limits.max_bytes
        if part.url is None:
            return await self.receive(_flowing(decode_base64(part.data or "", most)), part.name)
        if part.url[:5].lower() == "data:":
            return await self.receive(_flowing(open_data_url(part.url, most)), part.name)
        if self._remote is None:
            raise UrlRefused("no URL is fetched here", "send the file itself: data:...;base64,...")
        return await self.receive(self._remote.fetch(part.url, most), part.name)

    async def release(self, attachments: Iterable[Attachment]) -> None:
        """They are answered: delete them, unless uploads are retained."""
        if not self.retain:
            await in_thread(self._remove, *(attachment.path for attachment in attachments))

    def find(self, upload_id: str) -> Attachment | None:
        """The upload of this id (its file's stem), while it is there."""
        if not _ID.fullmatch(upload_id):
            return None
        with suppress(OSError, ValueError, KeyError):
            noted = json.loads((self._folder / f"{upload_id}.json").read_bytes())
            path = self._folder / f"{upload_id}{noted['suffix']}"
            if path.is_file():
                return Attachment(path, noted["kind"], noted["name"], noted["sha256"], noted["duration_s"])
        return None

    def delete(self, upload_id: str) -> bool:
        """Delete an upload now, retained or not; whether it was there."""
        found = self.find(upload_id)
        if found is not None:
            self._remove(found.path)
            self.forget(found.sha256)
        return found is not None

    def sweep(self) -> int:
        """Delete what is older than `ttl_s`, retained or not; returns how many files went. Counts what is held."""
        oldest_s = time.time() - self.ttl_s
        n_gone = n_bytes = 0
        for path in (*self._kept.glob("[!.]*"), *self._own.path.glob("[!.]*")):
            with suppress(OSError):
                found = path.stat()
                if found.st_mtime < oldest_s:
                    path.unlink()
                    n_gone += path.suffix != ".json"
                else:
                    n_bytes += found.st_size
        self._n_held_bytes = n_bytes
        return n_gone

    async def keep_swept(self, every_s: float = 60.0) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.sweep)

    def close(self) -> None:
        """Delete what is not retained."""
        self._own.close()

    @property
    def _folder(self) -> Path:
        return self._kept if self.retain else self._own.path

    async def _write(self, paced: AsyncIterator[bytes], path: Path, name: str) -> tuple[Sniffed, str]:
        """Stream to disk, known by its head and counted before each block is written; (what it is, SHA-256)."""
        digest, n_bytes, held = hashlib.sha256(), 0, bytearray()
        sniffed: Sniffed | None = None
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "wb", buffering=0) as file:
            async for chunk in paced:
                held += chunk
                n_bytes += len(chunk)
                if sniffed is None and len(held) >= N_HEAD_BYTES:
                    sniffed = _known(bytes(held), name)
                self._check_size(n_bytes, sniffed, name)
                if sniffed is not None and len(held) >= _BLOCK_BYTES:
                    digest.update(held)
                    await in_thread(self._put, file, bytes(held))
                    held.clear()
            if not n_bytes:
                raise UploadRefused(f"{name}: the file is empty", "send it again")
            sniffed = sniffed or _known(bytes(held), name)
            self._check_size(n_bytes, sniffed, name)
            digest.update(held)
            await in_thread(self._put, file, bytes(held))
        return sniffed, digest.hexdigest()

    def _check_size(self, n_bytes: int, sniffed: Sniffed | None, name: str) -> None:
        most = self.limits.max_bytes if sniffed is None else self.limits.most_bytes(sniffed.kind)
        if n_bytes > most:
            what = "file" if sniffed is None else sniffed.kind
            raise UploadTooLarge(f"{name}: more than {most} bytes, the limit of a {what}", "send a smaller one")

    def _put(self, file: IO[bytes], block: bytes) -> None:
        full = PoolFull("there is no room for another upload", "try again in a while")
        with self._counting:
            if self._n_held_bytes + len(block) > self.limits.max_held_bytes:
                raise full
            self._n_held_bytes += len(block)
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise full from error
            raise

    async def _probe(self, attachment: Attachment) -> Attachment:
        """It with what a worker says that it is, from its header and a first frame; held against the limits."""
        path, name = attachment.path, attachment.name
        if attachment.kind == "transcript":
            return replace(attachment, duration_s=0.0)
        limits = Limits(self._pool.limits.memory_bytes, self.limits.probe_s)
        asked = (path, self.limits.max_duration_s, self.limits.max_pixels)
        try:
            clip = await asyncio.wrap_future(self._pool.submit(_open, *asked, label=name, limits=limits))
        except AffectError as error:
            raise type(error)(error.what.replace(str(path), name), error.remedy) from None
        if clip.has_video and clip.fps > self.limits.max_fps:
            most = f"the limit is {self.limits.max_fps:g}"
            raise UploadTooLarge(f"{name}: {clip.fps:g} frames a second, {most}", "send it at a lower rate")
        if attachment.kind == "image":
            return replace(attachment, duration_s=0.0)
        return replace(attachment, kind="video" if clip.has_video else "audio", duration_s=clip.duration_s)

    def _remove(self, *paths: Path) -> None:
        for file in (file for path in paths for file in (path, path.with_suffix(".json"))):
            with suppress(OSError):
                n_bytes = file.stat().st_size
                file.unlink()
                with self._counting:
                    self._n_held_bytes = max(0, self._n_held_bytes - n_bytes)


def shown_name(name: str) -> str:
    """A client's file name, fit to be shown: its last part, no control or direction characters, at most 80 long."""
    whole = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    plain = "".join(c for c in re.split(r"[/\\]", whole)[-1] if unicodedata.category(c) not in _UNSHOWN)
    plain = " ".join(plain.split()).strip(". ")
    if len(plain) > _MAX_NAME:
        stem, dot, suffix = plain.rpartition(".")
        ending = dot + suffix if stem and len(suffix) <= 8 else ""
        plain = plain[: _MAX_NAME - 1 - len(ending)] + "…" + ending
    return plain or "upload"


def _open(path: Path, max_duration_s: float, max_pixels: int) -> Clip:
    """The worker's task."""
    return media.open_clip(path, max_duration_s=max_duration_s, max_pixels=max_pixels)


def _known(head: bytes, name: str) -> Sniffed:
    sniffed = sniff(head)
    if sniffed is None:
        raise UploadRefused(
            f"{name}: no picture, sound, video or transcript that can be read here",
            "send a common format: mp4, webm, wav, mp3, jpg, png, srt, vtt or UTF-8 text",
        )
    return sniffed


def _note(attachment: Attachment) -> None:
    """Write beside the file what is to be known of it after a restart."""
    path = attachment.path
    noted = {
        "kind": attachment.kind,
        "name": attachment.name,
        "sha256": attachment.sha256,
        "suffix": path.suffix,
        "duration_s": attachment.duration_s,
    }
    with os.fdopen(os.open(path.with_suffix(".json"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(noted, file)


async def _paced(chunks: AsyncIterator[bytes], limits: UploadLimits) -> AsyncGenerator[bytes, None]:
    """`chunks`, closed at the end. Raises TimeoutError for a stream that stalls, or takes too long in all."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limits.seconds
    try:
        while True:
            async with asyncio.timeout_at(min(end_s, loop.time() + limits.stall_s)):
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk
    finally:
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


async def _flowing(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """`blocks`, made one at a time while other clients are served in between."""
    for block in blocks:
        yield block
        await asyncio.sleep(0)
