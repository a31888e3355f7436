"""What the page fetches by itself: the notice, the stage beside the talk, the clip, a conversation as a file."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse

from affectgpt.report.parts import plotly_js, read_data
from serve.events import Attachment
from serve.store import ExportForm, NotKept
from serve.store.exporting import MEDIA_TYPES
from serve.web.consent import CONSENT_COOKIE, KEY_COOKIE, Door, Person, cookie_options
from serve.web.handlers import Handlers
from serve.web.shelf import Shown
from serve.web.texts import say, table
from serve.web.timelines import tell, tell_so_far

__all__ = ["add_routes"]

_STATIC = {"page.js": "text/javascript; charset=utf-8", "page.css": "text/css; charset=utf-8"}
_SHARED = {"page.js": ("stage.js",), "page.css": ("story.css",)}
"""Files of the report that stand before the page's own: what wires and what dresses an outcome."""
_DAY = {"cache-control": "private, max-age=86400"}
_FRESH = {"cache-control": "no-cache"}


def add_routes(router: APIRouter, handlers: Handlers, door: Door, notice: list[str]) -> None:
    """Every route, under /web."""
    _add_entrance(router, handlers, door, notice)
    _add_stage(router, handlers, door)
    _add_static(router)


def _add_entrance(router: APIRouter, handlers: Handlers, door: Door, notice: list[str]) -> None:
    @router.get("/web/session")
    def session(request: Request) -> dict[str, Any]:
        """Where somebody stands who opens the page: a key to give, a notice to read, or open."""
        try:
            state = "open" if door.person(request).consented else "consent"
        except HTTPException as error:
            if error.status_code != 401:
                raise
            state = "key"
        return {"state": state, "notice": notice, "texts": table("consent") | table("stage") | table("conversation")}

    @router.post("/web/key", status_code=204)
    def give_key(request: Request, secret: Annotated[str, Body(embed=True, max_length=128)]) -> Response:
        """Remember a key in this browser, where scripts cannot read it."""
        door.holder(secret)
        response = Response(status_code=204)
        response.set_cookie(KEY_COOKIE, secret, **cookie_options(request.url.scheme))
        return response

    @router.post("/web/consent", status_code=204)
    def consent(request: Request) -> Response:
        """Agree to the notice."""
        door.person(request)
        response = Response(status_code=204)
        response.set_cookie(CONSENT_COOKIE, door.stamp(), **cookie_options(request.url.scheme))
        return response

    @router.post("/web/forget", status_code=204)
    async def forget(request: Request) -> Response:
        """Delete everything of this person, and take the consent back."""
        await handlers.forget(door.person(request))
        response = Response(status_code=204)
        response.delete_cookie(CONSENT_COOKIE, path="/")
        return response


def _add_stage(router: APIRouter, handlers: Handlers, door: Door) -> None:
    @router.get("/web/stage/{revision_id}")
    def stage(request: Request, revision_id: str) -> HTMLResponse:
        """The clip, its timelines and what was observed, of one turn."""
        person = door.person(request)
        return HTMLResponse(_stage(handlers, person, revision_id), headers={"cache-control": "no-store"})

    @router.get("/web/media/{revision_id}/{number}")
    def media(request: Request, revision_id: str, number: int) -> FileResponse:
        """A file of a turn, in ranges where a player asks for them."""
        shown = handlers.shelf.get(revision_id, door.person(request).owner)
        if shown is None or not 0 <= number < len(shown.attachments) or not shown.attachments[number].path.is_file():
            raise HTTPException(404, say("stage.not_kept"))
        path = shown.attachments[number].path
        # Whatever a client sent is given back as a medium and never as a page that could run.
        headers = {
            "cache-control": "private, no-store",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
        }
        return FileResponse(path, media_type=_media_type(shown.attachments[number]), headers=headers)

    @router.get("/web/export/{conversation_id}.{form}")
    def export(request: Request, conversation_id: str, form: Literal["md", "json", "csv"]) -> StreamingResponse:
        """A conversation as a file."""
        person = door.person(request)
        try:
            found: Iterator[str] = handlers.store.export(person.owner, form, conversation_id)
        except NotKept:
            raise HTTPException(404, say("conversation.gone")) from None
        return _download(found, form)


