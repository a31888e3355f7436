"""What happens when somebody does something on the page: plain functions from a person's wish to a new view of it.

No Gradio here: page.py carries wishes in and views out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from affectgpt.errors import AffectError, InputError
from affectgpt.readers import Setting
from serve.events import Attachment
from serve.incoming.intake import Intake
from serve.store import Asked, Conversation, Feedback, NotKept, Revision, Settings, Store, Summary, Thumbs, Turn
from serve.web.asking import Choices, remembered, request_of
from serve.web.consent import Person
from serve.web.messages import ChatMessage, card_of, show_turns, spoken
from serve.web.metering import Meter
from serve.web.running import Going, Rehearsal, Running
from serve.web.shelf import Shelf
from serve.web.texts import say

__all__ = ["Choices", "Handlers", "View"]

_T = TypeVar("_T")
N_LISTED = 40


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows; None leaves a part as it is.

    `stage` is (revision id, step) of the turn shown beside the talk, `spoken` what a screen reader is told, `is_busy`
    whether an answer is on its way, `rejected` the message and files to put back into the box.
    """

    messages: list[ChatMessage] | None = None
    conversation: Summary | None = None
    is_blank: bool = False
    history: list[tuple[Summary, str]] | None = None
    stage: tuple[str, str] | None = None
    status: str | None = None
    spoken: str | None = None
    card: str | None = None
    n_people: int | None = None
    is_busy: bool | None = None
    rejected: str | None = None
    correcting: Turn | None = None
    thumbs: Sequence[Thumbs | None] | None = None


