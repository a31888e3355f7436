"""The chat page holds a key to its limits: what is done there counts as if it were asked of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from gateway_fakes import KnowingIntake
from page_fakes import CONSENTED, ScriptedTurns, Stand, all_of, clip_at, run

from serve.api.callers import Caller, Gate
from serve.api.keys import KeyLimits, KeyRing
from serve.incoming.intake import FolderIntake
from serve.settings import ServeSettings
from serve.store import Store, open_store
from serve.web import page
from serve.web.consent import Person
from serve.web.handlers import Choices, View


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(retain=False) as opened:
        yield opened


@pytest.fixture
def stand_of(store: Store, tmp_path: Path) -> Iterator[Callable[..., tuple[Stand, Person]]]:
    """Makes a page for somebody whose key has these limits."""
    made: list[Stand] = []

    def make(**limits: int) -> tuple[Stand, Person]:
        caller = Caller("anna", "k1", "Anna", KeyLimits(**limits))
        gate = Gate(None)
        stand = Stand(store, tmp_path, gate=gate)
        stand.intake.close()
        stand.intake = KnowingIntake(10_000_000)
        stand.handlers = replace(stand.handlers, intake=stand.intake)
        made.append(stand)
        return stand, Person("anna", CONSENTED, caller)

    yield make
    for stand in made:
        stand.intake.close()


def send(stand: Stand, person: Person, clip: Path | None = None, conversation: str | None = None) -> list[View]:
    files = [(clip, clip.name)] if clip else []
    return run(all_of(stand.handlers.send(person, conversation, "How am I?", files, Choices())))


def test_turns_over_the_limit_are_refused_and_the_words_come_back(stand_of: Callable[..., Any], store: Store) -> None:
    stand, anna = stand_of(requests_per_minute=2)
    views = [send(stand, anna)[-1] for _ in range(3)]
    assert [view.rejected for view in views] == [None, None, "How am I?"]
    assert "over 2 requests a minute" in str(views[-1].status)
    assert views[-1].is_busy is False
    assert len(stand.turns.asked) == 2
    assert len(store.recent("anna").items) == 2


def test_the_page_and_the_api_draw_on_one_account(store: Store, tmp_path: Path) -> None:
    gate = Gate(None)
    stand = Stand(store, tmp_path, gate=gate)
    anna = Person("anna", CONSENTED, Caller("anna", "k1", limits=KeyLimits(requests_per_minute=2)))
    assert anna.caller
    send(stand, anna)
    gate.spend_request(anna.caller)
    assert "over 2 requests" in str(send(stand, anna)[-1].status)
    with pytest.raises(HTTPException):
        gate.spend_request(anna.caller)
    stand.intake.close()


def test_answering_anew_counts_too(stand_of: Callable[..., Any], store: Store) -> None:
    stand, anna = stand_of(requests_per_minute=2)
    shown = send(stand, anna)[-1].conversation
    assert shown
    for expected in (None, "over 2 requests a minute"):
        view = run(all_of(stand.handlers.again(anna, shown.id, -1, None, Choices())))[-1]
        assert (expected or "") in str(view.status)
    assert len(stand.turns.asked) == 2
    (turn,) = store.get("anna", shown.id).turns
    assert len(turn.revisions) == 2


def test_seconds_of_media_are_counted_before_anything_is_read(
    stand_of: Callable[..., Any], tmp_path: Path, store: Store
) -> None:
    stand, anna = stand_of(media_s_per_hour=7)
    shown = send(stand, anna, clip_at(tmp_path))[-1].conversation
    assert shown
    assert not run(all_of(stand.handlers.again(anna, shown.id, -1, None, Choices())))[-1].status
    for view in (
        send(stand, anna, clip_at(tmp_path))[-1],
        run(all_of(stand.handlers.again(anna, shown.id, -1, None, Choices())))[-1],
    ):
        assert "over 7 seconds of media an hour" in str(view.status)
    assert len(stand.turns.asked) == 2
    assert list(stand.intake.folder.iterdir()) == [], "what was refused is not kept"
    assert len(store.recent("anna").items) == 1


def test_a_clip_longer_than_any_hour_allows_is_refused(stand_of: Callable[..., Any], tmp_path: Path) -> None:
    stand, anna = stand_of(media_s_per_hour=2)
    view = send(stand, anna, clip_at(tmp_path))[-1]
    assert "may send 2 s an hour" in str(view.status)
    assert stand.turns.asked == []
    assert list(stand.intake.folder.iterdir()) == []


def test_uploads_count_as_requests(tmp_path: Path) -> None:
    _, secret = KeyRing(tmp_path / "keys.json").add("anna", KeyLimits(requests_per_minute=2))
    app, intake = FastAPI(), FolderIntake(1_000_000)
    gate = Gate(KeyRing(tmp_path / "keys.json"))

    async def mount() -> None:
        settings = ServeSettings(keys=tmp_path / "keys.json")
        page.mount(app, ScriptedTurns(), open_store(retain=False), settings, intake=intake, gate=gate)

    run(mount())
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as client:
        assert client.post("/web/key", json={"secret": secret}).status_code == 204
        assert client.post("/web/consent").status_code == 204
        sent = {"files": ("a.txt", b"words", "text/plain")}
        codes = [client.post("/gradio_api/upload", files=sent) for _ in range(3)]
        assert [code.status_code for code in codes] == [200, 200, 429]
        assert "over 2 requests a minute" in codes[-1].json()["detail"]
    intake.close()
