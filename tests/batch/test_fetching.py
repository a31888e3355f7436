"""A medium is at hand as it lies there, or it is said why not; what was fetched is gone afterwards."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.records import Item
from affectgpt.errors import MediaNotFound, MediaUnreachable, UnreadableMedia


@pytest.fixture
def fetcher(tmp_path: Path) -> FileFetcher:
    room = tmp_path / "room"
    room.mkdir()
    return FileFetcher(room, most_bytes=10_000)


def item(media: str | Path | None, content: bytes | None = None) -> Item:
    return Item("a", 1, None if media is None else str(media), content)


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "room").iterdir())


def test_a_file_here_is_read_in_place(tmp_path: Path, fetcher: FileFetcher) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    medium = fetcher.fetch(item(path))
    assert (medium.path, medium.sha256) == (path, hashlib.sha256(b"pictures").hexdigest())
    medium.discard()
    assert path.read_bytes() == b"pictures", "it is not ours"
    assert fetcher.fetch(item(path), "0" * 64).sha256 == "0" * 64


def test_subtitles_beside_it_are_read_along(tmp_path: Path, fetcher: FileFetcher) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    beside = [fetcher.beside(item(path))]
    for words in ("hello", "goodbye"):
        (tmp_path / "clip.srt").write_text(words)
        beside.append(fetcher.beside(item(path)))
    assert len(set(beside)) == 3
    assert fetcher.beside(item("nul\0.mp4")) == fetcher.beside(item(f"file://{path}")) == ()


def test_a_stamp_tells_one_version_from_another(tmp_path: Path, fetcher: FileFetcher) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"pictures")
    first = fetcher.stamp(item(path))
    assert fetcher.stamp(item(path)) == first
    os.utime(path, ns=(1, 1))
    second = fetcher.stamp(item(path))
    path.write_bytes(b"longer pictures")
    os.utime(path, ns=(1, 1))
    assert len({first, second, fetcher.stamp(item(path))}) == 3
    assert fetcher.stamp(item(None)) is None
    assert fetcher.stamp(item("inline.wav", b"RIFF")) is None


@pytest.mark.parametrize("scheme", ["memory://", "file://"])
def test_a_url_is_fetched_and_gone_when_it_was_read(tmp_path: Path, fetcher: FileFetcher, scheme: str) -> None:
    url = f"{scheme}{tmp_path}/there is/a clip.MP4"
    with fsspec.open(url, "wb", auto_mkdir=True) as file:
        file.write(b"pictures" * 100)
    medium = fetcher.fetch(item(url))
    assert medium.path.read_bytes() == b"pictures" * 100
    assert medium.sha256 == hashlib.sha256(b"pictures" * 100).hexdigest()
    assert medium.path.suffix == ".mp4"
    medium.discard()
    medium.discard()
    assert left(tmp_path) == []
    assert fetcher.stamp(item(url)) == fetcher.stamp(item(url))


@pytest.mark.parametrize(
    ("media", "content", "error"),
    [
        ("nowhere.mp4", None, MediaNotFound),
        ("nul\0.mp4", None, MediaNotFound),
        ("memory://nowhere.mp4", None, MediaNotFound),
        ("nosuchplace://bucket/x.mp4", None, MediaNotFound),
        ("inline.wav", b"", UnreadableMedia),
        ("inline.wav", b"x" * 10_001, UnreadableMedia),
    ],
)
def test_what_cannot_be_had_is_named_and_leaves_nothing(
    tmp_path: Path, fetcher: FileFetcher, media: str, content: bytes | None, error: type[Exception]
) -> None:
    with pytest.raises(error, match=media.split("\0")[0]):
        fetcher.fetch(item(media, content))
    assert left(tmp_path) == []


class Flaky(fsspec.AbstractFileSystem):
    """A place that breaks off in the middle of what it gives."""

    protocol = "flaky"
    cachable = False

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": 100, "type": "file"}

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        class Broken:
            n = 0

            def __enter__(self) -> Broken:
                return self

            def __exit__(self, *_: object) -> None: ...

            def read(self, n_bytes: int) -> bytes:
                self.n += 1
                if self.n > 1:
                    raise ConnectionResetError("reset by peer")
                return b"half"

        return Broken()


def test_a_place_that_breaks_off_may_be_asked_again(tmp_path: Path, fetcher: FileFetcher) -> None:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    with pytest.raises(MediaUnreachable, match=r"flaky://x\.mp4.*reset by peer"):
        fetcher.fetch(item("flaky://x.mp4"))
    assert left(tmp_path) == []
    assert fetcher.stamp(item("flaky://x.mp4")) is None, "a size alone tells no version"


@given(name=st.text(max_size=300))
def test_no_name_leads_out_of_the_room(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    room = tmp_path_factory.mktemp("room")
    medium = FileFetcher(room).fetch(item(name, b"x"))
    assert medium.path.resolve().parent == room.resolve()
    medium.discard()