@dataclass(frozen=True, slots=True)
class Handlers:
    """Everything that the page can do. A turn counts against the limits of a person's key as one of the API's does.

    `personas` are those that may be chosen, the usual one first; where another is named, the server's own answers.
    """

    store: Store
    running: Running
    shelf: Shelf
    intake: Intake
    meter: Meter
    setting: Setting | None = None
    has_soft: bool = False
    personas: tuple[str, ...] = ("warm",)

    # ---------------------------------------------------------------- coming and going

    async def arrive(self, person: Person) -> AsyncIterator[View]:
        """The page was opened: the history, and an answer that is still on its way."""
        if person.consented is None:
            yield View(messages=[], is_blank=True)
            return
        going = self.running.find(person.owner)
        if going is None:
            yield await self.blank(person)
            return
        yield View(history=await self.list(person))
        async for view in self._follow(person, going):
            yield view

    async def blank(self, person: Person, said: str = "") -> View:
        """A new conversation."""
        history = await self.list(person)
        return View(
            messages=[], is_blank=True, history=history, stage=("", ""), status=said, spoken=said, card="", n_people=0,
            is_busy=False,
        )  # fmt: skip

    async def list(self, person: Person, query: str = "") -> list[tuple[Summary, str]]:
        """The person's conversations, last changed first, with the text around what was found where one searches."""
        if query.strip():
            found = await _thread(self.store.search, person.owner, query.strip()[:200], None, N_LISTED)
            return [(f.summary, f.snippet) for f in found.items]
        recent = await _thread(self.store.recent, person.owner, None, N_LISTED)
        return [(summary, "") for summary in recent.items]

    async def open(self, person: Person, conversation_id: str) -> AsyncIterator[View]:
        """A conversation from the history."""
        going = self.running.find(person.owner, conversation_id)
        if going is not None:
            async for view in self._follow(person, going):
                yield view
            return
        try:
            yield await self._whole(person, conversation_id)
        except NotKept:
            yield await self.blank(person, say("conversation.gone"))

    # ---------------------------------------------------------------- a turn

    async def send(
        self,
        person: Person,
        conversation_id: str | None,
        text: str,
        files: Sequence[tuple[Path, str]],
        choices: Choices,
    ) -> AsyncIterator[View]:
        """A message with its files. Nothing is taken before the notice was agreed to."""
        text = text.strip()
        if (refusal := self._refusal(person, conversation_id, text, files)) is not None:
            yield View(status=refusal, spoken=refusal, rejected=text, is_busy=False)
            return
        yield View(status=say("stages.open") + " …", is_busy=True)
        attachments: list[Attachment] = []
        try:
            self.meter.turn(person)
            for path, name in files:
                attachments.append(await self._take(path, name))
                self.meter.media(person, attachments[-1])
            revision, conversation_id = await self._begin(person, conversation_id, Asked.of(text, attachments), choices)
        except AffectError as error:
            await self.intake.release(attachments)
            yield View(status=str(error), spoken=str(error), rejected=text, is_busy=False)
            return
        kept = await _thread(self.shelf.put, revision.id, person.owner, attachments)
        await self.intake.release(attachments)  # the shelf holds them from here, and lets go in its time
        async for view in self._answer(person, conversation_id, revision, kept, choices):
            yield view

    async def again(
        self, person: Person, conversation_id: str | None, place: int, text: str | None, choices: Choices
    ) -> AsyncIterator[View]:
        """A turn answered anew: regenerated, or with `text` edited. What followed it leaves the line."""
        try:
            turn = await self._turn(person, conversation_id, place)
            old = turn.revision
            shown = self.shelf.get(old.id, person.owner)
            if old.asked.attachments and (shown is None or not shown.attachments):
                raise InputError(say("chat.not_kept_media"))
            self.meter.turn(person)
            for attachment in shown.attachments if shown else ():
                self.meter.media(person, attachment)
            asked = None if text is None else replace(old.asked, text=text)
            revision = await _thread(self.store.revise, person.owner, turn.id, asked)
        except AffectError as error:
            yield replace(await self._whole(person, conversation_id), status=str(error), spoken=str(error))
            return
        kept = await _thread(self.shelf.put, revision.id, person.owner, shown.attachments if shown else ())
        async for view in self._answer(person, str(conversation_id), revision, kept, choices):
            yield view

    async def stop(self, person: Person, conversation_id: str | None) -> None:
        """Stop the answer that is on its way."""
        going = self.running.find(person.owner, conversation_id)
        if going is not None:
            await self.running.stop(going)

    # ---------------------------------------------------------------- the history

    async def rename(self, person: Person, conversation_id: str, title: str) -> View:
        """Give a conversation another name."""
        try:
            summary = await _thread(self.store.rename, person.owner, conversation_id, title.strip())
        except InputError as error:
            return View(status=str(error), spoken=str(error))
        said = say("conversation.renamed")
        return View(conversation=summary, history=await self.list(person), status=said, spoken=said)

    async def delete(self, person: Person, conversation_id: str) -> View:
        """Remove a conversation and all that is shown of it."""
        said = say("conversation.deleted")
        try:
            conversation = await _thread(self.store.get, person.owner, conversation_id)
            await self.stop(person, conversation_id)
            await _thread(self.store.delete, person.owner, conversation_id)
            self.shelf.drop([r for turn in conversation.turns for r in turn.revisions])
        except NotKept:
            said = say("conversation.gone")
        return View(
            messages=[],
            is_blank=True,
            history=await self.list(person),
            stage=("", ""),
            card="",
            status=said,
            spoken=said,
        )

    async def forget(self, person: Person) -> None:
        """Remove everything of this person."""
        while (going := self.running.find(person.owner)) is not None:
            await self.running.stop(going)
        await _thread(self.store.delete_all, person.owner)
        self.shelf.drop_owner(person.owner)

    # ---------------------------------------------------------------- feedback

    async def rate(self, person: Person, conversation_id: str | None, place: int, is_good: bool | None) -> View:
        """Thumbs for the answer of a turn; None takes them back. A correction given before stays with them."""
        try:
            turn = await self._turn(person, conversation_id, place)
            old = turn.revision.feedback or Feedback()
            thumbs = {True: "up", False: "down", None: None}[is_good]
            await _thread(self.store.rate, person.owner, turn.id, replace(old, thumbs=thumbs, given=None))
            turn = await self._turn(person, conversation_id, place)
        except InputError as error:
            return View(status=str(error), spoken=str(error))
        said = {True: say("feedback.thanks_up"), False: say("feedback.thanks_down"), None: say("feedback.taken_back")}
        return View(status=said[is_good], spoken=said[is_good], correcting=turn)

    async def correct(self, person: Person, conversation_id: str | None, turn_id: str, said: Feedback) -> View:
        """What would have been right, in the person's own words; thumbs given before stay."""
        try:
            turn = await self._turn_by_id(person, conversation_id, turn_id)
            old = turn.revision.feedback
            await _thread(self.store.rate, person.owner, turn.id, replace(said, thumbs=old.thumbs if old else None))
        except InputError as error:
            return View(status=str(error), spoken=str(error))
        return View(status=say("feedback.saved"), spoken=say("feedback.saved"))

    async def take_back(self, person: Person, conversation_id: str | None, turn_id: str) -> View:
        """Feedback withdrawn, and with it the consent to reuse."""
        try:
            turn = await self._turn_by_id(person, conversation_id, turn_id)
            await _thread(self.store.unrate, person.owner, turn.id)
            whole = await self._whole(person, conversation_id)
        except InputError as error:
            return View(status=str(error), spoken=str(error))
        return replace(whole, status=say("feedback.taken_back"), spoken=say("feedback.taken_back"))

    # ---------------------------------------------------------------- within

    def _refusal(self, person: Person, conversation_id: str | None, text: str, files: Sequence[object]) -> str | None:
        if person.consented is None:
            return say("consent.needed")
        if conversation_id is not None and self.running.find(person.owner, conversation_id) is not None:
            return say("chat.busy")
        return None if text or files else say("chat.empty")

    async def _take(self, path: Path, name: str) -> Attachment:
        try:
            return await self.intake.take_stream(_chunks(path), name)
        except InputError as error:
            raise InputError(say("chat.refused", name=name, why=str(error))) from None
        finally:
            await _thread(path.unlink, True)  # Gradio's copy

    async def _begin(
        self, person: Person, conversation_id: str | None, asked: Asked, choices: Choices
    ) -> tuple[Revision, str]:
        if conversation_id is None:
            settings = Settings(choices.locale, person.consented, remembered(choices))
            title = "" if asked.text else ", ".join(a.name for a in asked.attachments)[:80]
            conversation_id = (await _thread(self.store.create, person.owner, title, settings)).id
        return await _thread(self.store.begin, person.owner, conversation_id, asked), conversation_id

    async def _answer(
        self, person: Person, conversation_id: str, revision: Revision, kept: Sequence[Attachment], choices: Choices
    ) -> AsyncIterator[View]:
        conversation = await _thread(self.store.get, person.owner, conversation_id)
        request = request_of(conversation, revision, choices)
        request = replace(
            request,
            attachments=tuple(kept),
            setting=self.setting,
            is_fused=choices.is_fused and self.has_soft,
            persona=choices.persona if choices.persona in self.personas else "",
        )
        going = self.running.start(person.owner, conversation_id, revision.id, request)
        yield View(history=await self.list(person))
        async for view in self._follow(person, going):
            yield view

    async def _follow(self, person: Person, going: Going) -> AsyncIterator[View]:
        """An answer on its way, and what stands when it is over."""
        conversation = await _thread(self.store.get, person.owner, going.conversation_id)
        async for now in self.running.watch(going):
            yield self._view(person, conversation, going.revision_id, now)
        try:
            last = going.now
            whole = await self._whole(person, going.conversation_id)
            status = say("chat.failed", why=last.failure) if last.failure else ""
            yield replace(whole, status=status, spoken=spoken(last), is_busy=False)
        except NotKept:
            yield View(is_busy=False)

    def _view(self, person: Person, conversation: Conversation, revision_id: str, now: Rehearsal) -> View:
        messages, _ = show_turns(conversation.turns, {revision_id: now})
        return View(
            messages=messages,
            conversation=conversation.summary,
            stage=(revision_id, str(now.step)),
            status="",  # the talk itself says what is being done
            spoken=spoken(now),
            card=card_of(conversation.turns, now),
            is_busy=not now.is_over,
        )

    async def _whole(self, person: Person, conversation_id: str | None) -> View:
        """A conversation as the store has it. Raises NotKept."""
        conversation = await _thread(self.store.get, person.owner, conversation_id or "")
        messages, places = show_turns(conversation.turns, {})
        last = conversation.turns[-1] if conversation.turns else None
        shown = self.shelf.get(last.revision.id, person.owner) if last else None
        return View(
            messages=messages,
            conversation=conversation.summary,
            history=await self.list(person),
            stage=(last.revision.id, "whole") if last else ("", ""),
            status="",
            card=card_of(conversation.turns, None),
            n_people=shown.n_people if shown else 0,
            is_busy=False,
            correcting=last,
            thumbs=_thumbs(conversation, messages, places),
        )

    async def _turn(self, person: Person, conversation_id: str | None, message_place: int) -> Turn:
        """The turn that a message of the talk belongs to, -1 being the last message. Raises NotKept."""
        conversation = await _thread(self.store.get, person.owner, conversation_id or "")
        _, places = show_turns(conversation.turns, {})
        message_place = len(places) - 1 if message_place == -1 else message_place
        if not 0 <= message_place < len(places):
            raise NotKept(say("feedback.nothing"))
        return conversation.turns[places[message_place]]

    async def _turn_by_id(self, person: Person, conversation_id: str | None, turn_id: str) -> Turn:
        conversation = await _thread(self.store.get, person.owner, conversation_id or "")
        for turn in conversation.turns:
            if turn.id == turn_id:
                return turn
        raise NotKept(say("feedback.nothing"))


def _thumbs(conversation: Conversation, messages: list[ChatMessage], places: Sequence[int]) -> list[Thumbs | None]:
    """Thumbs given, for each message of the assistant's."""
    given = [t.revision.feedback.thumbs if t.revision.feedback else None for t in conversation.turns]
    return [given[place] for message, place in zip(messages, places, strict=True) if message["role"] == "assistant"]


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with await _thread(path.open, "rb") as file:
        while chunk := await _thread(file.read, 1 << 20):
            yield chunk


async def _thread(work: Callable[..., _T], *arguments: object) -> _T:
    return await asyncio.to_thread(work, *arguments)
