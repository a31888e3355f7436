"""The cache gives back what was put there, or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import (
    OptionError,
)
from affectgpt.workers import MediaCache, private_folder
from affectgpt.workers.cache import _HEAD, _MAGIC, _digest

SHA256 = "0" * 64


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    return MediaCache(tmp_path / "cache", 10_000)


def test_what_was_put_is_got_and_counted(cache: MediaCache) -> None:
    key = cache.key(SHA256, {"reader": "1"}, ["face"])
    assert cache.get(key) is None
    cache.put(key, b"tracks")
    assert cache.get(key) == b"tracks"
    assert (cache.n_hits, cache.n_misses) == (1, 1)
    assert MediaCache(cache.folder, 10_000).get(key) == b"tracks"


def test_a_key_is_of_media_and_everything_that_shapes_the_reading() -> None:
    keys = {MediaCache.key(h * 64, *rest) for h in "0f" for rest in [(), ({"a": 1},), ({"a": 2},), ({"b": 1},), (1, 2)]}
    assert len(keys) == 10
    assert MediaCache.key(SHA256, {"a": 1, "b": 2}) == MediaCache.key(SHA256, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "bad", ["", "../../etc/passwd", "0" * 64, "0" * 64 + "-" + "g" * 32, "0" * 64 + "-" + "0" * 33]
)
def test_a_key_that_is_none_reaches_no_file(cache: MediaCache, bad: str) -> None:
    with pytest.raises(OptionError):
        cache.get(bad)
    with pytest.raises(OptionError):
        cache.put(bad, b"")
    with pytest.raises(OptionError):
        cache.key(bad[:63])


def test_nobody_else_can_read_it(cache: MediaCache) -> None:
    cache.put(cache.key(SHA256), b"tracks")
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in cache.folder.iterdir()} == {0o600}


@given(data=st.data())
def test_a_damaged_entry_is_a_miss(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    cache = MediaCache(tmp_path_factory.mktemp("cache"), 10_000)
    key = cache.key(SHA256)
    cache.put(key, b"tracks of a face")
    (path,) = cache.folder.glob("*.entry")
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    assert cache.get(key) is None
    assert not path.exists()


def test_the_entry_used_longest_ago_goes_first(cache: MediaCache) -> None:
    keys = [cache.key(SHA256, n) for n in range(4)]
    for n, key in enumerate(keys[:3]):
        cache.put(key, bytes(3000))
        os.utime(cache.folder / f"{key}.entry", (1000 + n, 1000 + n))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], bytes(3000))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert cache.n_bytes <= 10_000


def test_what_is_larger_than_the_cache_is_not_kept(cache: MediaCache) -> None:
    cache.put(cache.key(SHA256), bytes(5))
    cache.put(cache.key(SHA256, 2), bytes(20_000))
    assert cache.get(cache.key(SHA256)) == bytes(5)
    assert cache.get(cache.key(SHA256, 2)) is None


def test_a_medium_can_be_forgotten(cache: MediaCache) -> None:
    other = cache.key("f" * 64)
    for key in (cache.key(SHA256), cache.key(SHA256, 1), other):
        cache.put(key, b"x")
    assert cache.forget(SHA256) == 2
    assert cache.forget("*") == 0
    assert cache.get(other) == b"x"


def test_nothing_is_given_back_beyond_its_age(tmp_path: Path) -> None:
    cache = MediaCache(tmp_path / "cache", 10_000, max_age_s=100.0)
    keys = [cache.key(SHA256, n) for n in range(4)]
    for key, age_s in zip(keys, (0, 90, 110, -50), strict=True):
        put_s = time.time() - age_s
        entry = _HEAD.pack(_MAGIC, put_s, _digest(put_s, b"value")) + b"value"
        (cache.folder / f"{key}.entry").write_bytes(entry)
    assert [cache.get(key) for key in keys[:3]] == [b"value", b"value", None], "and use makes none younger"
    assert cache.sweep() == 1, "an entry of the future too"
    assert [cache.get(key) is not None for key in keys] == [True, True, False, False]
    assert MediaCache(cache.folder, 10_000, max_age_s=50.0).sweep() == 1


def test_parts_of_a_crash_do_not_stay(cache: MediaCache) -> None:
    part = cache.folder / "left.part"
    part.write_bytes(b"half")
    os.utime(part, (1000, 1000))
    cache.put(cache.key(SHA256), b"x")
    assert not part.exists()


def test_a_folder_that_cannot_be_written_costs_hits_only(cache: MediaCache) -> None:
    folder = cache.folder
    folder.rmdir()
    folder.write_text("a file stands here now")
    cache.put(cache.key(SHA256), b"x")
    assert cache.get(cache.key(SHA256)) is None


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OptionError, match="link"):
        private_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(OptionError):
        MediaCache(tmp_path / "file", 1)


def test_two_processes_may_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path; from affectgpt.workers import MediaCache\n"
        f"cache = MediaCache(Path({str(folder)!r}), 20_000)\n"
        "for n in range(80):\n"
        "    key = cache.key('0' * 64, n % 7); value = bytes([n % 7]) * 2000\n"
        "    cache.put(key, value); got = cache.get(key)\n"
        "    assert got is None or got == value, 'torn'\n"
        "print(cache.n_hits)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(int(output) > 25 for output in outputs)
    assert MediaCache(folder, 20_000).n_bytes <= 20_000


def test_a_cache_of_many_small_entries_is_looked_through_seldom_and_stays_bounded(tmp_path: Path) -> None:
    class Counting(MediaCache):
        n_looks = 0

        def _entries(self) -> list[tuple[int, int, Path]]:
            self.n_looks += 1
            return super()._entries()

    cache = Counting(tmp_path / "cache", 200_000)
    for n in range(1000):
        cache.put(cache.key(SHA256, n), bytes(336))
    assert cache.n_looks < 1000 * 400 / 200_000 * 100 + 10
    assert cache.n_bytes <= 200_000
    assert cache.get(cache.key(SHA256, 999)) == bytes(336), "the newest stay"
    assert cache.get(cache.key(SHA256, 0)) is None
