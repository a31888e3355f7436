"""From a view to what the components are to show: Gradio's updates, and the small pieces of HTML in them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from serve.store import Feedback, Summary, Turn
from serve.web.handlers import View
from serve.web.texts import say, table

if TYPE_CHECKING:
    from serve.web.layout import Parts

__all__ = ["Updates", "history_html", "updates_of"]

_THUMBS = {"up": "Like", "down": "Dislike"}
"""Gradio's words for them."""

Updates = dict[Any, Any]
"""What each component is to show."""


def updates_of(p: Parts, view: View, *, opens: bool = False) -> Updates:
    """A view as updates; `opens` unfolds the correction where an answer was called wrong."""
    told: dict[Any, Any] = dict(_talk_updates(p, view))
    if view.history is not None:
        told[p.history] = history_html(view.history, view.conversation.id if view.conversation else None)
    if view.stage is not None or view.spoken is not None:
        told[p.signal] = _signal(view)
    if view.status is not None:
        told[p.status] = f"<p>{html.escape(view.status)}</p>" if view.status else ""
    if view.card is not None:
        told[p.card] = gr.update(value=view.card, visible=bool(view.card))
    if view.n_people is not None:
        told[p.person] = _people(view.n_people)
    if view.correcting is not None:
        told |= _correction_updates(p, view.correcting, opens)
    return told


def _talk_updates(p: Parts, view: View) -> Iterator[tuple[Any, Any]]:
    if view.messages is not None:
        thumbs = [_THUMBS.get(given or "") for given in view.thumbs or ()]
        yield p.chat, gr.update(value=view.messages, feedback_value=thumbs)
    if view.conversation is not None:
        yield p.conversation, view.conversation.id
        yield p.name, view.conversation.title
        yield p.actions, _actions(view.conversation)
        yield p.name_row, gr.update(visible=True)
    elif view.is_blank:
        yield p.conversation, None
        yield p.turn, None
        yield p.name_row, gr.update(visible=False)
        yield p.correction, gr.update(visible=False)
    if view.is_busy is not None:
        box = gr.update(submit_btn=not view.is_busy, stop_btn=view.is_busy)
        if view.rejected is not None:
            box = gr.update(value={"text": view.rejected, "files": []}, submit_btn=True, stop_btn=False)
        yield p.box, box


def _correction_updates(p: Parts, turn: Turn, opens: bool) -> Updates:
    said = turn.revision.feedback or Feedback()
    is_answered = turn.revision.answered is not None
    return {
        p.turn: turn.id,
        p.correction: gr.update(visible=is_answered, open=opens and said.thumbs == "down"),
        p.label: said.label or "",
        p.words: ", ".join(said.words),
        p.remark: said.text,
        p.reuse: said.may_reuse,
    }


def history_html(found: Sequence[tuple[Summary, str]], current: str | None, is_search: bool = False) -> str:
    """The list of conversations: name and time, or the text around what was found."""
    if not found:
        return f'<p class="empty">{html.escape(say("history.none_found" if is_search else "history.empty"))}</p>'
    rows = []
    for summary, snippet in found:
        is_open = ' aria-current="true"' if summary.id == current else ""
        when = f'<time datetime="{summary.updated.isoformat()}">{summary.updated:%d %b %Y}</time>'
        small = html.escape(snippet) if is_search and snippet else when
        title = summary.title or say("history.untitled")
        rows.append(
            f'<li><button type="button" data-open="{html.escape(summary.id)}"{is_open}>'
            f"<span>{html.escape(title)}</span><small>{small}</small></button></li>"
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
