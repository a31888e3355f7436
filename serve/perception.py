"""Reading media for a server: in processes of their own, once for the same media, given up when nobody waits."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from affectgpt import media
from affectgpt.agent import AffectAgent, Progress, Senses, quiet
from affectgpt.batch.reading import sense_packed
from affectgpt.errors import AffectError, MediaNotFound, WorkerDied
from affectgpt.readers import AgentOptions
from affectgpt.workers import MediaCache, ProcessFolder, WorkerPool, reading_key, unpack
from serve.threads import in_thread

__all__ = ["Perception"]

log = logging.getLogger(__name__)


class Perception:
    """`AffectAgent.sense` for many clients at once, on a pool of workers and a cache.

    The same media with the same options is read once: a reading under way is shared by all who ask for it, and a
    finished one comes from the cache. `n_read`, `n_shared` and `n_cached` count the three. Subtitles that lie beside a
    file are not looked for: another client's upload could lie there. `read` replaces the task that workers run, which
    packs what it sensed.
    """

    def __init__(
        self, pool: WorkerPool, cache: MediaCache, *, read: Callable[[Path, AgentOptions], bytes] | None = None
    ) -> None:
        self.pool = pool
        self.cache = cache
        self.n_read = self.n_shared = self.n_cached = 0
        self._read_packed = read or sense_packed
        self._underway: dict[str, _Reading] = {}
        self._room = ProcessFolder(cache.folder / "reading")

    async def sense(
        self,
        path: Path | None,
        options: AgentOptions,
        on_progress: Progress = quiet,
        *,
        name: str = "",
        sha256: str | None = None,
    ) -> Senses:
        """What the readers give for one file, or for the words in the options where `path` is None.

        `on_progress` is called in the event loop's thread, first with the stage `queue`. `name` stands for the file in
        every message; `sha256` saves hashing it again. Cancelling the caller gives the reading up, and kills its
        worker, unless somebody else waits for the same one.

        Raises:
            InputError: as `AffectAgent.sense`. PoolFull: no worker is free and the queue is full.
            WorkerDied, WorkerTimeout, WorkerOverMemory: the media broke its reader.
        """
        begun_s = time.perf_counter()
        if path is None:
            if options.speech.path is None:
                return await asyncio.to_thread(AffectAgent(None, options).sense, None, quiet)
            path, options = options.speech.path, replace(options, speech=replace(options.speech, path=None))
        name = name or path.name
        try:
            key = await asyncio.to_thread(_key, path, options, sha256)
        except AffectError as error:
            raise type(error)(error.what.replace(str(path), name), error.remedy) from None
        reading = self._underway.get(key)
        if reading is None:
            reading = self._underway[key] = _Reading(self._room.path, path, options)
            reading.task = asyncio.create_task(self._read(key, reading, path, options))
        else:
            self.n_shared += 1
        senses, is_cached = await self._join(key, reading, on_progress, name)
        senses = _told_of(senses, path, lambda text: reading.rename(text, name))
        if is_cached:
            elapsed_s = time.perf_counter() - begun_s
            return replace(senses, timings_s={"cache": elapsed_s, "total": elapsed_s})
        return senses

    def close(self) -> None:
        """Remove what this process holds on disk for readings under way; the pool and the cache are their owner's."""
        self._room.close()

    async def _join(self, key: str, reading: _Reading, on_progress: Progress, name: str) -> tuple[Senses, bool]:
        """Wait for a reading; the last who leaves gives it up."""
        assert reading.task is not None
        reading.listeners.append(on_progress)
        try:
            on_progress(*reading.stage)
            return await asyncio.shield(reading.task)
        except AffectError as error:
            raise type(error)(reading.rename(error.what, name), reading.rename(error.remedy, name)) from None
        finally:
            reading.listeners.remove(on_progress)
            if not reading.listeners and not reading.task.done():
                if self._underway.get(key) is reading:
                    del self._underway[key]
                reading.task.cancel()

    async def _read(self, key: str, reading: _Reading, path: Path, options: AgentOptions) -> tuple[Senses, bool]:
        try:
            if (known := await asyncio.to_thread(self._recall, key)) is not None:
                self.n_cached += 1
                return known, True
            packed = await self._work(reading, path, options)
            self.n_read += 1
            await asyncio.to_thread(self.cache.put, key, packed)
            return await asyncio.to_thread(unpack, packed, Senses), False
        finally:
            if self._underway.get(key) is reading:
                del self._underway[key]

    async def _work(self, reading: _Reading, path: Path, options: AgentOptions) -> bytes:
        """Read in a worker, from a link of our own: the upload may go while others still wait for its reading."""
        loop = asyncio.get_running_loop()

        def listen(message: Any) -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(reading.tell, *message)

        try:
            await in_thread(_link, path, reading.path)
            if options.speech.path is not None:
                await in_thread(_link, options.speech.path, reading.words_path)
                options = replace(options, speech=replace(options.speech, path=reading.words_path))
            ticket = self.pool.submit(
                self._read_packed, reading.path, options, on_progress=listen, label=str(reading.path)
            )
            try:
                return await asyncio.wrap_future(ticket)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                raise WorkerDied(f"{reading.path}: given up, the server is stopping", "send it again") from None
        finally:
            reading.path.unlink(missing_ok=True)
            reading.words_path.unlink(missing_ok=True)

    def _recall(self, key: str) -> Senses | None:
        packed = self.cache.get(key)
        with suppress(ValueError):
            return None if packed is None else unpack(packed, Senses)
        return None


class _Reading:
    """One reading that several may wait for."""

    def __init__(self, folder: Path, path: Path, options: AgentOptions) -> None:
        # The suffixes tell a transcript from media, and SubRip from plain text; nothing else of a name is kept.
        token, words = secrets.token_hex(8), options.speech.path
        self.path = folder / f"{token}{path.suffix.lower()}"
        self.words_path = folder / f"{token}-words{words.suffix.lower() if words else ''}"
        self.task: asyncio.Task[tuple[Senses, bool]] | None = None
        self.listeners: list[Progress] = []
        self.stage: tuple[str, float | None, str] = ("queue", None, "")

    def rename(self, text: str, name: str) -> str:
        """`text` with the client's name for the file: where it lies here is nobody's business."""
        return text.replace(str(self.words_path), "the transcript").replace(str(self.path), name)

    def tell(self, stage: str, fraction: float | None, detail: str) -> None:
        self.stage = (stage, fraction, detail)
        for listener in tuple(self.listeners):
            try:
                listener(stage, fraction, detail)
            except Exception:
                log.exception("progress of a reading could not be told")  # the others still hear of it


def _link(path: Path, target: Path) -> None:
    try:
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system
            shutil.copyfile(path, target)
    except FileNotFoundError:
        raise MediaNotFound(f"{path}: no longer there", "send it again") from None


def _key(path: Path, options: AgentOptions, sha256: str | None) -> str:
    return reading_key(options, sha256 or media.media_hash(path), path.suffix)


def _told_of(senses: Senses, path: Path, rename: Callable[[str], str]) -> Senses:
    """`senses` as of the caller's own file, whichever file was read."""
    clip, transcript = senses.clip, senses.transcript
    if clip is not None:
        clip = replace(clip, path=path)
    if transcript is not None:
        transcript = replace(transcript, note=rename(transcript.note))
    failures = {modality: rename(why) for modality, why in senses.failures.items()}
    return replace(senses, clip=clip, transcript=transcript, failures=failures)
