"""The application as a whole: who may call, what it says of itself, and the choice of models behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fakes import WORDS, Gateway, KnowingIntake, Reader, Talker, behind, crew, running, settings
from page_fakes import KnownAppraiser

from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from serve.api.keys import KeyLimits, KeyRing
from serve.parts import Parts, choose_models, list_models, open_parts
from serve.settings import is_loopback, read_settings

CHAT = {"model": "affectgpt", "messages": [{"role": "user", "content": "I am so tired."}]}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running() as running_gateway:
        yield running_gateway


# ---------------------------------------------------------------- what it says of itself


def test_it_is_alive_and_ready(gateway: Gateway) -> None:
    assert httpx.get(f"{gateway.url}/health").json() == {"status": "alive"}
    ready = httpx.get(f"{gateway.url}/ready")
    assert (ready.status_code, ready.json()["model"]) == (200, "talker-1")


def test_models_are_listed_in_openais_form(gateway: Gateway) -> None:
    (model,) = gateway.client().models.list().data
    assert (model.id, model.object, model.owned_by) == ("affectgpt", "model", "affectgpt")
    assert httpx.get(f"{gateway.url}/v1/models/none").json()["error"]["code"] == "model_not_found"


def test_the_document_describes_every_route_with_examples(gateway: Gateway) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    assert {
        "/v1/chat/completions",
        "/v1/explain",
        "/v1/models",
        "/v1/audio/transcriptions",
        "/health",
        "/ready",
    } <= set(document["paths"])
    for path in ("/v1/chat/completions", "/v1/explain"):
        body = document["paths"][path]["post"]["requestBody"]["content"]
        assert all("properties" in content["schema"] for content in body.values())
        answers = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert any("example" in content for content in answers.values())


def test_its_page_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = httpx.get(f"{gateway.url}/docs").text
    assert "/v1/chat/completions" in page
    assert "video_url" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_what_is_not_there_is_told_in_openais_form(gateway: Gateway) -> None:
    assert httpx.get(f"{gateway.url}/v1/nothing").json()["error"]["type"] == "not_found_error"
    assert httpx.get(f"{gateway.url}/v1/chat/completions").status_code == 405


def test_history_stands_beside_the_turns() -> None:
    parts = open_parts(settings(engine="echo", n_workers=1))
    with running(parts=parts) as gateway:
        assert httpx.get(f"{gateway.url}/v1/conversations").status_code == 200


# ---------------------------------------------------------------- who may call


def test_with_keys_nobody_calls_without_one(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    key, secret = ring.add("a test", KeyLimits(requests_per_minute=3))
    with running(keys=tmp_path / "keys.json") as gateway:
        for path, method in (("/v1/models", "GET"), ("/v1/chat/completions", "POST"), ("/v1/explain", "POST")):
            refused = httpx.request(method, gateway.url + path)
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "authentication_error"
        assert httpx.get(f"{gateway.url}/health").status_code == 200
        headers = {"authorization": f"Bearer {secret}"}
        codes = [httpx.post(f"{gateway.url}/v1/chat/completions", json=CHAT, headers=headers) for _ in range(4)]
        assert [c.status_code for c in codes] == [200, 200, 200, 429]
        assert int(codes[-1].headers["retry-after"]) > 0
        ring.revoke(key.id)
        assert httpx.get(f"{gateway.url}/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_a_page_of_a_strange_site_gets_nothing(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_seconds_of_media_are_counted_before_they_are_read(tmp_path: Path) -> None:
    _, secret = KeyRing(tmp_path / "keys.json").add("a test", KeyLimits(media_s_per_hour=7))
    intake, reader = KnowingIntake(10_000), Reader()
    parts = Parts(crew(Talker(), reader), intake, recogniser="whisper", closing=[intake.close])
    headers = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    files = {"file": ("a.mp4", b"\x00\x00\x00\x18ftypisom" + bytes(64))}
    with running(parts=parts, keys=tmp_path / "keys.json") as gateway:
        codes = [
            httpx.post(f"{gateway.url}/v1/{route}", files=files, headers=headers).status_code
            for route in ("explain", "audio/transcriptions", "explain", "audio/transcriptions")
        ]
    assert codes == [200, 200, 429, 429]
    assert len(reader.read) == 2


def test_seconds_of_media_are_counted(tmp_path: Path) -> None:
    _, secret = KeyRing(tmp_path / "keys.json").add("a test", KeyLimits(media_s_per_hour=5))
    headers = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    files = {"file": ("a.mp4", b"\x00\x00\x00\x18ftypisom" + bytes(64))}
    with running(keys=tmp_path / "keys.json") as gateway:
        codes = [httpx.post(f"{gateway.url}/v1/explain", files=files, headers=headers) for _ in range(2)]
        assert [c.status_code for c in codes] == [200, 429]
        assert len(gateway.engine.prompts("explain")) == 1


# ---------------------------------------------------------------- settings


def test_a_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    told = {"AFFECTGPT_SERVE_PORT": "9000", "AFFECTGPT_SERVE_ALLOW_HOST": '["media.example.org"]'}
    code = (
        "from serve.settings import read_settings as read\n"
        "print(read().port, read(port=9001).port, read().allow_host, read(ttl_s=None).ttl_s)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env={**os.environ, **told}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9000", "9001", "('media.example.org',)", "3600.0"]
    assert read_settings().port == 8000


WRONG: list[dict[str, Any]] = [
    {"port": 70_000},
    {"host": "0.0.0.0"},
    {"host": "example.org"},
    {"context": "church"},
    {"launch": True, "base_url": "http://127.0.0.1:1/v1"},
    {"engine": "http"},
    {"engine": "echo", "launch": True},
    {"base_url": "ftp://127.0.0.1/v1"},
    {"local_only": True, "base_url": "https://api.openai.com/v1"},
    {"local_only": True, "allow_host": ("media.example.org",)},
    {"local_only": True, "database": "postgresql://db.example.org/x"},
    {"ttl_s": 0},
    {"colour": "red"},
]


@pytest.mark.parametrize("given", WRONG, ids=[str(sorted(w)) for w in WRONG])
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        read_settings(**given)


def test_a_key_of_the_server_is_never_shown() -> None:
    assert "sk-secret" not in repr(read_settings(api_key="sk-secret", base_url="http://127.0.0.1:1/v1"))


HOSTS = {"127.0.0.1": True, "::1": True, "localhost": True, "0.0.0.0": False, "10.0.0.1": False, "example.org": False}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# ---------------------------------------------------------------- which of a server's models does what


BASE, ADAPTER = {"id": "base"}, {"id": "explain", "parent": "base"}
LISTS = [
    ([BASE], {}, ("base", "base", False)),
    ([BASE, ADAPTER], {}, ("base", "explain", False)),
    ([BASE, ADAPTER], {"adapter": "none"}, ("base", "base", False)),
    ([BASE, {"id": "other"}], {"model": "other"}, ("other", "other", False)),
    ([BASE, {"id": "other"}], {"model": "base", "adapter": "other"}, ("base", "other", False)),
    ([{**BASE, "owned_by": "vllm"}], {}, ("base", "base", True)),
]


@pytest.mark.parametrize(("listed", "given", "expected"), LISTS, ids=[str(n) for n in range(len(LISTS))])
def test_models_are_chosen_where_the_choice_is_plain(listed: Any, given: Any, expected: Any) -> None:
    assert choose_models(listed, settings(**given)) == expected


@pytest.mark.parametrize("given", [{}, {"model": "none"}, {"model": "base", "adapter": "none at all"}])
def test_and_refused_where_it_is_not(given: Any) -> None:
    with pytest.raises(OptionError):
        choose_models([BASE, {"id": "other"}], settings(**given))


def test_parts_over_a_server() -> None:
    with behind() as server:
        parts = open_parts(settings(base_url=server.url, n_workers=1))
        parts.crew = replace(parts.crew, appraiser=KnownAppraiser(WORDS))
        with running(parts=parts) as gateway:
            answer = gateway.client().chat.completions.create(**CHAT)
            assert answer.system_fingerprint == "adapter (explanation), base (reply)"
            explaining = server.asked[0]
            assert explaining["model"] == "adapter"
            assert explaining["continue_final_message"] is True
            assert explaining["messages"][-1]["content"].startswith("**Key observations**")
            assert "response_format" not in explaining


def test_a_server_that_is_none() -> None:
    with pytest.raises(EngineUnreachable):
        list_models("http://127.0.0.1:9/v1", None)
    with behind() as server:
        server.models = "nothing"  # type: ignore[assignment]
        with pytest.raises(EngineError):
            list_models(server.url, None)
