"""Own conversations over HTTP: list, search, read, rename, delete, export, and what one thinks of an answer.

    app.include_router(history_router(store, gate))

Times are ISO 8601 in UTC; ids are opaque. What is another caller's answers 404, as what never was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from affectgpt.errors import InputError
from serve.api.callers import Caller, Gate
from serve.store import ExportForm, Feedback, NotKept, Settings, Store, Thumbs
from serve.store.database import StoreError
from serve.store.exporting import MEDIA_TYPES, plain
from serve.store.records import LONGEST_FIELD

__all__ = ["FeedbackIn", "RenameIn", "history_router"]

Given = TypeVar("Given")
Document = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RenameIn(_Strict):
    """A conversation's new title."""

    title: Annotated[str, Field(min_length=1, max_length=LONGEST_FIELD)]


class FeedbackIn(_Strict):
    """What somebody says of an answer. `may_reuse` is consent to learn from it."""

    thumbs: Thumbs | None = None
    label: Annotated[str | None, Field(max_length=32, description="The basic emotion that would be right.")] = None
    words: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=16)] = []
    text: Annotated[str, Field(max_length=LONGEST_FIELD)] = ""
    may_reuse: bool = False
    revision_id: Annotated[str | None, Field(max_length=64, description="Without: the current answer.")] = None


class CreateIn(_Strict):
    """A conversation to begin. `consents`: its owner agrees to have faces and voices read for emotion."""

    title: Annotated[str, Field(max_length=LONGEST_FIELD)] = ""
    locale: Annotated[str, Field(max_length=35)] = "en"
    consents: bool = False


def history_router(store: Store, gate: Gate) -> APIRouter:
    """The routes, on a store and behind a gate."""
    router = APIRouter(prefix="/v1", tags=["history"])
    _add_reading(router, store, gate)
    _add_changing(router, store, gate)
    _add_feedback(router, store, gate)
    return router


# The functions below are plain `def`: FastAPI runs them in threads, and the store may block there.


def _add_reading(router: APIRouter, store: Store, gate: Gate) -> None:
    who = Depends(gate.caller)

    @router.get("/conversations")
    def recent(
        caller: Caller = who,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Document:
        """Own conversations, last changed first; `after` is the mark that the page before gave."""
        page = _told(lambda: store.recent(caller.owner, after, limit))
        return {"object": "list", "data": [plain(item) for item in page.items], "after": page.after}

    @router.get("/conversations/search")
    def search(
        q: Annotated[str, Query(min_length=1, max_length=200)],
        caller: Caller = who,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
    ) -> Document:
        """Own conversations with every word of `q` in the title, or in one message or its reply."""
        page = _told(lambda: store.search(caller.owner, q, after, limit))
        return {"object": "list", "data": [plain(item) for item in page.items], "after": page.after}

    @router.get("/conversations/export")
    def export_all(caller: Caller = who, form: ExportForm = "json") -> StreamingResponse:
        """Everything of the caller's, as one document; JSON holds every revision."""
        return _streamed(_told(lambda: store.export(caller.owner, form)), form)

    @router.get("/conversations/{conversation_id}")
    def get(conversation_id: str, caller: Caller = who) -> Document:
        """One conversation with the turns of its current line."""
        conversation = _told(lambda: store.get(caller.owner, conversation_id))
        return {**plain(conversation.summary), "turns": plain(conversation.turns), "ai_generated": True}

    @router.get("/conversations/{conversation_id}/export")
    def export(conversation_id: str, caller: Caller = who, form: ExportForm = "json") -> StreamingResponse:
        """One conversation as a document."""
        return _streamed(_told(lambda: store.export(caller.owner, form, conversation_id)), form)


def _add_changing(router: APIRouter, store: Store, gate: Gate) -> None:
    who = Depends(gate.caller)

    @router.post("/conversations", status_code=201)
    def create(given: CreateIn, caller: Caller = who) -> Document:
        """Begin a conversation."""
        settings = Settings(given.locale, datetime.now(UTC) if given.consents else None)
        return dict(plain(_told(lambda: store.create(caller.owner, given.title, settings))))

    @router.patch("/conversations/{conversation_id}")
    def rename(conversation_id: str, given: RenameIn, caller: Caller = who) -> Document:
        """Give a conversation another title."""
        return dict(plain(_told(lambda: store.rename(caller.owner, conversation_id, given.title))))

    @router.delete("/conversations/{conversation_id}")
    def delete(conversation_id: str, caller: Caller = who) -> Document:
        """Remove a conversation with its turns and feedback, for good."""
        _told(lambda: store.delete(caller.owner, conversation_id))
        return {"id": conversation_id, "deleted": True}

    @router.delete("/conversations")
    def delete_all(confirm: Annotated[Literal["everything"], Query()], caller: Caller = who) -> Document:
        """Remove everything of the caller's, for good. `confirm=everything` must be said."""
        return {"deleted": _told(lambda: store.delete_all(caller.owner))}


def _add_feedback(router: APIRouter, store: Store, gate: Gate) -> None:
    who = Depends(gate.caller)

    @router.put("/turns/{turn_id}/feedback")
    @router.post("/turns/{turn_id}/feedback")
    def rate(turn_id: str, given: FeedbackIn, caller: Caller = who) -> Document:
        """Say what one thinks of an answer; saying it again replaces it."""
        said = Feedback(given.thumbs, given.label, tuple(given.words), given.text, given.may_reuse)
        return dict(plain(_told(lambda: store.rate(caller.owner, turn_id, said, given.revision_id))))

    @router.delete("/turns/{turn_id}/feedback", status_code=204)
    def unrate(
        turn_id: str, caller: Caller = who, revision_id: Annotated[str | None, Query(max_length=64)] = None
    ) -> None:
        """Take it back, and the consent to reuse with it."""
        _told(lambda: store.unrate(caller.owner, turn_id, revision_id))

    @router.get("/feedback/corrections")
    def corrections(caller: Caller = who) -> StreamingResponse:
        """Own corrected answers that may be reused, as JSON lines for `affectgpt data build`."""
        return _sent(store.corrections(caller.owner), "application/jsonl", "corrections.jsonl")


def _told(work: Callable[[], Given]) -> Given:
    """The store's errors as HTTP's."""
    try:
        return work()
    except NotKept as error:
        raise HTTPException(404, str(error)) from None
    except InputError as error:
        raise HTTPException(400, str(error)) from None
    except StoreError:  # what failed is for the log, not for whoever asked
        raise HTTPException(503, "conversations cannot be read or kept right now", {"Retry-After": "5"}) from None


def _streamed(pieces: Iterator[str], form: ExportForm) -> StreamingResponse:
    return _sent(pieces, MEDIA_TYPES[form], f"conversations.{form}")


def _sent(pieces: Iterator[str], media_type: str, name: str) -> StreamingResponse:
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(pieces, media_type=media_type, headers=headers)
