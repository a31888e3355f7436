"""Every limit on what a client sends, tried; and that nothing of it stays."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bombs import png
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import paint, tone, write_sound, write_video
from PIL import Image
from upload_room import LIMITS, Endless, held, take, take_in, tried

from affectgpt.errors import (
    AffectError,
    ImageTooLarge,
    MediaTooLong,
    PoolFull,
    UnreadableMedia,
    UploadRefused,
    UploadTooLarge,
    UrlRefused,
    WorkerTimeout,
)
from affectgpt.media import open_clip
from affectgpt.workers import Limits, WorkerPool
from serve.api.openai_form import MediaPart
from serve.events import Attachment
from serve.incoming.remote import Remote
from serve.incoming.uploads import Uploads


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(paint(1)).save(folder / "a.png")
    Image.fromarray(paint(1)).save(folder / "a.gif")
    write_video(folder / "a.mp4", range(0, 1000, 40))
    write_sound(folder / "a.wav", tone(1.0)[None], "pcm_s16le")
    write_sound(folder / "a.webm", tone(1.0)[None], "libopus")
    write_sound(folder / "long.wav", tone(9.0)[None], "pcm_s16le")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------- what comes in


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "image"), ("a.gif", "image"), ("a.mp4", "video"), ("a.wav", "audio"), ("a.webm", "audio")],
)
def test_a_file_is_known_by_its_content(
    uploads: Uploads, media: dict[str, bytes], tmp_path: Path, name: str, kind: str
) -> None:
    taken = take(uploads, media[name], "../evil.exe")
    assert (taken.kind, taken.name) == (kind, "evil.exe")
    assert taken.path.read_bytes() == media[name]
    assert taken.sha256 == hashlib.sha256(media[name]).hexdigest()
    assert uploads.find(taken.path.stem) == taken
    assert taken.duration_s == (0.0 if kind == "image" else pytest.approx(media_seconds(media[name], tmp_path), 0.01))


def media_seconds(data: bytes, folder: Path) -> float:
    """How long it plays, read here and now."""
    path = folder / "known"
    path.write_bytes(data)
    return open_clip(path).duration_s


def test_words_come_in_too(uploads: Uploads) -> None:
    assert take(uploads, b"1\n00:00:00,000 --> 00:00:01,000\nWell.\n").path.suffix == ".srt"
    assert take(uploads, "Schön.".encode()).kind == "transcript"


def test_nobody_else_can_read_it_and_no_name_reaches_the_disk(uploads: Uploads, media: dict[str, bytes]) -> None:
    taken = take(uploads, media["a.png"], "../../../../etc/cron.d/x")
    folder = taken.path.parent
    assert taken.path.stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in held(uploads))
    while folder.name != "uploads":
        assert folder.stat().st_mode & 0o777 == 0o700
        folder = folder.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(taken.path.stem) <= set("0123456789abcdef")
    assert taken.path.is_relative_to(folder)


def test_base64_and_data_urls_are_uploads(uploads: Uploads, media: dict[str, bytes]) -> None:
    text = base64.b64encode(media["a.wav"]).decode()
    for part in (
        MediaPart("input_audio", "a.wav", data=text),
        MediaPart("input_audio", "a.wav", url=f"data:audio/wav;base64,{text}"),
        MediaPart("input_audio", "a.wav", url=f"DATA:;base64,{text}"),
        MediaPart("image_url", "a.wav", url=f"data:image/png;charset=utf-8;base64,{text}"),
    ):
        assert asyncio.run(uploads.take_part(part)).path.read_bytes() == media["a.wav"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "https://example.org/a.png", "file:///etc/passwd", "/etc/passwd", "C:\\x", "", "data"],
)
def test_without_allowed_hosts_no_url_is_fetched_and_no_path_opened(uploads: Uploads, url: str) -> None:
    with pytest.raises(UrlRefused):
        asyncio.run(uploads.take_part(MediaPart("image_url", "a", url=url)))
    assert held(uploads) == []


def test_a_remote_file_is_held_to_the_same_limits(open_uploads: Callable[..., Uploads]) -> None:
    class Endless(Remote):
        async def fetch(self, url: str, max_bytes: int) -> AsyncIterator[bytes]:
            while True:
                yield b"\x00\x00\x00\x18ftypisom" + bytes(100_000)

    uploads = open_uploads(remote=Endless([]))
    with pytest.raises(UploadTooLarge):
        asyncio.run(uploads.take_part(MediaPart("video_url", "a", url="http://a.test/")))
    assert held(uploads) == []


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("head", "most"), [(b"\x00\x00\x00\x18ftypisom", 2_000_000), (b"\x89PNG\r\n\x1a\n", 500_000), (b"ID3", 2_000_000)]
)
def test_an_endless_stream_is_cut_where_its_kind_ends(uploads: Uploads, head: bytes, most: int) -> None:
    stream = Endless(head)
    with pytest.raises(UploadTooLarge, match=str(most)):
        take(uploads, stream)  # type: ignore[arg-type]
    assert most < 10_000 * (stream.n_taken + 1) < most + 100_000
    assert stream.is_closed
    assert held(uploads) == []


def test_what_is_no_medium_is_refused_from_its_head(uploads: Uploads) -> None:
    stream = Endless(b"\x7fELF")
    with pytest.raises(UploadRefused, match=r"no picture.*send a common format"):
        take(uploads, stream)  # type: ignore[arg-type]
    assert stream.n_taken == 1
    assert held(uploads) == []


def test_exactly_the_limit_is_taken_and_a_byte_more_is_not(uploads: Uploads) -> None:
    assert take(uploads, b"w" * 1000).kind == "transcript"
    with pytest.raises(UploadTooLarge, match="1000 bytes, the limit of a transcript"):
        take(uploads, b"w" * 1001)


@pytest.mark.parametrize("data", [b"", b"x" * 5 + b"\x00"])
def test_nothing_and_next_to_nothing_are_refused(uploads: Uploads, data: bytes) -> None:
    with pytest.raises(UploadRefused):
        take(uploads, data)


def test_a_slow_client_is_left(open_uploads: Callable[..., Uploads]) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"ID3"
        await asyncio.sleep(60)
        yield b""

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"w"
            await asyncio.sleep(0.02)

    uploads = open_uploads(replace(LIMITS, stall_s=0.2, seconds=0.5))
    for stream in (drip(), trickle()):
        begin = time.monotonic()
        with pytest.raises(UploadRefused, match="slowly"):
            take(uploads, stream)
        assert time.monotonic() - begin < 20
    assert held(uploads) == []


def test_a_declared_giant_is_refused_from_its_header(uploads: Uploads) -> None:
    with pytest.raises(ImageTooLarge, match=r"^bomb\.png: .*pixels") as caught:
        take(uploads, png(50_000, 50_000), "bomb.png")
    assert "/" not in str(caught.value)
    assert held(uploads) == []


def test_a_small_file_that_unpacks_to_much_is_held_to_its_pixels(open_uploads: Callable[..., Uploads]) -> None:
    def bomb(side: int) -> bytes:
        return png(side, side, body=bytes(side * (side * 3 + 1)))

    uploads = open_uploads(replace(LIMITS, max_pixels=2000 * 2000))
    assert len(bomb(2000)) < 2000 * 2000 / 200
    assert take(uploads, bomb(2000)).kind == "image"
    with pytest.raises(ImageTooLarge, match="2001x2001 pixels"):
        take(uploads, bomb(2001))


def test_a_film_that_is_too_long_is_refused(uploads: Uploads, media: dict[str, bytes]) -> None:
    with pytest.raises(MediaTooLong, match=r"^long\.wav: longer than 5 s"):
        take(uploads, media["long.wav"], "long.wav")


def test_a_film_with_too_many_pictures_a_second_is_refused(
    open_uploads: Callable[..., Uploads], media: dict[str, bytes]
) -> None:
    with pytest.raises(UploadTooLarge, match="25 frames a second, the limit is 24"):
        take(open_uploads(replace(LIMITS, max_fps=24.0)), media["a.mp4"])


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_film_that_was_cut_is_refused_or_read_as_far_as_it_goes(
    uploads: Uploads, media: dict[str, bytes], share: float
) -> None:
    data = media["a.mp4"]
    with pytest.raises(UnreadableMedia, match=r"^cut\.mp4"):
        take(uploads, data[: int(len(data) * share)], "cut.mp4")
    assert held(uploads) == []


@settings(max_examples=30)
@given(st.data())
def test_damage_costs_one_upload_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, header_pool: WorkerPool, media: dict[str, bytes], data: st.DataObject
) -> None:
    whole = bytearray(media[data.draw(st.sampled_from(["a.png", "a.mp4", "a.wav", "a.webm", "a.gif"]))])
    for _ in range(data.draw(st.integers(1, 30))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    uploads = Uploads(tmp_path_factory.mktemp("up"), LIMITS, header_pool)
    outcome = asyncio.run(tried(uploads, bytes(whole)))
    if isinstance(outcome, AffectError):
        assert str(uploads._kept.parent) not in str(outcome)
        assert held(uploads) == []
    else:
        assert isinstance(outcome, Attachment)
    uploads.close()


def test_a_header_that_breaks_its_reader_costs_one_upload(tmp_path: Path, media: dict[str, bytes]) -> None:
    with WorkerPool(1, 2, Limits(1 << 30, 30.0)) as pool:
        uploads = Uploads(tmp_path, replace(LIMITS, probe_s=0.001), pool)
        # The first reading imports for longer than the first look at it takes.
        with pytest.raises(WorkerTimeout, match=r"^a\.mp4: took longer"):
            take(uploads, media["a.mp4"], "a.mp4")
        assert held(uploads) == []
        uploads.close()


def test_all_uploads_together_have_a_limit(open_uploads: Callable[..., Uploads], media: dict[str, bytes]) -> None:
    uploads = open_uploads(replace(LIMITS, max_held_bytes=5 * len(media["a.wav"]) // 2))
    first = take(uploads, media["a.wav"])
    take(uploads, media["a.wav"])
    with pytest.raises(PoolFull, match="no room"):
        take(uploads, media["a.wav"])
    n_held = len(held(uploads))
    asyncio.run(uploads.release([first]))
    assert len(held(uploads)) == n_held - 2
    assert take(uploads, media["a.wav"]).kind == "audio"


def test_a_full_pool_is_told_as_such(tmp_path: Path, media: dict[str, bytes]) -> None:
    async def many(uploads: Uploads) -> list[Attachment | BaseException]:
        return await asyncio.gather(*(take_in(uploads, media["a.png"]) for _ in range(12)), return_exceptions=True)

    with WorkerPool(1, 1, Limits(1 << 30, 30.0)) as pool:
        uploads = Uploads(tmp_path, LIMITS, pool)
        results = asyncio.run(many(uploads))
        kinds = {type(result) for result in results}
        assert kinds == {Attachment, PoolFull}
        n_taken = sum(isinstance(result, Attachment) for result in results)
        assert len(held(uploads)) == 2 * n_taken
        uploads.close()


def test_many_at_once_are_all_taken_and_all_counted(uploads: Uploads) -> None:
    async def many() -> list[Attachment]:
        return await asyncio.gather(*(take_in(uploads, f"words {n}".encode() * 20) for n in range(50)))

    taken = asyncio.run(many())
    assert len({attachment.path for attachment in taken}) == len({a.sha256 for a in taken}) == 50
    asyncio.run(uploads.release(taken))
    assert held(uploads) == []
    assert uploads._n_held_bytes == 0