def _add_static(router: APIRouter) -> None:
    @router.get("/web/static/plotly.js")
    def plotly() -> Response:
        """Plotly's own script, as its package brings it."""
        return Response(_plotly(), media_type="text/javascript; charset=utf-8", headers=_DAY)

    @router.get("/web/static/{name}")
    def static(name: str) -> Response:
        """The page's script and style."""
        if name not in _STATIC:
            raise HTTPException(404, "not found")
        return Response(_static(name), media_type=_STATIC[name], headers=_FRESH)


def _stage(handlers: Handlers, person: Person, revision_id: str) -> str:
    shown = handlers.shelf.get(revision_id, person.owner)
    going = handlers.running.find_revision(person.owner, revision_id)
    try:
        revision = handlers.store.revision(person.owner, revision_id)
    except NotKept:
        raise HTTPException(404, say("conversation.gone")) from None
    medium = next((a for a in shown.attachments if a.kind != "transcript"), None) if shown else None
    can_seek = medium is not None and medium.kind in ("audio", "video")
    answered = revision.answered
    if answered is not None and answered.outcome is not None:
        story = tell(answered.outcome, f"{answered.reasoning} {answered.reply}", can_seek=can_seek)
    elif going is not None and going.now.observations:
        story = tell_so_far(going.now.observations, can_seek=can_seek)
    else:
        story = ""
    asked_for_clip = any(a.kind != "transcript" for a in revision.asked.attachments)
    player = _player(revision_id, shown, asked_for_clip)
    return f'{player}{_figure(shown)}<div class="story beside">{story}</div>'


def _player(revision_id: str, shown: Shown | None, asked_for_clip: bool) -> str:
    """The clip as an element, or why there is none."""
    for number, attachment in enumerate(shown.attachments if shown else ()):
        source = f"/web/media/{revision_id}/{number}"
        label = html.escape(say("stage.clip"))
        playing = f'controls preload="auto" src="{source}" aria-label="{label}"'
        inside = {
            "video": f'<video id="clip" playsinline {playing}></video>',
            "audio": f'<audio id="clip" {playing}></audio>',
            "image": f'<img id="still" src="{source}" alt="{html.escape(say("stage.still"))}">',
        }.get(attachment.kind)
        if inside:
            trouble = f'<p class="note trouble" role="status" hidden>{html.escape(say("stage.unplayable"))}</p>'
            return f'<div class="player">{inside}{trouble}</div>'
    note = html.escape(say("stage.not_kept" if asked_for_clip else "stage.no_clip"))
    return f'<div class="player"><p class="note">{note}</p></div>'


def _figure(shown: Shown | None) -> str:
    if shown is None or shown.figure is None:
        return ""
    drawn = {key: shown.figure[key] for key in ("data", "layout", "rows")}
    data = html.escape(json.dumps(drawn, separators=(",", ":"), allow_nan=False), quote=True)
    label = html.escape(say("stage.timelines"), quote=True)
    caption = html.escape(shown.figure["caption"])
    return (
        f'<details class="drawn" open><summary>{html.escape(say("stage.drawn"))}</summary><figure>'
        f'<div id="timeline" role="img" aria-label="{label}" data-figure="{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure></details>"
    )


def _media_type(attachment: Attachment) -> str:
    """The kind that was found on the way in, with a subtype that lets every player look for itself."""
    known = {"video": "video/mp4", "audio": "audio/mpeg", "image": "image/png"}
    return known.get(attachment.kind, "application/octet-stream")


def _download(pieces: Iterator[str], form: ExportForm) -> StreamingResponse:
    headers = {
        "content-disposition": f'attachment; filename="conversation.{form}"',
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[form], headers=headers)


@cache
def _plotly() -> bytes:
    return plotly_js().encode()


@cache
def _static(name: str) -> bytes:
    own = (files("serve.web") / "static" / name).read_text(encoding="utf-8")
    return "\n".join([*map(read_data, _SHARED[name]), own]).encode()
