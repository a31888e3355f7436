"""What is where on the page: Gradio's components, laid out and labelled, with nothing wired to them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from affectgpt.answers import labels
from affectgpt.readers import Setting
from affectgpt.records import Modality
from serve.web.texts import say, table
from serve.web.updates import history_html

__all__ = ["Parts", "lay_out", "theme"]

LARGEST_MESSAGE = 20_000
"""Characters that the box takes as text; more is offered as a file, as a transcript would be."""


_CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}, "frameRate": {"ideal": 25}}}
"""Plenty for a face at arm's length; a larger picture only takes longer to encode and to send."""


class Parts(NamedTuple):
    """The components that something happens to, or that make something happen."""

    conversation: gr.State
    turn: gr.State
    new: gr.Button
    query: gr.Textbox
    history: gr.HTML
    name_row: gr.Row
    name: gr.Textbox
    actions: gr.HTML
    card: gr.Markdown
    chat: gr.Chatbot
    status: gr.HTML
    box: gr.MultimodalTextbox
    camera: gr.Video
    signal: gr.HTML
    arrive: gr.Button
    delete: gr.Button
    modalities: gr.CheckboxGroup
    words_only: gr.Checkbox
    person: gr.Dropdown
    soft: gr.Checkbox
    persona: gr.Dropdown
    correction: gr.Accordion
    label: gr.Dropdown
    words: gr.Textbox
    remark: gr.Textbox
    reuse: gr.Checkbox
    save: gr.Button
    take_back: gr.Button


def theme() -> gr.themes.Base:
    """System fonts alone; the colours are the report's, in page.css."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "Consolas", "monospace"]
    return gr.themes.Base(primary_hue="blue", neutral_hue="stone", font=sans, font_mono=mono, radius_size="lg")


def _plain(value: str, **options: Any) -> gr.HTML:
    """HTML in the page's own style, which takes no part in Gradio's waiting animations."""
    return gr.HTML(value, apply_default_css=False, **options)


def lay_out(setting: Setting | None, personas: Sequence[str], *, has_soft: bool = False) -> Parts:
    """Everything, inside the blocks that are open.

    `setting` is the place where face and voice are off, `personas` who may answer, the usual one first, `has_soft`
    whether soft tokens can be asked for.
    """
    found: dict[str, Any] = {"conversation": gr.State(None), "turn": gr.State(None)}
    with gr.Sidebar(label=say("history.label"), width=290, elem_id="affect-side"):
        found |= _lay_out_history()
    _plain(_strip(setting), elem_id="affect-strip")
    with gr.Row(elem_id="affect-main", equal_height=False):
        with gr.Column(scale=6, min_width=320, elem_id="affect-talk"):
            found |= _lay_out_talk()
            found |= _lay_out_options(setting, personas, has_soft=has_soft and setting is None)
            found |= _lay_out_correction()
        with gr.Column(scale=5, min_width=320, elem_id="affect-side-stage"):
            _plain(
                f'<div id="affect-stage" role="region" aria-label="{html.escape(say("stage.label"))}">'
                f'<p class="empty">{html.escape(say("stage.empty"))}</p></div>',
                elem_id="affect-stage-box",
            )
    return Parts(**found)


def _strip(setting: Setting | None) -> str:
    barred = f'<p class="setting">{html.escape(say(f"setting.{setting}"))}</p>' if setting else ""
    return (
        f"<header><h1>{html.escape(say('title'))}</h1>"
        f'<p role="note"><span class="ai" aria-hidden="true">AI</span> {html.escape(say("notice.strip"))} '
        f'<button type="button" data-notice>{html.escape(say("notice.about"))}</button></p>{barred}</header>'
    )


def _lay_out_history() -> dict[str, Any]:
    new = gr.Button(say("history.new"), variant="primary", size="md", elem_id="affect-new")
    query = gr.Textbox(
        label=say("history.search"), placeholder=say("history.search_placeholder"), container=False, max_lines=1,
        elem_id="affect-search",
    )  # fmt: skip
    history = _plain(history_html([], None), elem_id="affect-history", js_on_load=_ON_OPEN)
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
            webcam_options=gr.WebcamOptions(mirror=False, constraints=_CAMERA),
        )  # fmt: skip
    signal = _plain("", elem_id="affect-signal", elem_classes="affect-hidden")
    hidden = {
        key: gr.Button(key, elem_id=f"affect-{key}", elem_classes="affect-hidden") for key in ("arrive", "delete")
    }
    return {
        "name_row": row, "name": name, "actions": actions, "card": card, "chat": chat, "status": status, "box": box,
        "camera": camera, "signal": signal, **hidden,
    }  # fmt: skip


def _lay_out_options(setting: Setting | None, personas: Sequence[str], *, has_soft: bool) -> dict[str, Any]:
    texts = table("reading")
    is_barred = setting is not None
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
        soft = gr.Checkbox(False, label=texts["soft"], visible=has_soft, elem_id="affect-soft")
        persona = gr.Dropdown(
            [(name.capitalize(), name) for name in personas], value=personas[0], label=texts["persona"],
            info=texts["persona_hint"], elem_id="affect-persona",
        )  # fmt: skip
    return {"modalities": modalities, "words_only": words_only, "person": person, "soft": soft, "persona": persona}


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
