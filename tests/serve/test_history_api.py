"""Conversations over HTTP: every route, behind keys, between two owners."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from store_laws import answer, ask

from serve.api.callers import Gate
from serve.api.history_api import history_router
from serve.api.keys import KeyLimits, KeyRing
from serve.store import Asked, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "h.sqlite")) as opened:
        yield opened


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json")


@pytest.fixture
def app(store: Store, ring: KeyRing) -> FastAPI:
    made = FastAPI()
    made.include_router(history_router(store, Gate(ring)))
    return made


class Visitor:
    """A client with a key of its own."""

    def __init__(self, app: FastAPI, ring: KeyRing, name: str) -> None:
        key, secret = ring.add(name, KeyLimits(10_000, 10))
        self.owner = key.owner
        self.http = TestClient(app, headers={"Authorization": f"Bearer {secret}"})


@pytest.fixture
def anna(app: FastAPI, ring: KeyRing) -> Visitor:
    return Visitor(app, ring, "anna")


@pytest.fixture
def bob(app: FastAPI, ring: KeyRing) -> Visitor:
    return Visitor(app, ring, "bob")


def made(visitor: Visitor, **body: Any) -> str:
    answered = visitor.http.post("/v1/conversations", json=body)
    assert answered.status_code == 201
    return str(answered.json()["id"])


def test_a_conversation_from_beginning_to_end(anna: Visitor, store: Store) -> None:
    begun = anna.http.post("/v1/conversations", json={"locale": "de", "consents": True}).json()
    assert begun["settings"]["locale"] == "de"
    assert begun["settings"]["consented"].endswith("+00:00")
    revision = ask(store, begun["id"], "How does she seem?", owner=anna.owner)
    read = anna.http.get(f"/v1/conversations/{begun['id']}").json()
    assert read["ai_generated"] is True
    assert read["title"] == "How does she seem?"
    [turn] = read["turns"]
    assert turn["revision"]["answered"]["model"] == "tiny-model"
    assert turn["revision"]["asked"]["text"] == "How does she seem?"
    renamed = anna.http.patch(f"/v1/conversations/{begun['id']}", json={"title": "Her"})
    assert renamed.json()["title"] == "Her"
    rated = anna.http.put(
        f"/v1/turns/{turn['id']}/feedback", json={"thumbs": "down", "label": "sad", "may_reuse": True}
    ).json()
    assert (rated["label"], rated["thumbs"]) == ("sad", "down")
    lines = anna.http.get("/v1/feedback/corrections").text.splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["sad"]
    assert anna.http.delete(f"/v1/turns/{turn['id']}/feedback").status_code == 204
    assert store.revision(anna.owner, revision.id).feedback is None
    assert anna.http.delete(f"/v1/conversations/{begun['id']}").json() == {"id": begun["id"], "deleted": True}
    assert anna.http.get(f"/v1/conversations/{begun['id']}").status_code == 404


def test_lists_and_searches_by_page(anna: Visitor, store: Store) -> None:
    ids = [made(anna, title=f"no {i}") for i in range(5)]
    ask(store, ids[1], "the needle", owner=anna.owner)
    first = anna.http.get("/v1/conversations", params={"limit": 3}).json()
    second = anna.http.get("/v1/conversations", params={"limit": 3, "after": first["after"]}).json()
    assert [c["id"] for c in first["data"] + second["data"]] == [ids[1], ids[4], ids[3], ids[2], ids[0]]
    assert second["after"] is None
    [found] = anna.http.get("/v1/conversations/search", params={"q": "NEED"}).json()["data"]
    assert (found["summary"]["id"], found["snippet"]) == (ids[1], "the needle")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/conversations?limit=0", 422),
        ("/v1/conversations?limit=201", 422),
        ("/v1/conversations?after=junk", 400),
        (f"/v1/conversations?after={'9' * 70}", 422),
        ("/v1/conversations/search", 422),
        ("/v1/conversations/search?q=", 422),
        ("/v1/conversations/search?q=%20", 400),
        ("/v1/conversations/none", 404),
        ("/v1/conversations/%00", 404),
        ("/v1/conversations/..%2f..%2fetc", 404),
        ("/v1/conversations/none/export", 404),
        ("/v1/conversations/export?form=pdf", 422),
    ],
)
def test_what_makes_no_sense_is_told_so(anna: Visitor, path: str, status: int) -> None:
    assert anna.http.get(path).status_code == status


def test_bodies_are_held_to_their_form(anna: Visitor, store: Store) -> None:
    conversation = made(anna)
    turn = ask(store, conversation, "?", owner=anna.owner).turn_id
    pending = store.begin(anna.owner, conversation, Asked("?")).turn_id
    assert anna.http.patch(f"/v1/conversations/{conversation}", json={"title": ""}).status_code == 422
    assert anna.http.patch(f"/v1/conversations/{conversation}", json={"title": " "}).status_code == 400
    assert anna.http.patch(f"/v1/conversations/{conversation}", json={"owner": "bob"}).status_code == 422
    for body, status in (
        ({"thumbs": "sideways"}, 422),
        ({"label": "furious"}, 400),
        ({"words": ["x"] * 17}, 422),
        ({"text": "x" * 2001}, 422),
        ({"owner": "bob"}, 422),
        ({"revision_id": "0" * 32}, 404),
    ):
        assert anna.http.put(f"/v1/turns/{turn}/feedback", json=body).status_code == status, body
    assert anna.http.post(f"/v1/turns/{pending}/feedback", json={"thumbs": "up"}).status_code == 400


def test_everything_goes_only_when_that_is_said(anna: Visitor) -> None:
    made(anna)
    assert anna.http.delete("/v1/conversations").status_code == 422
    assert anna.http.delete("/v1/conversations?confirm=yes").status_code == 422
    assert anna.http.delete("/v1/conversations?confirm=everything").json() == {"deleted": 1}
    assert anna.http.get("/v1/conversations").json()["data"] == []


def test_exports_are_documents_to_save(anna: Visitor, store: Store) -> None:
    conversation = made(anna)
    ask(store, conversation, "=1+1", owner=anna.owner)
    for form, media_type in (("md", "text/markdown"), ("json", "application/json"), ("csv", "text/csv")):
        for path in ("/v1/conversations/export", f"/v1/conversations/{conversation}/export"):
            answered = anna.http.get(path, params={"form": form})
            assert answered.headers["content-type"].startswith(media_type)
            assert answered.headers["content-disposition"] == f'attachment; filename="conversations.{form}"'
            assert answered.headers["cache-control"] == "no-store"
            assert "tiny-model" in answered.text
            assert "AI" in answered.text or "ai_generated" in answered.text
    assert "'=1+1" in anna.http.get("/v1/conversations/export?form=csv").text


def test_nobody_reaches_what_is_another_callers(anna: Visitor, bob: Visitor, store: Store) -> None:
    conversation = made(anna)
    revision = ask(store, conversation, "mine alone", owner=anna.owner)
    store.finish(anna.owner, store.revise(anna.owner, revision.turn_id).id, answer())
    never = bob.http.get(f"/v1/conversations/{'0' * 32}")
    tries = [
        bob.http.get(f"/v1/conversations/{conversation}"),
        bob.http.get(f"/v1/conversations/{conversation}/export"),
        bob.http.patch(f"/v1/conversations/{conversation}", json={"title": "x"}),
        bob.http.delete(f"/v1/conversations/{conversation}"),
        bob.http.put(f"/v1/turns/{revision.turn_id}/feedback", json={"thumbs": "down"}),
        bob.http.delete(f"/v1/turns/{revision.turn_id}/feedback"),
        bob.http.delete(f"/v1/turns/{revision.turn_id}/feedback?revision_id={revision.id}"),
    ]
    assert {(t.status_code, t.text) for t in tries} == {(404, never.text)}
    assert bob.http.get("/v1/conversations").json()["data"] == []
    assert bob.http.get("/v1/conversations/search?q=mine").json()["data"] == []
    assert bob.http.get("/v1/conversations/export").json()["conversations"] == []
    assert bob.http.delete("/v1/conversations?confirm=everything").json() == {"deleted": 0}
    assert anna.http.get(f"/v1/conversations/{conversation}").status_code == 200


def test_every_route_wants_a_key(app: FastAPI) -> None:
    client = TestClient(app)
    routes = [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert len(routes) >= 12
    for method, path in routes:
        answered = client.request(method, path.format(conversation_id="x", turn_id="x"))
        assert answered.status_code == 401, (method, path)


def test_a_store_that_fails_is_told_without_what_failed(anna: Visitor, store: Store) -> None:
    with store._database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE feedback")
        connection.exec_driver_sql("ALTER TABLE conversations RENAME TO elsewhere")
    answered = anna.http.get("/v1/conversations")
    assert answered.status_code == 503
    assert answered.headers["retry-after"] == "5"
    assert "sqlite" not in answered.text.lower()
