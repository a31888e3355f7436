"""The chat page: Gradio's blocks, wired to the handlers, mounted into the gateway at `/`."""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

# Gradio reports to its makers by default; read when its modules are imported, so before anything of it is.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import APIRouter, FastAPI
from gradio.events import EventData
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from affectgpt.answers import labels
from affectgpt.records import Modality
from serve.callers import Gate
from serve.events import Turns
from serve.intake import Intake
from serve.settings import ServeSettings
from serve.store import Feedback, Store, Summary, Turn
from serve.web.consent import Door, Guard, Person, consent_version, notice_lines
from serve.web.handlers import Choices, Handlers, View
from serve.web.messages import typed_text
from serve.web.routes import add_routes
from serve.web.running import Running
from serve.web.shelf import Shelf
from serve.web.texts import say, table

__all__ = ["build", "mount"]

LARGEST_MESSAGE = 20_000
"""Characters that the box takes as text; more is offered as a file, as a transcript would be."""
LEFTOVER_SECONDS = 900
"""What was uploaded and never sent is deleted after this."""


class Parts(NamedTuple):
    """The components that handlers change, by what they show."""

    chat: gr.Chatbot
    box: gr.MultimodalTextbox
    conversation: gr.State
    name: gr.Textbox
    actions: gr.HTML
    history: gr.HTML
    signal: gr.HTML
    status: gr.HTML
    card: gr.Markdown
    person: gr.Dropdown
    turn: gr.State
    correction: gr.Accordion
    label: gr.Dropdown
    words: gr.Textbox
    remark: gr.Textbox
    reuse: gr.Checkbox


