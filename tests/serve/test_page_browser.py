"""The chat page in a real browser: from the notice to an erased history, by mouse, by keyboard, at any width."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import page_fakes
import pytest
import uvicorn
from fastapi import FastAPI
from page_visitor import TEXTS, Visitor, contrast, requested_hosts, visiting

from serve.api.callers import LOCAL_OWNER
from serve.incoming.intake import FolderIntake
from serve.settings import ServeSettings
from serve.store import Conversation, Store, open_store
from serve.web import page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

IDLE = "!document.querySelector('#affect-box .stop-button')"
ANSWERED = f"document.querySelector('#affect-chat').innerText.includes('Made by AI') && {IDLE}"


@dataclass
class Served:
    """A page that runs, on a port of its own."""

    store: Store
    turns: page_fakes.ScriptedTurns = field(default_factory=lambda: page_fakes.ScriptedTurns(step_s=0.05))
    port: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = open_store(str(tmp_path_factory.mktemp("page") / "chat.db"))
    running = Served(store)
    intake = FolderIntake(20_000_000)
    app = FastAPI()

    async def mount() -> None:
        page.mount(app, running.turns, store, ServeSettings(), intake=intake)

    asyncio.run(mount())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)
    running.port = server.servers[0].sockets[0].getsockname()[1]
    yield running
    server.should_exit = True
    thread.join(20)
    intake.close()
    store.close()


@pytest.fixture(scope="module")
def visitor(served: Served) -> Iterator[Visitor]:
    with visiting(served.url) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def answered(visitor: Visitor, served: Served) -> Visitor:
    """The notice was agreed to, and the example clip answered."""
    visitor.open()
    visitor.find("dialog[open]")
    assert "recognises emotions" in visitor.js("document.querySelector('dialog').innerText")
    assert visitor.js("document.activeElement.value") == "agree"
    visitor.press("\ue00c")  # Escape does not lead round it
    assert visitor.js("Boolean(document.querySelector('dialog[open]'))")
    visitor.press("\ue007")
    visitor.until("!document.querySelector('dialog')")
    visitor.until("document.querySelector('#affect-history .empty')")
    visitor.find("#affect-box input[type=file]").send_keys(str(page_fakes.CLIP))
    visitor.until("document.querySelector('#affect-box .thumbnail-item')")
    visitor.write("How did I come across?")
    visitor.until("document.querySelector('#affect-box .stop-button')")
    visitor.until("document.querySelector('.thought-group .title').innerText.includes('…')")
    visitor.until(ANSWERED)
    return visitor


def test_a_clip_is_answered_and_a_citation_seeks_it(answered: Visitor, served: Served) -> None:
    v = answered
    v.until("document.getElementById('clip').readyState >= 2")
    v.until("document.querySelector('#timeline .main-svg')")
    assert v.js("document.querySelectorAll('#affect-stage .observation').length") > 3
    talk = v.js("document.querySelector('#affect-chat').innerText")
    for told in ("Seems happy", "also possible: sad, surprised", "Cues disagree", "How was it for you?"):
        assert told in talk
    fold = v.find(".thought-group [role=button]")
    v.until("document.querySelector('.thought-group [role=button]').getAttribute('aria-expanded') === 'false'")
    fold.send_keys("\ue007")
    v.until("document.querySelector('.reasoning a.cite')")
    v.until("document.querySelector('.thought-group [role=button]').getAttribute('aria-expanded') === 'true'")
    assert v.js("document.getElementById('clip').currentTime") == 0
    v.find(".reasoning a.cite[href$='-F1']").send_keys("\ue007")
    start_s = float(v.js("document.getElementById('F1').dataset.start"))
    v.until(f"Math.abs(document.getElementById('clip').currentTime - {start_s}) < 0.05")
    assert start_s > 0.5
    assert v.js("document.activeElement.id") == "F1"
    v.until(f"Math.abs(document.getElementById('timeline').layout.shapes[0].x0 - {start_s}) < 0.05")


def test_what_is_said_is_heard(answered: Visitor) -> None:
    aloud = answered.js("document.querySelector('[aria-live=polite].affect-aloud').textContent")
    assert "Answer complete." in aloud
    assert answered.js("document.querySelector('#affect-chat [role=log]').getAttribute('aria-live')") == "off"
    messages = "document.querySelectorAll('#affect-chat [data-testid=bot], #affect-chat [data-testid=user]')"
    assert set(answered.js(f"[...{messages}].map((e) => e.ariaLabel)")) == {"Answer", "Your message"}
    unnamed = """[...document.querySelectorAll('button, a, input, textarea, select, video')]
        .filter((e) => e.offsetParent && !e.closest('[aria-hidden=true]') && e.tabIndex >= 0)
        .filter((e) => !(e.ariaLabel || e.innerText.trim() || e.labels?.length || e.title || e.placeholder))
        .map((e) => e.outerHTML.slice(0, 120))"""
    assert answered.js(unnamed) == []


def test_thumbs_and_a_correction_reach_the_store(answered: Visitor, served: Served) -> None:
    v = answered
    v.js("[...document.querySelectorAll('#affect-chat [aria-label=Dislike]')].at(-1).click()")
    v.until("document.querySelector('#affect-status').innerText.includes('Thank you')")
    v.find("#affect-own-words input, #affect-own-words textarea").send_keys("wistful, tired")
    v.find("#affect-remark textarea").send_keys("look at the eyes")
    v.click("#affect-reuse input")
    v.click("#affect-save")
    v.until("document.querySelector('#affect-status').innerText.includes('Correction saved')")
    (summary,) = served.store.recent(LOCAL_OWNER).items
    feedback = served.store.get(LOCAL_OWNER, summary.id).turns[0].revision.feedback
    assert feedback is not None
    assert (feedback.thumbs, feedback.words, feedback.text) == ("down", ("wistful", "tired"), "look at the eyes")
    assert feedback.may_reuse


def test_a_reload_finds_the_history_and_opens_it(answered: Visitor) -> None:
    v = answered
    v.open()
    v.until("document.querySelector('[data-open]')")
    assert not v.js("Boolean(document.querySelector('dialog'))"), "one agrees once"
    v.click("[data-open]")
    v.until(ANSWERED)
    v.until("document.getElementById('clip') && document.getElementById('clip').readyState >= 2")
    v.until("document.querySelector('#affect-chat [aria-label=Disliked]')")
    v.until("document.querySelector('[data-open]').getAttribute('aria-current') === 'true'")


def test_the_history_is_searched_exported_and_renamed(answered: Visitor, served: Served) -> None:
    v = answered
    search = v.find("#affect-search input")
    search.send_keys("zebra")
    v.until("document.querySelector('#affect-history').innerText.includes('Nothing found')")
    search.clear()
    search.send_keys("lighten")
    v.until("document.querySelector('[data-open]')")
    exported = {}
    for link in v.session.find_elements("css selector", "#affect-actions a[download]"):
        address = link.get_attribute("href")
        asked = "fetch(arguments[0]).then((r) => r.text()).then(arguments[arguments.length - 1])"
        exported[link.text] = v.session.execute_async_script(asked, address)
    assert set(exported) == {"md", "json", "csv"}
    assert all("something lightened" in text for text in exported.values())
    assert json.loads(exported["json"])
    name = v.find("#affect-name input")
    name.clear()
    name.send_keys("The astronaut\ue007")
    v.until("document.querySelector('#affect-status').innerText.includes('Name saved')")
    assert served.store.recent(LOCAL_OWNER).items[0].title == "The astronaut"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(1300, 900), (400, 860)], ids=["desktop", "phone"])
def test_it_fits_and_can_be_read(answered: Visitor, size: tuple[int, int], dark: bool) -> None:
    v = answered
    v.resize(*size, dark=dark)
    v.until(f"document.body.classList.contains('dark') === {json.dumps(dark)}")
    if size[0] < 600:
        v.until("!document.getElementById('affect-side').classList.contains('open')")
    time.sleep(0.3)  # sizes settle in the next frames
    assert v.fits()
    pairs = v.js(TEXTS)
    assert len(pairs) > 20
    faint = [(text, round(ratio, 2)) for text, ink, paper in pairs if (ratio := contrast(ink, paper)) < 4.5]
    assert faint == []
    v.resize(1300, 900)


def test_stop_keeps_what_stands(answered: Visitor, served: Served) -> None:
    v = answered
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    served.turns.step_s = 0.5
    v.write("take your time")
    v.until("document.querySelector('.reasoning ul.claims li a.cite')")
    v.click("#affect-box .stop-button")
    v.until(f"document.querySelector('#affect-chat').innerText.includes('Stopped') && {IDLE}")
    assert served.turns.n_closed == 1
    served.turns.step_s = 0.05


def test_what_was_left_goes_on_out_of_sight(answered: Visitor, served: Served) -> None:
    v = answered
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    served.turns.step_s = 0.3
    v.write("the first one")
    v.until("document.querySelector('.thought-group')")
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    served.turns.step_s = 0.05
    v.write("the second one")
    v.until(ANSWERED)
    deadline = time.monotonic() + 60
    while any(c.turns[0].revision.state == "pending" for c in kept(served)):
        assert time.monotonic() < deadline, "the first one was never answered"
        time.sleep(0.2)
    talk = v.js("document.querySelector('#affect-chat').innerText")
    assert "the second one" in talk
    assert "the first one" not in talk


def kept(served: Served) -> list[Conversation]:
    """Every conversation."""
    return [served.store.get(LOCAL_OWNER, summary.id) for summary in served.store.recent(LOCAL_OWNER).items]


def test_help_stays_on_the_page(answered: Visitor) -> None:
    v = answered
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    v.write("this is a crisis")
    v.until("document.querySelector('#affect-card').innerText.includes('116 123')")
    v.until(ANSWERED)
    v.write("something else now")
    v.until(f"document.querySelector('#affect-chat').innerText.includes('How was it for you?') && {IDLE}")
    assert v.js("document.querySelector('#affect-card').innerText.includes('116 123')")


def test_a_recording_of_the_camera_is_sent(answered: Visitor, served: Served) -> None:
    v = answered
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    v.click("#affect-camera .label-wrap")
    v.until("[...document.querySelectorAll('#affect-camera button')].some((b) => b.innerText.includes('Webcam'))")
    v.js("[...document.querySelectorAll('#affect-camera button')].find((b) => b.innerText.includes('Webcam')).click()")
    v.click("#affect-camera .capture-button")
    v.until("document.querySelector('#affect-camera .capture-button').innerText.includes('Stop')")
    time.sleep(1.5)
    v.click("#affect-camera .capture-button")
    v.until("document.querySelector('#affect-box .thumbnail-item')")
    v.click("#affect-box .submit-button")
    v.until(ANSWERED)
    assert served.turns.asked[-1].attachments[0].kind == "video"
    v.until("document.getElementById('clip').readyState >= 1")


def test_a_recording_of_the_microphone_is_sent(answered: Visitor, served: Served) -> None:
    v = answered
    v.click("#affect-new")
    v.until("!document.querySelector('#affect-chat .message')")
    v.click("#affect-box .microphone-button")
    v.click("#affect-box .record-button")
    v.find("#affect-box .stop-button")
    time.sleep(1.5)
    v.click("#affect-box .stop-button")
    v.click("#affect-box .confirm-button")
    v.until("document.querySelector('#affect-box .thumbnail-item')")
    v.click("#affect-box .submit-button")
    v.until(ANSWERED)
    assert served.turns.asked[-1].attachments[0].kind == "audio"
    v.until("document.querySelector('audio#clip').readyState >= 1")


def test_deleting_is_asked_once_and_is_for_good(answered: Visitor, served: Served) -> None:
    v = answered
    n_before = len(served.store.recent(LOCAL_OWNER).items)
    v.click("[data-delete]")
    v.find("dialog[open]")
    v.press("\ue00c")
    v.until("!document.querySelector('dialog')")
    assert len(served.store.recent(LOCAL_OWNER).items) == n_before
    v.click("[data-delete]")
    v.click("dialog button[value=yes]")
    v.until("document.querySelector('#affect-status').innerText.includes('deleted')")
    assert len(served.store.recent(LOCAL_OWNER).items) == n_before - 1
    v.click("[data-forget]")
    v.click("dialog button[value=yes]")
    v.until("document.querySelector('dialog[open]')?.innerText.includes('Before you begin')")
    assert served.store.recent(LOCAL_OWNER).items == ()


def test_nothing_was_fetched_from_elsewhere_and_nothing_broke(answered: Visitor, served: Served) -> None:
    assert requested_hosts(answered.session) == {f"127.0.0.1:{served.port}"}
    wrong = [e["message"] for e in answered.session.get_log("browser") if e["level"] == "SEVERE"]
    # The box's preview may still be loading when its file was taken over; Gradio's player says so when it is left.
    harmless = ("/gradio_api/file=", "signal is aborted")
    assert [m for m in wrong if not any(h in m for h in harmless)] == []


def test_who_does_not_agree_is_let_go(answered: Visitor, tmp_path: Path) -> None:
    v = answered
    v.click("dialog button[value='']")
    v.until("document.body.innerText.includes('Nothing was sent')")
    assert not v.js("Boolean(document.querySelector('#affect-box'))")
