"""Turns as they are being answered: each in a task of its own, so that a page that reloads finds it still going.

What nobody has looked at for a while is stopped: a client that left does not keep a model busy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from affectgpt.errors import AffectError, InputError
from affectgpt.records import Moment, Observation
from serve.chains import kept_chain
from serve.events import (
    Called,
    Carded,
    Ended,
    Event,
    Observed,
    Reasoned,
    Said,
    Sensed,
    Staged,
    TurnRequest,
    Turns,
    Understood,
)
from serve.store import Answered, Store
from serve.web.shelf import Shelf
from serve.web.texts import say
from serve.web.timelines import draw

if TYPE_CHECKING:
    from affectgpt.agent import Senses

__all__ = ["Going", "Rehearsal", "Running"]

_log = logging.getLogger(__name__)

UNWATCHED_S = 20.0
"""How long a turn goes on with nobody watching: a reload takes a few seconds, on a phone a few more."""
BEAT_S = 1.0
"""A watcher is given something at least this often, so that it is known to be there."""
LEAST_S = 0.05
"""Snapshots come no faster than this."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a turn has come to so far: the `stage` it is in, those `past`, and what was told.

    `step` grows with whatever the stage beside the talk shows.
    """

    stage: str = "queue"
    past: tuple[str, ...] = ()
    share: float | None = None
    observations: tuple[Observation, ...] = ()
    reasoning: str = ""
    chain: Mapping[str, Any] | None = None
    reply: str = ""
    card: str = ""
    ended: Ended | None = None
    failure: str = ""
    is_stopped: bool = False
    step: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended is not None or bool(self.failure) or self.is_stopped

    def after(self, event: Event) -> Rehearsal:
        """This, with one event more."""
        if isinstance(event, Staged):
            past = self.past if event.name == self.stage else (*self.past, self.stage)
            return replace(self, stage=event.name, share=event.share, past=past)
        if isinstance(event, Sensed):
            return replace(self, step=self.step + 1)
        if isinstance(event, Observed):
            return replace(self, observations=(*self.observations, event.observation), step=self.step + 1)
        if isinstance(event, Reasoned):
            return replace(self, reasoning=self.reasoning + event.text)
        if isinstance(event, Understood):
            return replace(self, chain=kept_chain(event.prepared))
        if isinstance(event, Said):
            return replace(self, reply=self.reply + event.text)
        if isinstance(event, Carded):
            return replace(self, card=event.markdown)
        if isinstance(event, Called):
            return self  # the page offers no tools
        return replace(self, ended=event, reasoning=event.reasoning, reply=event.reply, step=self.step + 1)


@dataclass(eq=False)
class Going:
    """One turn on its way; `revision_id` is where the store keeps it."""

    owner: str
    conversation_id: str
    revision_id: str
    now: Rehearsal = field(default_factory=Rehearsal)
    task: asyncio.Task[None] | None = None
    watched_at: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, rehearsal: Rehearsal) -> None:
        """Let every watcher see what it has come to."""
        self.now = rehearsal
        self.changed.set()
        self.changed = asyncio.Event()


class Running:
    """Every turn on its way, by conversation."""

    def __init__(
        self, turns: Turns, store: Store, shelf: Shelf, clock: Callable[[], float] = time.monotonic,
        unwatched_s: float = UNWATCHED_S,
    ) -> None:  # fmt: skip
        self._turns = turns
        self._store = store
        self._shelf = shelf
        self._clock = clock
        self._unwatched_s = unwatched_s
        self._going: dict[str, Going] = {}

    def start(self, owner: str, conversation_id: str, revision_id: str, request: TurnRequest) -> Going:
        """Begin a turn that the store holds as pending."""
        going = Going(owner, conversation_id, revision_id, watched_at=self._clock())
        self._going[conversation_id] = going
        going.task = asyncio.create_task(self._perform(going, request))
        return going

    def find(self, owner: str, conversation_id: str | None = None) -> Going | None:
        """The owner's turn on its way, in this conversation or, without, in any."""
        for going in reversed(self._going.values()):
            if going.owner == owner and conversation_id in (None, going.conversation_id):
                return going
        return None

    def find_revision(self, owner: str, revision_id: str) -> Going | None:
        """The owner's turn on its way that this revision is."""
        found = (g for g in self._going.values() if g.owner == owner and g.revision_id == revision_id)
        return next(found, None)

    async def stop(self, going: Going) -> None:
        """Stop it; what stands by then is kept. Comes back when it has stopped."""
        if going.task is not None and not going.task.done():
            going.task.cancel()
            await asyncio.wait([going.task])

    async def close(self) -> None:
        """Stop everything."""
        for going in list(self._going.values()):
            await self.stop(going)

    async def watch(self, going: Going) -> AsyncIterator[Rehearsal]:
        """What it has come to, at every change and at least once a `BEAT_S`; ends with it."""
        while True:
            changed = going.changed
            going.watched_at = self._clock()
            yield going.now
            if going.now.is_over:
                return
            await asyncio.sleep(LEAST_S)
            try:
                await asyncio.wait_for(changed.wait(), BEAT_S)
            except TimeoutError:
                continue

    async def _perform(self, going: Going, request: TurnRequest) -> None:
        watchdog = asyncio.create_task(self._stop_unwatched(going))
        try:
            await self._consume(going, request)
            if not going.now.is_over:
                raise RuntimeError("the turn's events ended without an Ended")
        except asyncio.CancelledError:
            await self._keep_partial(going)
        except AffectError as error:
            await self._fail(going, str(error))
        except Exception:  # noqa: BLE001 (whatever broke must reach the store and the page)
            _log.exception("turn %s broke", going.revision_id)
            await self._fail(going, say("chat.broken"))
        finally:
            watchdog.cancel()
            if self._going.get(going.conversation_id) is going:
                del self._going[going.conversation_id]

    async def _consume(self, going: Going, request: TurnRequest) -> None:
        """Every event in turn; what the store and the shelf hold of one is there before a watcher hears of it."""
        senses: Senses | None = None
        events = self._turns.run(request)
        try:
            async for event in events:
                if isinstance(event, Sensed):
                    senses = event.senses
                    await asyncio.to_thread(self._draw, going, senses, ())
                elif isinstance(event, Ended):
                    appraisal = event.outcome.appraisal if event.outcome else None
                    if senses is not None and appraisal is not None:
                        await asyncio.to_thread(self._draw, going, senses, appraisal.course)
                    answered = Answered.of(event, going.now.card)
                    await asyncio.to_thread(self._store.finish, going.owner, going.revision_id, answered)
                going.show(going.now.after(event))
        finally:
            if (close := getattr(events, "aclose", None)) is not None:
                await close()

    def _draw(self, going: Going, senses: Senses, course: tuple[Moment, ...]) -> None:
        n_people = senses.face.n_people if senses.face is not None else 0
        self._shelf.draw(going.revision_id, draw(senses, course), n_people)

    async def _keep_partial(self, going: Going) -> None:
        now = going.now
        partial = Answered(
            now.reasoning, now.reply, "", finish_reason="stopped", card=now.card, chain=now.chain if now.reply else None
        )
        with suppress(InputError):  # it had just ended by itself, or was deleted meanwhile
            await asyncio.to_thread(self._store.finish, going.owner, going.revision_id, partial)
        going.show(replace(now, is_stopped=True))

    async def _fail(self, going: Going, failure: str) -> None:
        with suppress(InputError):
            await asyncio.to_thread(self._store.fail, going.owner, going.revision_id, failure)
        going.show(replace(going.now, failure=failure))

    async def _stop_unwatched(self, going: Going) -> None:
        while self._clock() - going.watched_at < self._unwatched_s:
            await asyncio.sleep(min(BEAT_S, self._unwatched_s / 4))
        if going.task is not None:
            going.task.cancel()