def mount(
    app: FastAPI, turns: Turns, store: Store, settings: ServeSettings, *, intake: Intake, gate: Gate | None = None
) -> FastAPI:
    """Serve the chat page at `/` of this app, and what it fetches under `/web`; call it after every other route.

    `gate` says who may come; by default this machine alone.
    """
    folder = Path(tempfile.mkdtemp(prefix="affectgpt-page-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "arriving")
    shelf = Shelf(folder / "shown", settings.ttl_s)
    running = Running(turns, store, shelf)
    handlers = Handlers(store, running, shelf, intake, settings.context)
    notice = notice_lines(minutes=round(settings.ttl_s / 60), retains=settings.retain, kept=say("consent.kept"))
    door = Door(gate or Gate(None), consent_version(notice))
    router = APIRouter(include_in_schema=False)
    add_routes(router, handlers, door, notice)
    app.include_router(router)
    _close_with(app, running, shelf)
    return gr.mount_gradio_app(
        app,
        build(handlers, door),
        path="/",
        app_kwargs={"middleware": [Middleware(Guard, door=door)]},
        max_file_size=settings.max_upload_bytes,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        head=_head(),
    )


def build(handlers: Handlers, door: Door) -> gr.Blocks:
    """The page's blocks, wired."""
    with gr.Blocks(
        title=say("title"), analytics_enabled=False, fill_width=True, delete_cache=(300, LEFTOVER_SECONDS)
    ) as blocks:
        wires = _Wires(handlers, door, _lay_out(handlers))
        wires.connect(blocks)
    return blocks


def _close_with(app: FastAPI, running: Running, shelf: Shelf) -> None:
    """Stop what is going and delete what is shown when the app closes."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state:
            try:
                yield state
            finally:
                await running.close()
                shelf.close()

    app.router.lifespan_context = lifespan


def _theme() -> gr.themes.Base:
    """System fonts alone, and the report's accent."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "Consolas", "monospace"]
    return gr.themes.Base(primary_hue="blue", neutral_hue="stone", font=sans, font_mono=mono, radius_size="lg")


def _head() -> str:
    return '<link rel="stylesheet" href="/web/static/page.css"><script src="/web/static/page.js" defer></script>'


# ---------------------------------------------------------------- what is where


def _plain(value: str, **options: Any) -> gr.HTML:
    """HTML in the page's own style, which takes no part in Gradio's waiting animations."""
    return gr.HTML(value, apply_default_css=False, **options)


def _lay_out(handlers: Handlers) -> dict[str, Any]:
    found: dict[str, Any] = {"conversation": gr.State(None), "turn": gr.State(None)}
    with gr.Sidebar(label=say("history.label"), width=290, elem_id="affect-side"):
        found |= _lay_out_history()
    _plain(_strip(handlers), elem_id="affect-strip")
    with gr.Row(elem_id="affect-main", equal_height=False):
        with gr.Column(scale=6, min_width=320, elem_id="affect-talk"):
            found |= _lay_out_talk()
            found |= _lay_out_options(handlers)
            found |= _lay_out_correction()
        with gr.Column(scale=5, min_width=320, elem_id="affect-side-stage"):
            _plain(
                f'<div id="affect-stage" role="region" aria-label="{html.escape(say("stage.label"))}">'
                f'<p class="empty">{html.escape(say("stage.empty"))}</p></div>',
                elem_id="affect-stage-box",
            )
    return found


def _strip(handlers: Handlers) -> str:
    setting = f'<p class="setting">{html.escape(say(f"setting.{handlers.setting}"))}</p>' if handlers.setting else ""
    return (
        f"<header><h1>{html.escape(say('title'))}</h1>"
        f'<p role="note"><span class="ai" aria-hidden="true">AI</span> {html.escape(say("notice.strip"))} '
        f'<button type="button" data-notice>{html.escape(say("notice.about"))}</button></p>{setting}</header>'
    )


def _lay_out_history() -> dict[str, Any]:
    new = gr.Button(say("history.new"), variant="primary", size="md", elem_id="affect-new")
    query = gr.Textbox(
        label=say("history.search"), placeholder=say("history.search_placeholder"), container=False, max_lines=1,
        elem_id="affect-search",
    )  # fmt: skip
    history = _plain(_history([], None), elem_id="affect-history", js_on_load=_ON_OPEN)
    _plain(
        f'<button type="button" class="quiet" data-forget>{html.escape(say("history.forget"))}</button>',
        elem_id="affect-forget",
    )
    return {"new": new, "query": query, "history": history}


_ON_OPEN = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-open]');
  if (button) trigger('select', {value: button.dataset.open, index: 0});
});"""


def _lay_out_talk() -> dict[str, Any]:
    with gr.Row(elem_id="affect-name-row", visible=False) as row:
        name = gr.Textbox(
            label=say("conversation.title_label"), container=False, max_lines=1, max_length=200, scale=5, min_width=120,
            elem_id="affect-name",
        )  # fmt: skip
        actions = _plain("", elem_id="affect-actions")
    card = gr.Markdown("", visible=False, container=True, elem_id="affect-card")
    chat = gr.Chatbot(
        label=say("chat.label"), show_label=False, elem_id="affect-chat", height="58vh", min_height=260,
        buttons=["copy"], editable="user", layout="panel", placeholder=say("chat.placeholder"), latex_delimiters=[],
        allow_tags=False, feedback_options=("Like", "Dislike"), allow_file_downloads=False, container=False,
    )  # fmt: skip
    status = _plain("", elem_id="affect-status")
    box = gr.MultimodalTextbox(
        label=say("chat.box_label"), placeholder=say("chat.box_placeholder"), show_label=False, lines=1, max_lines=8,
        sources=["upload", "microphone"], file_count="multiple", elem_id="affect-box",
        max_plain_text_length=LARGEST_MESSAGE,
        file_types=["video", "audio", "image", ".srt", ".vtt", ".txt"], submit_btn=True, stop_btn=False,
    )  # fmt: skip
    with gr.Accordion(say("chat.camera"), open=False, elem_id="affect-camera"):
        _plain(f'<p class="hint">{html.escape(say("chat.camera_hint"))}</p>')
        camera = gr.Video(
            label=say("chat.camera_label"), sources=["webcam"], include_audio=True, height=260,
            webcam_options=gr.WebcamOptions(mirror=False),
        )  # fmt: skip
    signal = _plain("", elem_id="affect-signal", elem_classes="affect-hidden")
    hidden = {
        key: gr.Button(key, elem_id=f"affect-{key}", elem_classes="affect-hidden")
        for key in ("arrive", "delete", "blank")
    }
    return {
        "row": row, "name": name, "actions": actions, "card": card, "chat": chat, "status": status, "box": box,
        "camera": camera, "signal": signal, **hidden,
    }  # fmt: skip


def _lay_out_options(handlers: Handlers) -> dict[str, Any]:
    texts = table("reading")
    is_barred = handlers.setting is not None
    with gr.Accordion(texts["label"], open=False, elem_id="affect-reading"):
        modalities = gr.CheckboxGroup(
            [(texts[m.value], m.value) for m in Modality], value=["speech"] if is_barred else [*map(str, Modality)],
            label=texts["modalities"], interactive=not is_barred, elem_id="affect-modalities",
        )  # fmt: skip
        words_only = gr.Checkbox(
            is_barred, label=texts["words_only"], interactive=not is_barred, elem_id="affect-words"
        )
        person = gr.Dropdown(
            [(texts["person_any"], -1)], value=-1, label=texts["person"], visible=False, elem_id="affect-person"
        )
    return {"modalities": modalities, "words_only": words_only, "person": person}


def _lay_out_correction() -> dict[str, Any]:
    texts = table("feedback")
    with gr.Accordion(texts["label"], open=False, visible=False, elem_id="affect-correction") as correction:
        _plain(f'<p class="hint">{html.escape(texts["hint"])}</p>')
        label = gr.Dropdown(
            [(texts["emotion_none"], ""), *labels()], value="", label=texts["emotion"], elem_id="affect-label"
        )
        words = gr.Textbox(label=texts["words"], placeholder=texts["words_placeholder"], elem_id="affect-own-words")
        remark = gr.Textbox(label=texts["text"], lines=2, elem_id="affect-remark")
        reuse = gr.Checkbox(label=texts["reuse"], elem_id="affect-reuse")
        with gr.Row():
            save = gr.Button(texts["save"], variant="primary", size="sm", elem_id="affect-save")
            take_back = gr.Button(texts["take_back"], size="sm", elem_id="affect-take-back")
    return {
        "correction": correction, "label": label, "words": words, "remark": remark, "reuse": reuse, "save": save,
        "take_back": take_back,
    }  # fmt: skip


# ---------------------------------------------------------------- what happens


class _Wires:
    """Carries what people do to the handlers, and views back to the components."""

    def __init__(self, handlers: Handlers, door: Door, found: dict[str, Any]) -> None:
        self._handlers = handlers
        self._door = door
        self._found = found
        self._parts = Parts(**{name: found[name] for name in Parts._fields})
        self._outputs = [*self._parts, found["row"]]

    def connect(self, blocks: gr.Blocks) -> None:
        """Wire every event; none is an API of its own."""
        f, p = self._found, self._parts
        quiet: dict[str, Any] = {
            "outputs": self._outputs, "api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None,
        }  # fmt: skip
        reading = [f["modalities"], f["words_only"], p.person]
        blocks.load(self.arrive, None, **quiet)
        f["arrive"].click(self.arrive, None, **quiet)
        p.box.submit(self.send, [p.box, p.conversation, *reading], **quiet)
        p.box.stop(self.stop, p.conversation, None, queue=False, **_less(quiet))
        p.chat.retry(self.retry, [p.conversation, *reading], **quiet)
        p.chat.edit(self.edit, [p.conversation, *reading], **quiet)
        p.chat.like(self.like, p.conversation, **quiet)
        p.person.input(self.other_person, [p.conversation, *reading], **quiet)
        f["camera"].stop_recording(self.recorded, [f["camera"], p.box], [f["camera"], p.box], **_less(quiet))
        f["words_only"].input(_only_words, f["words_only"], f["modalities"], **_less(quiet))
        f["new"].click(self.blank, None, **quiet)
        f["query"].change(self.search, [f["query"], p.conversation], p.history, **_less(quiet))
        p.history.select(self.open, None, **quiet)
        p.name.submit(self.rename, [p.name, p.conversation], **quiet)
        f["delete"].click(self.delete, p.conversation, **quiet)
        corrected = [p.conversation, p.turn, p.label, p.words, p.remark, p.reuse]
        f["save"].click(self.correct, corrected, **quiet)
        f["take_back"].click(self.take_back, [p.conversation, p.turn], **quiet)

    # Gradio hands over a request, and event data, by the type that a parameter is annotated with.

    async def arrive(self, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """The page was opened, or the notice agreed to."""
        person = self._person(request)
        if person is None:
            yield {self._parts.status: ""}
            return
        async for view in self._handlers.arrive(person):
            yield self._updates(view)

    async def send(
        self, message: dict[str, Any], conversation: str | None, modalities: list[str], words_only: bool, who: int,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        """A message, with files."""
        files = [(path, _name_of(path)) for path in map(_arrived, message.get("files") or ())]
        text = str(message.get("text") or "")
        choices = _choices(modalities, words_only, who, request)
        yield {self._parts.box: gr.update(value={"text": "", "files": []}, submit_btn=False, stop_btn=True)}
        async for view in self._handlers.send(self._someone(request), conversation, text, files, choices):
            yield self._updates(view)

    async def stop(self, conversation: str | None, request: gr.Request) -> None:
        """Stop the answer."""
        await self._handlers.stop(self._someone(request), conversation)

    async def retry(
        self, conversation: str | None, modalities: list[str], words_only: bool, who: int, event: gr.RetryData,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        """An answer anew."""
        choices = _choices(modalities, words_only, who, request)
        place = _place(event.index)
        async for view in self._handlers.again(self._someone(request), conversation, place, None, choices):
            yield self._updates(view)

    async def edit(
        self, conversation: str | None, modalities: list[str], words_only: bool, who: int, event: gr.EditData,
        request: gr.Request,
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        """A message reworded, and answered anew."""
        choices = _choices(modalities, words_only, who, request)
        text = typed_text(str(event.value))
        place = _place(event.index)
        async for view in self._handlers.again(self._someone(request), conversation, place, text, choices):
            yield self._updates(view)

    async def other_person(
        self, conversation: str | None, modalities: list[str], words_only: bool, who: int, request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        """Another person of the clip: the last turn is answered anew."""
        choices = _choices(modalities, words_only, who, request)
        async for view in self._handlers.again(self._someone(request), conversation, -1, None, choices):
            yield self._updates(view)

    async def like(self, conversation: str | None, event: gr.LikeData, request: gr.Request) -> dict[Any, Any]:
        """Thumbs."""
        is_good = event.liked if isinstance(event.liked, bool) else {"Like": True, "Dislike": False}.get(event.liked)
        return self._updates(
            await self._handlers.rate(self._someone(request), conversation, _place(event.index), is_good), opens=True
        )

    async def correct(
        self, conversation: str | None, turn: str | None, label: str, words: str, remark: str, reuse: bool,
        request: gr.Request,
    ) -> dict[Any, Any]:  # fmt: skip
        """A correction."""
        own = tuple(w for w in (part.strip() for part in words.split(",")) if w)
        said = Feedback(label=label or None, words=own, text=remark.strip(), may_reuse=reuse)
        return self._updates(await self._handlers.correct(self._someone(request), conversation, turn or "", said))

    async def take_back(self, conversation: str | None, turn: str | None, request: gr.Request) -> dict[Any, Any]:
        """Feedback withdrawn."""
        return self._updates(await self._handlers.take_back(self._someone(request), conversation, turn or ""))

    async def open(self, event: EventData, request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """A conversation of the history."""
        async for view in self._handlers.open(self._someone(request), str(event.value)):
            yield self._updates(view)

    async def blank(self, request: gr.Request) -> dict[Any, Any]:
        """A new conversation."""
        person = self._someone(request)
        history = await self._handlers.list(person)
        view = View(messages=[], is_blank=True, history=history, stage=("", ""), status="", card="", is_busy=False)
        return self._updates(view)

    async def search(self, query: str, conversation: str | None, request: gr.Request) -> Any:
        """What the history holds of a query."""
        return _history(await self._handlers.list(self._someone(request), query), conversation, bool(query.strip()))

    async def rename(self, name: str, conversation: str | None, request: gr.Request) -> dict[Any, Any]:
        """Another name."""
        return self._updates(await self._handlers.rename(self._someone(request), conversation or "", name))

    async def delete(self, conversation: str | None, request: gr.Request) -> dict[Any, Any]:
        """The conversation, for good."""
        return self._updates(await self._handlers.delete(self._someone(request), conversation or ""))

    def recorded(self, clip: str | None, message: dict[str, Any] | None) -> tuple[Any, Any]:
        """What the camera recorded goes into the message."""
        if not clip:
            return gr.skip(), gr.skip()
        files = [*((message or {}).get("files") or ()), clip]
        return None, {"text": (message or {}).get("text") or "", "files": files}

    # ---------------------------------------------------------------- between

    def _person(self, request: gr.Request) -> Person | None:
        from starlette.exceptions import HTTPException

        assert request.request is not None
        try:
            return self._door.person(request.request)
        except HTTPException:
            return None

    def _someone(self, request: gr.Request) -> Person:
        """Who it is; whoever may not come in has agreed to nothing and owns nothing."""
        return self._person(request) or Person("", None)

    def _updates(self, view: View, *, opens: bool = False) -> dict[Any, Any]:
        p = self._parts
        told: dict[Any, Any] = dict(self._talk_updates(view))
        if view.history is not None:
            told[p.history] = _history(view.history, view.conversation.id if view.conversation else None)
        if view.stage is not None or view.spoken is not None:
            told[p.signal] = _signal(view)
        if view.status is not None:
            told[p.status] = f"<p>{html.escape(view.status)}</p>" if view.status else ""
        if view.card is not None:
            told[p.card] = gr.update(value=view.card, visible=bool(view.card))
        if view.n_people is not None:
            told[p.person] = _people(view.n_people)
        if view.correcting is not None:
            told |= self._correction_updates(view.correcting, opens)
        return told

    def _talk_updates(self, view: View) -> Iterator[tuple[Any, Any]]:
        p = self._parts
        if view.messages is not None:
            yield p.chat, gr.update(value=view.messages, feedback_value=view.thumbs) if view.thumbs else view.messages
        if view.conversation is not None:
            yield p.conversation, view.conversation.id
            yield p.name, view.conversation.title
            yield p.actions, _actions(view.conversation)
            yield self._found["row"], gr.update(visible=True)
        elif view.is_blank:
            yield p.conversation, None
            yield p.turn, None
            yield self._found["row"], gr.update(visible=False)
            yield p.correction, gr.update(visible=False)
        if view.is_busy is not None:
            box = gr.update(submit_btn=not view.is_busy, stop_btn=view.is_busy)
            if view.rejected is not None:
                box = gr.update(value={"text": view.rejected, "files": []}, submit_btn=True, stop_btn=False)
            yield p.box, box

    def _correction_updates(self, turn: Turn, opens: bool) -> dict[Any, Any]:
        p = self._parts
        said = turn.revision.feedback or Feedback()
        is_answered = turn.revision.answered is not None
        return {
            p.turn: turn.id,
            p.correction: gr.update(visible=is_answered, **({"open": True} if opens and said.thumbs == "down" else {})),
            p.label: said.label or "",
            p.words: ", ".join(said.words),
            p.remark: said.text,
            p.reuse: said.may_reuse,
        }


def _less(quiet: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in quiet.items() if key != "outputs"}


def _arrived(path: str) -> Path:
    """A file that Gradio took in. Raises ValueError for a path anywhere else: no client's path is ever opened."""
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(Path(get_upload_folder()).resolve()):
        raise ValueError("no upload of this page")
    return resolved


