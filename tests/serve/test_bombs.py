"""A medium that breaks its reader ends its own request and no other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bombs import obey, png, warm
from media_files import write_video

from affectgpt.errors import (
    ImageTooLarge,
    TranscriptError,
    UnreadableMedia,
    WorkerDied,
    WorkerOverMemory,
    WorkerTimeout,
)
from affectgpt.readers import AgentOptions
from affectgpt.records import Modality
from affectgpt.workers import Limits, MediaCache, WorkerPool
from serve.perception import Perception

OPTIONS = AgentOptions()


@pytest.mark.parametrize(
    ("act", "error"), [("crash", WorkerDied), ("allocate", WorkerOverMemory), ("spin", WorkerTimeout)]
)
def test_a_bomb_ends_its_own_request_only(
    cache: MediaCache, order: Callable[..., Path], act: str, error: type[WorkerDied]
) -> None:
    async def scenario(perception: Perception) -> None:
        bomb = asyncio.create_task(perception.sense(order("bomb.mp4", act=act), OPTIONS))
        others = [asyncio.create_task(perception.sense(order(f"{n}.mp4", n=n), OPTIONS)) for n in range(3)]
        with pytest.raises(error, match=r"^bomb\.mp4"):
            await bomb
        assert all(senses.clip is not None for senses in await asyncio.gather(*others))

    with WorkerPool(2, 8, Limits(1 << 30, 2.0), warm=warm) as pool:
        perception = Perception(pool, cache, read=obey)
        asyncio.run(scenario(perception))
        perception.close()


def test_real_bombs_and_ruins_are_errors_of_their_own(pool: WorkerPool, cache: MediaCache, tmp_path: Path) -> None:
    perception = Perception(pool, cache)
    whole = write_video(tmp_path / "whole.mp4", range(0, 1000, 40)).read_bytes()
    ruins = {
        "bomb.png": (png(50_000, 50_000), ImageTooLarge),
        "cut.mp4": (whole[: len(whole) // 3], UnreadableMedia),
        "noise.mp4": (os.urandom(5000), UnreadableMedia),
        "words.srt": (b"no times in it", TranscriptError),
    }
    for name, (data, error) in ruins.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with pytest.raises(error) as caught:
            asyncio.run(perception.sense(path, OPTIONS, name="sent"))
        assert str(tmp_path) not in str(caught.value)
    perception.close()


def test_subtitles_beside_a_file_are_another_client_s(pool: WorkerPool, cache: MediaCache, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(0, 400, 40))
    path.with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nSecret.\n")
    perception = Perception(pool, cache)
    speech = AgentOptions(modalities=frozenset({Modality.SPEECH}))
    senses = asyncio.run(perception.sense(path, speech))
    assert senses.transcript is not None
    assert senses.transcript.utterances == ()
    perception.close()
