"""One item's way to a row: its medium at hand, read and weighed, answered; what fails of it is written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from affectgpt.batch.asking import Answerer, retrying
from affectgpt.batch.evidence import Evidence, EvidenceStage
from affectgpt.batch.fetching import Fetcher, Medium
from affectgpt.batch.fingerprints import Asking
from affectgpt.batch.identity import SHA256_OF_NOTHING, Identity, identify, sha256_of_words
from affectgpt.batch.records import BadItem, Done, Failure, Fingerprints, Item, Row
from affectgpt.batch.servers import Patience
from affectgpt.batch.tally import Effort, Stage, Tally
from affectgpt.batch.threads import Threads
from affectgpt.batch.wishes import wish
from affectgpt.errors import AffectError, EngineError, EngineUnreachable, MediaNotFound, MediaUnreachable
from affectgpt.readers import AgentOptions
from affectgpt.record_json import to_json
from affectgpt.records import Outcome

__all__ = ["Course", "Plan", "Stages", "Weighed", "bad_row", "id_of"]

log = logging.getLogger(__name__)

MOST_IN_A_ROW: Final = 20
"""Rows whose questions the engine refuses one after another, none answered between them, before the job ends: a wrong
key or a missing model fails every row, and a hundred thousand failures help nobody."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with each row.

    n_ahead: rows that are under way at once.
    n_fetched: media that are at hand at once; what was fetched for a row takes disk until it is read.
    patience: with what fails for now.
    """

    options: AgentOptions = field(default_factory=AgentOptions)
    asking: Asking = field(default_factory=Asking)
    retry_failed: bool = False
    n_ahead: int = 64
    n_fetched: int = 8
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Stages:
    """Who does it; without an `answerer` a row ends with the appraisal."""

    fetcher: Fetcher
    evidence: EvidenceStage
    answerer: Answerer | None = None


@dataclass(frozen=True, slots=True)
class Weighed:
    """An item that was read and weighed, and waits for its answer. `stamp` is that of its row's medium."""

    item: Item
    fingerprints: Fingerprints
    stamp: str | None
    outcome: Outcome
    effort: Effort

    def row(self, outcome: Outcome | None, error: Failure | None = None) -> Row:
        """The item, over."""
        return _row(self.item, self.fingerprints, self.stamp, outcome, error)


@dataclass(slots=True)
class _Work:
    """What is known of an item so far. `stage` and `attempts` are what a failure is told with."""

    item: Item
    done: Done | None
    stage: str = "options"
    attempts: int = 1
    options: AgentOptions = field(default_factory=AgentOptions)
    stamp: str | None = None
    beside: tuple[str, ...] = ()
    is_over: bool = False
    medium: Medium | None = None
    identity: Identity | None = None

    def count(self, number: int) -> None:
        """Another attempt at the stage."""
        self.attempts = number

    @property
    def fingerprints(self) -> Fingerprints:
        """As far as they are known."""
        return self.identity.fingerprints if self.identity else Fingerprints()

    def failed(self, error: Exception) -> Row:
        """The item, over."""
        return _row(self.item, self.fingerprints, self.stamp, None, self.failure(error))

    def failure(self, error: Exception) -> Failure:
        """What is written down of an error."""
        return Failure(self.stage, type(error).__name__, str(error), self.attempts)


