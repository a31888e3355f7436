"""How far a row may reach from where its list lies, and what requests of OpenAI's form ask about."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from batch_sources import items, read

from affectgpt.batch.records import BadItem, Item
from affectgpt.errors import OptionError

# ---------------------------------------------------------------- how far a row may reach


def test_a_row_reaches_files_here_and_no_address_that_was_not_allowed(tmp_path: Path) -> None:
    named = ["../x.mp4", "/abs/y.mp4", f"file://{tmp_path}/z.mp4", "s3://other/a.mp4", "http://127.0.0.1/a.mp4"]
    named += [
        "s3://mine/in/a.mp4",
        "s3://mine/in/../out/a.mp4",
        "s3://mine/inside/a.mp4",
        "zip://a::s3://mine/in/x.zip",
    ]
    named += ["s3://u@mine/in/a.mp4", "S3://mine/in/b.mp4", "a\x00b.mp4", "http://[::1/x"]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps({"media": name}) + "\n" for name in named))
    rows = read(tmp_path / "l.jsonl", allow_media=("s3://mine/in",))
    assert [r.media if isinstance(r, Item) else None for r in rows] == [
        f"{tmp_path}/../x.mp4",
        "/abs/y.mp4",
        f"{tmp_path}/z.mp4",
        None,
        None,
        "s3://mine/in/a.mp4",
        *[None] * 4,
        "S3://mine/in/b.mp4",
        *[None] * 2,
    ]
    assert any("--allow-media s3://other/" in r.reason for r in rows if isinstance(r, BadItem))
    with pytest.raises(OptionError, match="no URL"):
        read(tmp_path / "l.jsonl", allow_media=("mine",))


def test_a_list_from_elsewhere_reaches_only_what_lies_below_it(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    named = [
        "a.mp4",
        "sub/b.mp4",
        "../c.mp4",
        "/etc/passwd",
        "file:///etc/passwd",
        "sub/../../c.mp4",
        "memory:///lists/d.mp4",
    ]
    memory.pipe("/lists/l.jsonl", "".join(json.dumps({"media": name}) + "\n" for name in named).encode())
    try:
        rows = read("memory://lists/l.jsonl")
        assert [r.media if isinstance(r, Item) else None for r in rows] == [
            "memory:///lists/a.mp4",
            "memory:///lists/sub/b.mp4",
            *[None] * 4,
            "memory:///lists/d.mp4",
        ]
    finally:
        memory.rm("/lists", recursive=True)


def test_folders_elsewhere_are_sources_too(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("b.mp4", "a.mp4", "s/c.wav", "a.srt", ".x.mp4"):
        memory.pipe(f"/clips/{name}", b"x")
    try:
        rows = items(read("memory://clips"))
        assert [(r.id, r.media) for r in rows] == [(n, f"memory:///clips/{n}") for n in ("a.mp4", "b.mp4", "s/c.wav")]
        assert [r.id for r in items(read("memory://clips/*.mp4"))] == ["a.mp4", "b.mp4"]
    finally:
        memory.rm("/clips", recursive=True)


# ---------------------------------------------------------------- OpenAI requests


def request(id: str, content: object, **body: object) -> dict[str, object]:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": content}]
    return {
        "custom_id": id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": messages, **body},
    }


def test_requests_are_items(tmp_path: Path) -> None:
    sound = base64.b64encode(b"RIFF").decode()
    lines: list[object] = [
        request("words", "I am so tired of this.", temperature=0.3, max_completion_tokens=50),
        request(
            "clip", [{"type": "text", "text": "How is she?"}, {"type": "video_url", "video_url": {"url": "a.mp4"}}]
        ),
        request(
            "sound",
            [{"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}],
            transcript="hm",
            subject=2,
        ),
        request("picture", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{sound}"}}]),
        request("file", [{"type": "file", "file": {"file_data": sound, "filename": "s.ogg"}}]),
        request("two", [{"type": "video_url", "video_url": {"url": u}} for u in "ab"]),
        request("none", ""),
        request("wide", "x", modalities=["text"]),
        {**request("embed", "x"), "url": "/v1/embeddings"},
        {"custom_id": 7, "body": {}},
        {"custom_id": "empty", "url": "/v1/chat/completions", "body": {}},
        request("odd", [{"type": "video"}]),
    ]
    (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read(tmp_path / "batch.jsonl")
    assert rows[:5] == [
        Item("words", 1, None, None, "I am so tired of this.", {"temperature": 0.3, "max_tokens": 50}, {"model": "m"}),
        Item("clip", 2, f"{tmp_path}/a.mp4", None, None, {}, {"model": "m", "asked": "How is she?"}),
        Item("sound", 3, "sound.wav", b"RIFF", "hm", {"subject": 2}, {"model": "m"}),
        Item("picture", 4, "medium.png", b"RIFF", None, {}, {"model": "m"}),
        Item("file", 5, "s.ogg", b"RIFF", None, {}, {"model": "m"}),
    ]
    assert [isinstance(r, Item) for r in rows[5:]] == [False, False, True, False, False, False, False]
    assert [r.id for r in rows[5:]] == ["two", "none", "wide", "embed", None, "empty", "odd"]
    assert read(tmp_path / "batch.jsonl", form="openai") == rows
