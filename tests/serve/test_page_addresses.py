"""The page takes files that were uploaded to it: no address is fetched for anybody, no path of the server opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from page_fakes import ScriptedTurns, run

from serve.incoming.intake import FolderIntake
from serve.settings import ServeSettings
from serve.store import open_store
from serve.web import page
from serve.web.joining import LARGEST_EVENT, names_no_upload

ADDRESSES = [
    "http://example.org/a.png",
    "https://example.org/a.png",
    "HTTPS://example.org/a.png",
    "http://169.254.169.254/latest/meta-data",
    "//example.org/a.png"[2:],
    "file:///etc/passwd",
    "../../etc/passwd",
    "",
]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app, intake = FastAPI(), FolderIntake(1_000_000)

    async def mount() -> None:  # without a loop running, Gradio opens one and never closes it
        page.mount(app, ScriptedTurns(), open_store(retain=False), ServeSettings(), intake=intake)

    run(mount())
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)) as opened:
        assert opened.post("/web/consent").status_code == 204
        yield opened
    intake.close()


def event(client: TestClient, path: str) -> dict[str, Any]:
    """A message with a file, as the page would send it."""
    config = client.get("/config").json()
    parts = {part["id"]: part["props"] for part in config["components"]}
    box = next(i for i, props in parts.items() if props.get("elem_id") == "affect-box")
    sending = next(d for d in config["dependencies"] if [box, "submit"] in [list(t) for t in d["targets"]])
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
    data = [{"text": "look", "files": [file]} if i == box else parts[i].get("value") for i in sending["inputs"]]
    return {"data": data, "fn_index": sending["id"], "session_hash": "s", "trigger_id": box, "event_data": None}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("route", ["queue/join", "run/predict"])
def test_no_address_is_taken_for_a_file(client: TestClient, route: str, address: str) -> None:
    answer = client.post(f"/gradio_api/{route}", json=event(client, address))
    assert answer.status_code == 403


def test_an_upload_is(client: TestClient) -> None:
    (path,) = client.post("/gradio_api/upload", files={"files": ("a.txt", b"words", "text/plain")}).json()
    assert client.post("/gradio_api/queue/join", json=event(client, path)).status_code == 200
    assert client.get(f"/gradio_api/file={path}").content == b"words"


@pytest.mark.parametrize("address", [*ADDRESSES, "/etc/passwd", "/proc/self/environ", "/../etc/passwd"])
def test_nothing_else_is_handed_out(client: TestClient, address: str) -> None:
    assert client.get(f"/gradio_api/file={address}").status_code in (403, 404)


def test_an_event_has_its_limit(client: TestClient) -> None:
    large = {**event(client, "/tmp/x"), "session_hash": "s" * LARGEST_EVENT}
    assert client.post("/gradio_api/queue/join", json=large).status_code == 413


KEYS = st.sampled_from(["path", "url", "a"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(DOCUMENTS)
def test_an_address_is_found_wherever_it_stands(document: Any) -> None:
    hidden = [document, {"a": [{"files": [{"path": "http://example.org/"}], "b": document}]}]
    assert names_no_upload(json.dumps(hidden).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_carries_nothing(body: bytes) -> None:
    assert names_no_upload(body)