def _name_of(path: Path) -> str:
    return path.name[:200]


def _choices(modalities: Sequence[str], words_only: bool, who: int | None, request: gr.Request) -> Choices:
    chosen = frozenset({Modality.SPEECH}) if words_only else frozenset(map(Modality, modalities))
    locale = request.headers.get("accept-language", "").split(",")[0].split(";")[0].strip()[:35]
    subject = who if isinstance(who, int) and who >= 0 else None
    return Choices(chosen or frozenset(Modality), subject, locale or "en")


def _place(index: Any) -> int:
    return int(index[0] if isinstance(index, (list, tuple)) else index)


def _only_words(words_only: bool) -> Any:
    value = ["speech"] if words_only else [*map(str, Modality)]
    return gr.update(value=value, interactive=not words_only)


# ---------------------------------------------------------------- small pieces of HTML


def _history(found: Sequence[tuple[Summary, str]], current: str | None, is_search: bool = False) -> str:
    if not found:
        return f'<p class="empty">{html.escape(say("history.none_found" if is_search else "history.empty"))}</p>'
    rows = []
    for summary, snippet in found:
        is_open = ' aria-current="true"' if summary.id == current else ""
        small = snippet if is_search and snippet else summary.updated.strftime("%d %b %Y")
        title = summary.title or say("history.untitled")
        rows.append(
            f'<li><button type="button" data-open="{html.escape(summary.id)}"{is_open}>'
            f"<span>{html.escape(title)}</span><small>{html.escape(small)}</small></button></li>"
        )
    return f'<nav aria-label="{html.escape(say("history.label"))}"><ul>{"".join(rows)}</ul></nav>'


def _actions(summary: Summary) -> str:
    links = " ".join(
        f'<a href="/web/export/{html.escape(summary.id)}.{form}" download '
        f'aria-label="{html.escape(say("conversation.export"))} {form}">{form}</a>'
        for form in ("md", "json", "csv")
    )
    delete = html.escape(say("conversation.delete"))
    export = f'<span class="export">{html.escape(say("conversation.export"))} {links}</span>'
    return f'{export}<button type="button" data-delete>{delete}</button>'


def _signal(view: View) -> str:
    """What the page's own script is told: which turn stands beside the talk, and what to say aloud."""
    revision, step = view.stage or ("", "")
    shown = f' data-revision="{html.escape(revision)}" data-step="{html.escape(step)}"' if view.stage else ""
    return f'<i{shown} data-spoken="{html.escape(view.spoken or "", quote=True)}"></i>'


def _people(n_people: int) -> Any:
    if n_people < 2:
        return gr.update(visible=False, value=-1)
    texts = table("reading")
    choices = [(texts["person_any"], -1), *((texts["person_n"].format(n=n + 1), n) for n in range(n_people))]
    return gr.update(visible=True, choices=choices, info=texts["person_hint"].format(n=n_people))