class Course:
    """The way of every item of a job: read, then answered, perhaps not by the same process."""

    def __init__(self, stages: Stages, plan: Plan, tally: Tally) -> None:
        self._stages, self._plan, self._tally = stages, plan, tally
        self._files = Threads(plan.n_fetched, "fetch")
        self._at_hand = asyncio.Semaphore(plan.n_fetched)
        self._n_refused = 0

    async def row(self, item: Item, done: Done | None) -> Row | None:
        """The finished row; None where the ledger holds what doing it again would give.

        Raises:
            EngineUnreachable, EngineError: no row would get an answer any more.
        """
        got = await self.read(item, done)
        return await self.answer(got) if isinstance(got, Weighed) else got

    async def read(self, item: Item, done: Done | None) -> Weighed | Row | None:
        """The item with what was observed and appraised; its row where that failed; None where it need not be done."""
        work = _Work(item, done)
        try:
            return await self._read(work)
        except AffectError as error:
            return work.failed(error)
        except Exception as error:
            log.exception("%s: a fault of this program", item.id)
            return work.failed(error)

    async def answer(self, weighed: Weighed) -> Row:
        """The finished row of an item that was read; without an answerer, with what was observed and appraised alone.

        Raises:
            EngineUnreachable, EngineError: no row would get an answer any more.
        """
        outcome = weighed.outcome
        if self._stages.answerer is None:
            return weighed.row(outcome)
        work = _Work(weighed.item, None, "answer")
        try:
            options = _options_of(weighed.item, self._plan.options)
            with self._counting("answer"):
                outcome = await self._stages.answerer.answer(outcome, options, work.count)
        except EngineUnreachable:
            raise
        except AffectError as error:
            self._weigh_refusal(error)
            return weighed.row(None, work.failure(error))
        except Exception as error:
            log.exception("%s: a fault of this program", weighed.item.id)
            return weighed.row(None, work.failure(error))
        self._n_refused = 0
        return weighed.row(outcome)

    def close(self) -> None:
        """End the threads that fetch."""
        self._files.close()

    async def _read(self, work: _Work) -> Weighed | None:
        try:
            async with self._at_hand:
                with self._counting("fetch"):
                    is_kept: bool = await retrying(self._plan.patience, work.count)(self._fetch, work)
                if is_kept:
                    return None
                work.stage, work.attempts = "read", 1
                media_bytes = _size(work.medium)
                assert work.identity is not None
                with self._counting("read"):
                    evidence = await self._stages.evidence.gather(work.item, work.medium, work.options, work.identity)
        finally:
            if work.medium is not None:
                work.medium.discard()
        effort = _effort(evidence, media_bytes)
        self._tally.add(effort)
        return Weighed(work.item, work.fingerprints, work.stamp, evidence.weighed, effort)

    async def _fetch(self, work: _Work) -> bool:
        return await self._files.run(self._prepare, work)

    def is_done(self, item: Item, done: Done | None, *, sees_media: bool = True) -> bool:
        """Whether the ledger holds what doing this row would give, as far as can be told without fetching it. Blocks.

        `sees_media` False where other machines may reach what this one does not: then a medium that is not there tells
        nothing.

        Raises:
            InputError, MediaUnreachable: the row would fail.
        """
        return self._recognise(_Work(item, done), sees_media=sees_media)

    def _prepare(self, work: _Work) -> bool:
        """Have the medium at hand and know what the work is known by; True where it need not be done. Blocks."""
        if self._recognise(work) or work.item.media is None:
            return work.is_over
        work.stage = "fetch"
        known = work.identity.fingerprints.media_sha256 if work.identity else None
        work.medium = self._stages.fetcher.fetch(work.item, known)
        return self._is_kept(work, work.medium.sha256)

    def _recognise(self, work: _Work, *, sees_media: bool = True) -> bool:
        """Learn what can be known of the work without its medium; True where it need not be done."""
        item, done, fetcher = work.item, work.done, self._stages.fetcher
        if done and done.status == "failed" and done.fingerprints.answer is None and not self._plan.retry_failed:
            work.is_over = True  # it failed before it was known what it is: only asking for it does it again
            return True
        work.stage = "options"
        work.options = _options_of(item, self._plan.options)
        work.stage = "fetch"
        if item.media is None:
            return self._is_kept(work, sha256_of_words(work.options) or SHA256_OF_NOTHING)
        try:
            work.stamp, work.beside = fetcher.stamp(item), fetcher.beside(item)
        except (MediaNotFound, MediaUnreachable):
            if sees_media and done is not None and done.status == "ok":
                work.is_over = True  # a finished row outlives its medium
                return True
            raise
        if done is None or not work.stamp or done.media_stamp != work.stamp or not done.fingerprints.media_sha256:
            return False
        return self._is_kept(work, done.fingerprints.media_sha256)

    def _is_kept(self, work: _Work, sha256: str) -> bool:
        """Learn what the work is known by; whether the ledger holds what doing it again would give."""
        work.identity = identify(work.item, work.options, sha256, work.beside, self._plan.asking)
        done = work.done
        is_asked_for = done is not None and done.status == "failed" and self._plan.retry_failed
        same = done is not None and done.fingerprints.answer == work.identity.fingerprints.answer
        work.is_over = same and not is_asked_for
        return work.is_over

    def _weigh_refusal(self, error: AffectError) -> None:
        """End the job by raising `error` where the engine has answered nobody for long."""
        if isinstance(error, EngineError):
            self._n_refused += 1
            if self._n_refused >= MOST_IN_A_ROW:
                what = f"the engine refused {self._n_refused} rows one after another: {error.what}"
                raise type(error)(what, error.remedy) from error

    @contextmanager
    def _counting(self, stage: Stage) -> Iterator[None]:
        self._tally.enter(stage)
        is_through = False
        try:
            yield
            is_through = True
        finally:
            self._tally.leave(stage, is_through=is_through)


def _options_of(item: Item, options: AgentOptions) -> AgentOptions:
    """The job's options with what the item wishes, and its words. Raises OptionError."""
    settled = wish(options, item.options)
    if item.transcript is None:
        return settled
    return replace(settled, speech=replace(settled.speech, text=item.transcript, path=None))


def bad_row(item: BadItem) -> Row:
    """A row of the source that is no item, as a failed row."""
    failure = Failure("source", "BadItem", item.reason)
    return Row(id_of(item), item.number, "failed", error=failure, extra=item.extra)


def id_of(item: Item | BadItem) -> str:
    """The id of its row; one without an id is known by where it stands."""
    return item.id if item.id is not None else f"row {item.number}"


def _size(medium: Medium | None) -> int:
    with suppress(OSError):  # it went away just now: its reader will tell
        return medium.path.stat().st_size if medium else 0
    return 0


def _effort(evidence: Evidence, media_bytes: int) -> Effort:
    clip, seconds = evidence.weighed.clip, evidence.weighed.timings_s.get("total", 0.0)
    return Effort(evidence.how, seconds, clip.duration_s or 0.0 if clip else 0.0, media_bytes, evidence.cache_bytes)


def _row(
    item: Item, fingerprints: Fingerprints, stamp: str | None, outcome: Outcome | None, error: Failure | None
) -> Row:
    told = None
    if outcome is not None:
        # Which of two processes loaded a library first must not show in the order of a row's words.
        told = to_json(replace(outcome, versions=dict(sorted(outcome.versions.items()))))
    return Row(
        id=item.id,
        number=item.number,
        status="failed" if error else "ok",
        fingerprints=fingerprints,
        media=item.media,
        media_stamp=stamp,
        outcome=told,
        error=error,
        extra=item.extra,
    )
