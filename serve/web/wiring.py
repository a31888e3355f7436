"""What people do on the page, carried to the handlers, and views carried back. Gradio's types stay on this side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import EventData
from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException

from affectgpt.records import Modality
from serve.store import Feedback
from serve.web.consent import Door, Person
from serve.web.handlers import Choices, Handlers, View
from serve.web.layout import Parts
from serve.web.messages import typed_text
from serve.web.updates import Updates, history_html, updates_of

__all__ = ["Wiring"]

MOST_PAGES = 10_000
"""Open pages that are told apart; of those opened before them, a stream may be cut short."""

Given = dict[Any, Any]
"""What was in the components that an event reads."""


class Wiring:
    """The events of one page. Gradio hands a request and an event's data over by how a parameter is annotated."""

    def __init__(self, handlers: Handlers, door: Door, parts: Parts) -> None:
        self._handlers = handlers
        self._door = door
        self._parts = parts
        self._showing: dict[str, int] = {}
        self._n_shown = 0

    def connect(self, blocks: gr.Blocks) -> None:
        """Wire every event; none is an API of its own."""
        p = self._parts
        # What only makes something happen is never shown anew.
        shown = [part for part in p if part not in (p.new, p.query, p.arrive, p.delete, p.save, p.take_back, p.camera)]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
        told = {"outputs": shown, **quiet}
        reading = {p.conversation, p.modalities, p.words_only, p.person, p.soft, p.persona}
        blocks.load(self.arrive, None, **told)
        p.arrive.click(self.arrive, None, **told)
        # One may go to another conversation while this one is being answered; the handlers refuse two in one.
        p.box.submit(self.send, {p.box, *reading}, trigger_mode="multiple", **told)
        p.box.stop(self.stop, p.conversation, None, queue=False, **quiet)
        p.chat.retry(self.retry, reading, **told)
        p.chat.edit(self.edit, reading, **told)
        p.chat.like(self.like, p.conversation, **told)
        p.person.input(self.other_person, reading, **told)
        p.camera.stop_recording(_recorded, [p.camera, p.box], [p.camera, p.box], **quiet)
        p.words_only.input(_only_words, p.words_only, p.modalities, **quiet)
        p.new.click(self.blank, None, **told)
        p.query.change(self.search, [p.query, p.conversation], p.history, **quiet)
        p.history.select(self.open, None, **told)
        p.name.submit(self.rename, [p.name, p.conversation], **told)
        p.delete.click(self.delete, p.conversation, **told)
        p.save.click(self.correct, {p.conversation, p.turn, p.label, p.words, p.remark, p.reuse}, **told)
        p.take_back.click(self.take_back, [p.conversation, p.turn], **told)

    async def arrive(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The page was opened, or the notice agreed to."""
        async for updates in self._shown(self._handlers.arrive(self._person(request)), request):
            yield updates

    async def send(self, given: Given, request: gr.Request) -> AsyncIterator[Updates]:
        """A message, with files."""
        p = self._parts
        message = given[p.box] or {}
        files = [(path, path.name[:200]) for path in map(_arrived, message.get("files") or ())]
        text = str(message.get("text") or "")
        yield {p.box: gr.update(value={"text": "", "files": []}, submit_btn=False, stop_btn=True)}
        person, choices = self._person(request), self._choices(given, request)
        views = self._handlers.send(person, given[p.conversation], text, files, choices)
        async for updates in self._shown(views, request):
            yield updates

    async def stop(self, conversation: str | None, request: gr.Request) -> None:
        """Stop the answer."""
        await self._handlers.stop(self._person(request), conversation)

    async def retry(self, given: Given, event: gr.RetryData, request: gr.Request) -> AsyncIterator[Updates]:
        """An answer anew."""
        async for updates in self._again(given, _place(event.index), None, request):
            yield updates

    async def edit(self, given: Given, event: gr.EditData, request: gr.Request) -> AsyncIterator[Updates]:
        """A message reworded, and answered anew."""
        async for updates in self._again(given, _place(event.index), typed_text(str(event.value)), request):
            yield updates

    async def other_person(self, given: Given, request: gr.Request) -> AsyncIterator[Updates]:
        """Another person of the clip: the last turn is answered anew."""
        async for updates in self._again(given, -1, None, request):
            yield updates

    async def like(self, conversation: str | None, event: gr.LikeData, request: gr.Request) -> Updates:
        """Thumbs; pressed once more, they are taken back."""
        is_good = event.liked if isinstance(event.liked, bool) else {"Like": True, "Dislike": False}.get(event.liked)
        place = _place(event.index)
        return self._updates(await self._handlers.rate(self._person(request), conversation, place, is_good), opens=True)

    async def correct(self, given: Given, request: gr.Request) -> Updates:
        """A correction."""
        p = self._parts
        words = tuple(word for word in (part.strip() for part in given[p.words].split(",")) if word)
        said = Feedback(
            label=given[p.label] or None, words=words, text=given[p.remark].strip(), may_reuse=bool(given[p.reuse])
        )
        turn = given[p.turn] or ""
        return self._updates(await self._handlers.correct(self._person(request), given[p.conversation], turn, said))

    async def take_back(self, conversation: str | None, turn: str | None, request: gr.Request) -> Updates:
        """Feedback withdrawn."""
        return self._updates(await self._handlers.take_back(self._person(request), conversation, turn or ""))

    async def open(self, event: EventData, request: gr.Request) -> AsyncIterator[Updates]:
        """A conversation of the history."""
        async for updates in self._shown(self._handlers.open(self._person(request), str(event.value)), request):
            yield updates

    async def blank(self, request: gr.Request) -> Updates:
        """A new conversation."""
        self._take_over(request)
        return self._updates(await self._handlers.blank(self._person(request)))

    async def search(self, query: str, conversation: str | None, request: gr.Request) -> str:
        """What the history holds of a query."""
        found = await self._handlers.list(self._person(request), query)
        return history_html(found, conversation, bool(query.strip()))

    async def rename(self, name: str, conversation: str | None, request: gr.Request) -> Updates:
        """Another name."""
        return self._updates(await self._handlers.rename(self._person(request), conversation or "", name))

    async def delete(self, conversation: str | None, request: gr.Request) -> Updates:
        """The conversation, for good."""
        self._take_over(request)
        return self._updates(await self._handlers.delete(self._person(request), conversation or ""))

    async def _again(self, given: Given, place: int, text: str | None, request: gr.Request) -> AsyncIterator[Updates]:
        person, choices = self._person(request), self._choices(given, request)
        views = self._handlers.again(person, given[self._parts.conversation], place, text, choices)
        async for updates in self._shown(views, request):
            yield updates

    async def _shown(self, views: AsyncIterator[View], request: gr.Request) -> AsyncIterator[Updates]:
        """Views as updates, for as long as this page shows nothing newer: what was left goes on, but out of sight."""
        page = self._take_over(request)
        mine = self._showing[page]
        async for view in views:
            if self._showing.get(page) == mine:
                yield self._updates(view)

    def _take_over(self, request: gr.Request) -> str:
        """From now on this page shows what is done last."""
        page = request.session_hash or ""
        self._n_shown += 1
        self._showing.pop(page, None)
        self._showing[page] = self._n_shown
        while len(self._showing) > MOST_PAGES:
            del self._showing[next(iter(self._showing))]
        return page

    def _updates(self, view: View, *, opens: bool = False) -> Updates:
        return updates_of(self._parts, view, opens=opens)

    def _person(self, request: gr.Request) -> Person:
        """Who it is; whoever may not come in has agreed to nothing and owns nothing."""
        assert request.request is not None
        try:
            return self._door.person(request.request)
        except HTTPException:
            return Person("", None)

    def _choices(self, given: Given, request: gr.Request) -> Choices:
        p = self._parts
        chosen = frozenset({Modality.SPEECH}) if given[p.words_only] else frozenset(map(Modality, given[p.modalities]))
        who = given[p.person]
        locale = request.headers.get("accept-language", "").split(",")[0].split(";")[0].strip()[:35]
        subject = who if isinstance(who, int) and who >= 0 else None
        persona = str(given[p.persona] or "")
        return Choices(chosen or frozenset(Modality), subject, locale or "en", bool(given[p.soft]), persona)


def _arrived(path: str) -> Path:
    """A file that Gradio took in. Raises ValueError for a path anywhere else: no client's path is ever opened."""
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("no upload of this page")
    return resolved


def _place(index: Any) -> int:
    return int(index[0] if isinstance(index, (list, tuple)) else index)


def _recorded(clip: str | None, message: dict[str, Any] | None) -> tuple[Any, Any]:
    """What the camera recorded goes into the message."""
    if not clip:
        return gr.skip(), gr.skip()
    kept = message or {}
    return None, {"text": kept.get("text") or "", "files": [*(kept.get("files") or ()), clip]}


def _only_words(words_only: bool) -> Any:
    value = ["speech"] if words_only else [*map(str, Modality)]
    return gr.update(value=value, interactive=not words_only)
