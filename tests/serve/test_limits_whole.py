"""Every limit of the settings, tried on the gateway that `affectgpt serve` would open."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bombs import png
from gateway_fakes import Gateway, running, settings
from media_files import tone, write_sound

from serve.parts import open_parts

pytestmark = pytest.mark.slow

JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        chosen = settings(
            engine="echo",
            n_workers=1,
            max_upload_bytes=200_000,
            max_inline_bytes=100_000,
            max_duration_s=10.0,
            max_pixels=10_000,
            worker_seconds=0.05,
        )
        parts = open_parts(chosen)
        parts.warm()
        with running(parts=parts, **chosen.model_dump(exclude_unset=True)) as opened:
            yield opened


def sound(folder: Path, seconds: float) -> bytes:
    return write_sound(
        folder / f"{seconds}.wav", tone(seconds, rate_hz=8000)[None], "pcm_s16le", rate_hz=8000
    ).read_bytes()


def explain(gateway: Gateway, data: bytes, name: str = "sent") -> httpx.Response:
    return httpx.post(f"{gateway.url}/v1/explain", files={"file": (name, data)}, headers=JSON, timeout=60)


def chat(gateway: Gateway, *parts: Any) -> httpx.Response:
    asked = {"model": "affectgpt", "messages": [{"role": "user", "content": list(parts)}]}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=asked, timeout=60)


def refusal(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(autouse=True)
def unharmed(gateway: Gateway, folder: Path) -> Iterator[None]:
    """After each attempt the gateway answers, and nothing of what was sent is left."""
    yield
    assert httpx.get(f"{gateway.url}/ready").status_code == 200
    uploads = (folder / "cache" / "affectgpt" / "uploads").rglob("*")
    assert [path for path in uploads if path.is_file() and path.name != ".lock"] == []
    assert chat(gateway, {"type": "text", "text": "I am glad."}).status_code == 200


def test_bytes_of_a_file(gateway: Gateway) -> None:
    assert refusal(explain(gateway, b"RIFF\xff\xff\x00\x00WAVEfmt " + bytes(300_000))) == (413, "media_too_large")


def test_bytes_of_a_request(gateway: Gateway) -> None:
    data = base64.b64encode(bytes(90_000)).decode()
    answer = chat(gateway, {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    assert refusal(answer) == (413, "request_too_large")


def test_seconds_of_a_clip(gateway: Gateway, folder: Path) -> None:
    assert refusal(explain(gateway, sound(folder, 11.0))) == (413, "media_too_long")


def test_pixels_of_a_picture(gateway: Gateway) -> None:
    assert refusal(explain(gateway, png(200, 200))) == (413, "media_too_large")
    assert refusal(explain(gateway, png(60_000, 60_000))) == (413, "media_too_large")


def test_kinds_of_files(gateway: Gateway) -> None:
    for data in (b"MZ\x00\x01" * 100, b"\x7fELF" + bytes(500), b"%PDF-1.7\n" + bytes(100), b"PK\x03\x04" + bytes(100)):
        assert refusal(explain(gateway, data, "clip.mp4")) == (415, "unsupported_media")


def test_seconds_of_a_reading(gateway: Gateway, folder: Path) -> None:
    # Long enough that no machine reads it within the limit.
    answer = explain(gateway, sound(folder, 9.0))
    assert refusal(answer) == (422, "unreadable_media")
    assert "0.05 s" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.mp4",
        "https://example.org/a.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/a.mp4",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.org/a.mp4",
    ],
)
def test_addresses_and_paths(gateway: Gateway, url: str) -> None:
    answer = chat(gateway, {"type": "video_url", "video_url": {"url": url}})
    assert refusal(answer) == (400, "url_not_allowed")
    assert "root:" not in answer.text
