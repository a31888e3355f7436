"""Lists and folders in an S3 store, through s3fs, from a server of that kind on this machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from batch_sources import read

from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.records import Item
from affectgpt.batch.sources import open_source
from affectgpt.errors import InputError, MediaNotFound

s3fs = pytest.importorskip("s3fs")
server_module = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket `corpus` with clips and lists; the environment leads every s3:// URL there."""
    settings = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("corpus")
    for name in ("a.mp4", "sub/b c é.wav", "sub/.hidden.mp4", "sub/notes.md"):
        system.pipe(f"corpus/clips/{name}", name.encode())
    yield system
    system.rm("corpus", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("store")
def test_a_folder_in_a_bucket_is_a_source(tmp_path: Path) -> None:
    rows = read("s3://corpus/clips")
    assert rows == [
        Item("a.mp4", 1, "s3://corpus/clips/a.mp4"),
        Item("sub/b c é.wav", 2, "s3://corpus/clips/sub/b c é.wav"),
    ]
    assert [r.id for r in read("s3://corpus/clips/**/*.wav")] == ["b c é.wav"]
    fetcher = FileFetcher(tmp_path)
    for row in rows:
        assert isinstance(row, Item)
        medium = fetcher.fetch(row)
        assert medium.path.read_bytes() == row.id.encode()


def test_a_stamp_tells_one_version_from_another(store: Any, tmp_path: Path) -> None:
    fetcher = FileFetcher(tmp_path)
    item = Item("a", 1, "s3://corpus/clips/a.mp4")
    first = fetcher.stamp(item)
    assert first is not None
    assert fetcher.stamp(item) == first
    store.pipe("corpus/clips/a.mp4", b"other")
    assert fetcher.stamp(item) != first


def test_lists_in_a_bucket_reach_only_their_own_folder(store: Any, tmp_path: Path) -> None:
    named = ["a.mp4", "s3://corpus/clips/sub/x.wav", "s3://corpus/secret.mp4", "../secret.mp4", "/etc/passwd"]
    store.pipe("corpus/clips/list.jsonl", "".join(json.dumps({"media": n}) + "\n" for n in named).encode())
    reached = [r.media if isinstance(r, Item) else None for r in read("s3://corpus/clips/list.jsonl")]
    assert reached == ["s3://corpus/clips/a.mp4", "s3://corpus/clips/sub/x.wav", None, None, None]
    store.pipe("corpus/clips/list.csv", "media\n{}\n".format("\n".join(named)).encode())
    assert [r.media if isinstance(r, Item) else None for r in read("s3://corpus/clips/list.csv")] == reached
    store.pipe("corpus/clips/list.jsonl.gz", gzip.compress(store.cat("corpus/clips/list.jsonl")))
    assert [r.media if isinstance(r, Item) else None for r in read("s3://corpus/clips/list.jsonl.gz")] == reached
    wider = read("s3://corpus/clips/list.jsonl", allow_media=("s3://corpus",))
    assert [isinstance(r, Item) for r in wider] == [True, True, True, False, False]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"media": n} for n in named]), tmp_path / "t.parquet")
    store.put(str(tmp_path / "t.parquet"), "corpus/clips/list.parquet")
    source = open_source("s3://corpus/clips/list.parquet")
    assert source.count() == 5
    assert [r.media if isinstance(r, Item) else None for r in source.iterate()] == reached


@pytest.mark.usefixtures("store")
def test_what_is_not_in_the_store_is_told(tmp_path: Path) -> None:
    for where in ("s3://corpus/no.jsonl", "s3://nobucket/clips", "s3://corpus/clips/*.mov"):
        with pytest.raises(InputError):
            read(where)
    with pytest.raises(MediaNotFound):
        FileFetcher(tmp_path).fetch(Item("x", 1, "s3://corpus/clips/no.mp4"))
