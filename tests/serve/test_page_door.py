"""The chat page's door: what it serves, and whom it lets in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import page_fakes
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from page_fakes import CLIP, Stand, clip_at, run, send

from serve.api.callers import Gate
from serve.api.keys import KeyRing
from serve.incoming.intake import FolderIntake
from serve.settings import ServeSettings
from serve.store import Store, open_store
from serve.web import page
from serve.web.consent import CONSENT_COOKIE, Door
from serve.web.notice import consent_version
from serve.web.texts import say


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(retain=False) as opened:
        yield opened


@pytest.fixture
def stand(store: Store, tmp_path: Path) -> Iterator[Stand]:
    made = Stand(store, tmp_path)
    yield made
    made.intake.close()


# ---------------------------------------------------------------- the door


@pytest.fixture(scope="module")
def gradio_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TestClient]]:
    """A way to open the page's application, with keys or without."""
    opened = []

    def open_page(keys: Path | None = None, **settings: Any) -> TestClient:
        app = FastAPI()
        given = ServeSettings(keys=keys, max_upload_bytes=2_000_000, **settings)
        gate = Gate(KeyRing(keys) if keys else None)
        intake = FolderIntake(2_000_000)

        async def mount() -> None:  # without a loop running, Gradio opens one and never closes it
            page.mount(app, page_fakes.ScriptedTurns(), open_store(retain=False), given, intake=intake, gate=gate)

        run(mount())
        client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000))
        opened.append(intake)
        return client

    yield open_page
    for intake in opened:
        intake.close()


@pytest.fixture(scope="module")
def client(gradio_page: Callable[..., TestClient]) -> Iterator[TestClient]:
    with gradio_page() as opened:
        yield opened


def test_the_page_keeps_to_itself(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert [d for d in config["dependencies"] if d["api_visibility"] != "private"] == []
    theme = client.get("/theme.css").text
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", theme) == []


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/proxy=http://127.0.0.1/", "/monitoring", "/login",
     "/gradio_api/vibe-code", "/gradio_api/file/etc/passwd", "/gradio_api/runs", "/gradio_api/mcp/sse"],
)  # fmt: skip
def test_what_the_page_does_not_need_of_gradio_is_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_uploads_wait_for_consent_and_are_bounded(gradio_page: Callable[..., TestClient]) -> None:
    with gradio_page() as client:
        assert client.get("/web/session").json()["state"] == "consent"
        sent = {"files": ("a.txt", b"words", "text/plain")}
        assert client.post("/gradio_api/upload", files=sent).status_code == 403
        agreed = client.post("/web/consent")
        cookie = agreed.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/web/session").json()["state"] == "open"
        assert client.post("/gradio_api/upload", files=sent).status_code == 200
        large = {"files": ("a.txt", b"x" * 2_500_000, "text/plain")}
        assert client.post("/gradio_api/upload", files=large).status_code == 413
        assert client.post("/web/forget").status_code == 204
        assert client.get("/web/session").json()["state"] == "consent"


def test_another_notice_is_asked_anew() -> None:
    gate = Gate(None)
    old, new = Door(gate, consent_version(["a"])), Door(gate, consent_version(["b"]))
    assert old._agreed(old.stamp()) is not None
    assert new._agreed(old.stamp()) is None
    assert old._agreed("") is None
    assert old._agreed(f"{old.version}.nonsense") is None


def test_strangers_and_other_sites_are_kept_out(gradio_page: Callable[..., TestClient]) -> None:
    with gradio_page() as client:
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        assert client.get("/web/session", headers={"host": "evil.example"}).status_code == 403
        assert client.post("/web/consent", headers={"origin": "http://evil.example"}).status_code == 403


def test_with_keys_the_page_asks_for_one(gradio_page: Callable[..., TestClient], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    _, secret = KeyRing(keys).add("me")
    with gradio_page(keys) as client:
        assert client.get("/").status_code == 200
        assert client.get("/web/session").json()["state"] == "key"
        assert client.post("/gradio_api/queue/join", json={}).status_code == 401
        assert client.post("/web/key", json={"secret": "agpt_wrong"}).status_code == 401
        assert client.post("/web/key", json={"secret": secret}).status_code == 204
        assert client.get("/web/session").json()["state"] == "consent"
        assert client.post("/web/consent").status_code == 204
        assert CONSENT_COOKIE in client.cookies


def test_clip_stage_and_export_are_their_owners_alone(tmp_path: Path, store: Store) -> None:
    from fastapi import APIRouter

    from serve.web.routes import add_routes

    stand = Stand(store, tmp_path)
    view = run(send(stand, "hello", clip_at(tmp_path)))[-1]
    assert view.stage is not None
    assert view.conversation is not None
    door = Door(Gate(None), "v")
    app, router = FastAPI(), APIRouter()
    add_routes(router, stand.handlers, door, [])
    app.include_router(router)
    client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
    media = f"/web/media/{view.stage[0]}/0"
    part = client.get(media, headers={"range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == CLIP.read_bytes()[10:20]
    assert part.headers["content-security-policy"] == "sandbox"
    stage = client.get(f"/web/stage/{view.stage[0]}").text
    assert f'src="{media}"' in stage
    assert 'id="F1"' in stage
    assert "data-figure=" in stage
    for form in ("md", "json", "csv"):
        told = client.get(f"/web/export/{view.conversation.id}.{form}")
        assert told.status_code == 200
        assert "It seems that something lightened" in told.text
        assert "attachment" in told.headers["content-disposition"]
    stand.shelf.close()
    assert client.get(media).status_code == 404
    assert say("stage.not_kept") in client.get(f"/web/stage/{view.stage[0]}").text
    assert client.get("/web/stage/nonsense").status_code == 404
    assert client.get(f"/web/export/{view.conversation.id}.exe").status_code == 422
    stand.intake.close()


@pytest.mark.parametrize(
    ("given", "shown"),
    [({}, False), ({"fusion": "adapters"}, True), ({"fusion": "adapters", "context": "education"}, False)],
)
def test_soft_tokens_can_be_ticked_only_where_there_are_some(
    gradio_page: Callable[..., TestClient], given: dict[str, str], shown: bool
) -> None:
    with gradio_page(**given) as client:
        components = client.get("/config").json()["components"]
    (box,) = [c for c in components if c["props"].get("elem_id") == "affect-soft"]
    assert (box["props"]["visible"], box["props"]["value"]) == (shown, False)


def test_at_work_the_page_says_that_face_and_voice_are_off(gradio_page: Callable[..., TestClient]) -> None:
    with gradio_page(context="workplace") as client:
        components = client.get("/config").json()["components"]
    told = json.dumps(components)
    assert say("setting.workplace") in told
    (boxes,) = [c for c in components if c["props"].get("elem_id") == "affect-modalities"]
    assert boxes["props"]["value"] == ["speech"]
    assert boxes["props"]["interactive"] is False
