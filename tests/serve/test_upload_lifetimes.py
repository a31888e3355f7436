"""Nothing that a client sent outlives its time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from media_files import paint, tone, write_sound
from PIL import Image
from upload_room import LIMITS, Endless, held, take, take_in

from affectgpt.workers import WorkerPool
from serve.incoming.uploads import Uploads


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(paint(1)).save(folder / "a.png")
    write_sound(folder / "a.wav", tone(1.0)[None], "pcm_s16le")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_answered_goes(uploads: Uploads, media: dict[str, bytes]) -> None:
    taken = take(uploads, media["a.png"])
    asyncio.run(uploads.release([taken]))
    assert held(uploads) == []
    assert uploads.find(taken.path.stem) is None


def test_what_is_retained_stays_and_can_be_deleted(
    open_uploads: Callable[..., Uploads], media: dict[str, bytes]
) -> None:
    uploads = open_uploads(retain=True)
    taken = take(uploads, media["a.png"], "face.png")
    asyncio.run(uploads.release([taken]))
    uploads.close()
    again = open_uploads(retain=True)
    forgotten: list[str] = []
    again.forget = forgotten.append
    assert again.find(taken.path.stem) == taken
    assert again.delete(taken.path.stem)
    assert not again.delete(taken.path.stem)
    assert forgotten == [taken.sha256]
    assert held(again) == []


@pytest.mark.parametrize(
    "upload_id", ["", "../x", "*", "." * 32, "g" * 32, "0" * 31, "0" * 32, "0" * 33, "/etc/passwd"]
)
def test_an_id_that_is_none_finds_nothing(uploads: Uploads, upload_id: str) -> None:
    assert uploads.find(upload_id) is None
    assert not uploads.delete(upload_id)


def test_an_upload_that_is_given_up_leaves_nothing(uploads: Uploads, media: dict[str, bytes]) -> None:
    async def scenario() -> None:
        stream = Endless(b"\x00\x00\x00\x18ftypisom")

        async def slow() -> AsyncIterator[bytes]:
            async for chunk in stream:
                yield chunk
                await asyncio.sleep(0.01)

        task = asyncio.create_task(take_in(uploads, slow()))
        await asyncio.sleep(0.1)
        assert held(uploads)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert held(uploads) == []


def test_what_is_older_than_its_time_goes(open_uploads: Callable[..., Uploads], media: dict[str, bytes]) -> None:
    uploads = open_uploads(retain=True, ttl_s=100)
    old, young = take(uploads, media["a.png"]), take(uploads, media["a.wav"])
    for path in (old.path, old.path.with_suffix(".json")):
        os.utime(path, (time.time() - 200,) * 2)
    assert uploads.sweep() == 1
    assert uploads.find(old.path.stem) is None
    assert uploads.find(young.path.stem) == young

    async def scenario() -> None:
        os.utime(young.path, (1, 1))
        sweeping = asyncio.create_task(uploads.keep_swept(every_s=0.02))
        await asyncio.sleep(0.2)
        sweeping.cancel()

    asyncio.run(scenario())
    assert not young.path.exists()


def test_what_a_killed_server_left_goes_when_the_next_one_starts(tmp_path: Path, header_pool: WorkerPool) -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import asyncio, os; from pathlib import Path\n"
        "from affectgpt.workers import WorkerPool; from serve.incoming.uploads import Uploads, UploadLimits\n"
        "async def flow(): yield b'some words'\n"
        f"uploads = Uploads(Path({str(tmp_path / 'up')!r}), UploadLimits(), WorkerPool(1, 1))\n"
        "print(asyncio.run(uploads.receive(flow(), 'x')).path, flush=True); os.kill(os.getpid(), 9)"
    )
    left = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    assert left.read_bytes() == b"some words"
    other = Uploads(tmp_path / "up", LIMITS, header_pool)
    assert not left.parent.exists()
    taken = take(other, b"more words")
    third = Uploads(tmp_path / "up", LIMITS, header_pool)
    assert taken.path.exists(), "of a process that lives nothing goes"
    other.close()
    third.close()
    assert not taken.path.exists()
