"""From an item to what was observed and what the appraisers make of it: recalled, or read by a worker and weighed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from affectgpt.agent import AffectAgent, Parts, Senses
from affectgpt.batch.fetching import Medium
from affectgpt.batch.identity import Identity, brings_words, to_read
from affectgpt.batch.reading import Reader
from affectgpt.batch.records import Item
from affectgpt.batch.threads import Threads
from affectgpt.errors import AffectError
from affectgpt.readers import AgentOptions
from affectgpt.records import Modality, Outcome
from affectgpt.workers import MediaCache, pack, unpack

if TYPE_CHECKING:
    from affectgpt.appraise.panel import Appraiser

__all__ = ["Evidence", "EvidenceStage", "How"]

How = Literal["read", "recalled", "shared", "words"]
"""A worker read the medium; the cache had it; another row had it read at the same moment; there was none to read."""

_OF_WORDS: Final = ("torch", "transformers")
"""What the panel loads when the first words come. A row names the libraries that its process has loaded: loaded from
the beginning, they are named in every row, whichever rows the process had before and on whatever machine."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Evidence:
    """An outcome that nobody has answered yet, how its readings came about, and what they added to the cache."""

    weighed: Outcome
    how: How
    cache_bytes: int = 0


class EvidenceStage:
    """Reads and weighs items. The same reading is done once, however many rows ask for it at a time.

    Appraisals are made in one thread: torch keeps buffers for every thread that ever computed. `appraiser` replaces the
    shipped panel.
    """

    def __init__(self, reader: Reader, cache: MediaCache | None, appraiser: Appraiser | None = None) -> None:
        self._reader, self._cache, self._appraiser = reader, cache, appraiser
        self._weighing = Threads(1, "weigh")
        self._disk = Threads(2, "cache")
        self._underway: dict[str, asyncio.Future[bytes]] = {}
        self._panel_of = lru_cache(maxsize=8)(_open_panel)
        self.n_reading = 0

    async def gather(self, item: Item, medium: Medium | None, options: AgentOptions, identity: Identity) -> Evidence:
        """What was observed and appraised, as of the item's own medium.

        Raises:
            InputError: the medium or the options are at fault. ModelError, MissingDependency: a reader or a head.
            WorkerDied, WorkerTimeout, WorkerOverMemory: the medium broke its reader.
        """
        begun_s = time.perf_counter()
        if (known := await self._recall(identity.weighing, Outcome)) is not None:
            took_s = time.perf_counter() - begun_s
            return Evidence(
                _told_of(replace(known, timings_s={"recall": took_s, "total": took_s}), item, options),
                "words" if medium is None else "recalled",
            )
        senses, how, n_bytes = await self._sense(item, medium, options, identity)
        weighed = await self._weighing.run(self._weigh, senses, options)
        n_bytes += await self._keep(identity.weighing, pack(weighed))
        return Evidence(_told_of(weighed, item, options), how, n_bytes)

    def close(self) -> None:
        """Give up what goes on; the cache is its owner's."""
        self._reader.close()
        self._weighing.close()
        self._disk.close()

    async def _sense(
        self, item: Item, medium: Medium | None, options: AgentOptions, identity: Identity
    ) -> tuple[Senses | None, How, int]:
        """The tracks, None where there are words alone, which are read when they are weighed; bytes newly cached."""
        reads = to_read(options)
        if medium is None or (brings_words(options) and options.modalities == {Modality.SPEECH}):
            return None, "words", 0
        if (known := await self._recall(identity.reading, Senses)) is not None:
            return known, "recalled", 0
        if (underway := self._underway.get(identity.reading)) is not None:
            return unpack(await asyncio.shield(underway), Senses), "shared", 0
        packed = await self._alone(identity.reading, lambda: self._read(item, medium, reads))
        n_bytes = await self._keep(identity.reading, packed)
        return await self._disk.run(unpack, packed, Senses), "read", n_bytes

    async def _alone(self, key: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Do a reading that others may wait for; they share its failure too."""
        future = self._underway[key] = asyncio.get_running_loop().create_future()
        try:
            packed = await read()
            future.set_result(packed)
            return packed
        except Exception as error:
            future.set_exception(error)
            future.exception()  # perhaps nobody else waits for it
            raise
        finally:
            future.cancel()  # of one that is over, this changes nothing
            del self._underway[key]

    async def _read(self, item: Item, medium: Medium, options: AgentOptions) -> bytes:
        self.n_reading += 1
        try:
            return await self._reader.read(medium.path, options, item.media or item.id)
        except AffectError as error:
            if medium.is_ours:  # where it lay meanwhile is nobody's business
                ours, name = str(medium.path), item.media or item.id
                raise type(error)(error.what.replace(ours, name), error.remedy.replace(ours, name)) from None
            raise
        finally:
            self.n_reading -= 1

    def _weigh(self, senses: Senses | None, options: AgentOptions) -> Outcome:
        parts = Parts(appraiser=self._appraiser or self._panel_of(options.permissive, options.coverage))
        if senses is None:
            senses = AffectAgent(None, options).sense(None)
        elif brings_words(options) and Modality.SPEECH in options.modalities:
            from affectgpt.perceive.speech import find_transcript

            given = options.speech
            senses = replace(
                senses, transcript=find_transcript(None, transcript=given.text, transcript_path=given.path)
            )
        return AffectAgent(None, options, parts=parts).weigh(senses)

    async def _recall(self, key: str, kind: type[_T]) -> _T | None:
        if self._cache is None:
            return None
        return await self._disk.run(_recalled, self._cache, key, kind)

    async def _keep(self, key: str, packed: bytes) -> int:
        """Bytes that the cache was given."""
        if self._cache is None:
            return 0
        await self._disk.run(self._cache.put, key, packed)
        return len(packed)


def _recalled(cache: MediaCache, key: str, kind: type[_T]) -> _T | None:
    packed = cache.get(key)
    with suppress(ValueError):
        return None if packed is None else unpack(packed, kind)
    return None


def _told_of(weighed: Outcome, item: Item, options: AgentOptions) -> Outcome:
    """An outcome as of the item's own medium, whichever copy of it was read."""
    clip = weighed.clip
    if clip is not None and item.media is not None:
        clip = replace(clip, path=Path(item.media))
    return replace(weighed, clip=clip, decide=options.decide)


def _open_panel(permissive: bool, coverage: float) -> Appraiser:
    from affectgpt.appraise.panel import Panel

    for library in _OF_WORDS:
        import_module(library)
    return Panel(permissive, coverage)
