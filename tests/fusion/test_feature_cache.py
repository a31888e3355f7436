"""Features kept on disk: the same bits back, or a miss; never something else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import OptionError
from affectgpt.fusion.cache import FeatureCache
from affectgpt.fusion.features import Features, Signals
from affectgpt.records import Modality

MEDIA, OTHER = "a" * 64, "b" * 64


@dataclass
class CountingEncoder:
    """Gives the same features each time, and counts how often it was asked."""

    id: str = "counting"
    version: str = "1"
    width: int = 5
    modality: Modality = Modality.VOICE
    n_asked: int = 0

    def encode(self, signals: Signals) -> Features:
        self.n_asked += 1
        return made(seed=3, grid=(2, 2, 1))


def made(n: int = 4, width: int = 5, seed: int = 0, grid: tuple[int, int, int] | None = None) -> Features:
    rng = np.random.default_rng(seed)
    valid = rng.random(n) < 0.7
    tokens = np.where(valid[:, None], rng.normal(size=(n, width)), 0).astype(np.float32)
    starts = np.sort(rng.random(n)).astype(np.float64)
    return Features(tokens, np.stack([starts, starts + 1], axis=1), valid, "counting@1", Modality.VOICE, grid)


def same(a: Features | None, b: Features | None) -> bool:
    return (
        a is not None
        and b is not None
        and a.tokens.tobytes() == b.tokens.tobytes()
        and a.times_s.tobytes() == b.times_s.tobytes()
        and a.valid.tobytes() == b.valid.tobytes()
        and (a.tokens.shape, a.encoder, a.modality, a.grid) == (b.tokens.shape, b.encoder, b.modality, b.grid)
    )


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def entry(cache: FeatureCache) -> Path:
    (path,) = cache.folder.rglob("*.safetensors")
    return path


@given(st.integers(0, 30), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_was_put_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, n: int, width: int, seed: int):
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    features = made(n, width, seed)
    key = cache.key(MEDIA, CountingEncoder())
    assert cache.get(key) is None
    cache.put(key, features)
    assert same(cache.get(key), features)


def test_an_encoder_is_asked_once_a_medium_and_version(cache: FeatureCache) -> None:
    encoder = CountingEncoder()
    first = cache.encode(encoder, MEDIA, Signals(), "reader 1", 12.5)
    assert same(cache.encode(encoder, MEDIA, Signals(), "reader 1", 12.5), first)
    assert encoder.n_asked == 1
    cache.encode(encoder, MEDIA, Signals(), "reader 2", 12.5)
    cache.encode(encoder, OTHER, Signals(), "reader 1", 12.5)
    encoder.version = "2"
    cache.encode(encoder, MEDIA, Signals(), "reader 1", 12.5)
    assert encoder.n_asked == 4


def test_what_is_read_is_mapped_and_cannot_be_written(cache: FeatureCache) -> None:
    key = cache.key(MEDIA, CountingEncoder())
    cache.put(key, made())
    found = cache.get(key)
    assert found is not None
    assert isinstance(found.tokens.base, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        found.tokens[0, 0] = 1
    entry(cache).unlink()
    assert same(found, made()), "a mapped file lives on when its name is gone"


def test_any_standard_reader_opens_the_file(cache: FeatureCache) -> None:
    from safetensors.numpy import load_file

    cache.put(cache.key(MEDIA, CountingEncoder()), made())
    assert np.array_equal(load_file(entry(cache))["tokens"], made().tokens)


@given(st.data())
def test_a_damaged_file_is_a_miss_and_goes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    key = cache.key(MEDIA, CountingEncoder())
    cache.put(key, made())
    path = entry(cache)
    whole = path.read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "noise"]))
    if kind == "cut":
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flip":
        at = data.draw(st.integers(0, 8 * len(whole) - 1))
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
    else:
        damaged = data.draw(st.binary(max_size=200))
    path.write_bytes(bytes(damaged))
    found = cache.get(key)
    # A flip may fall on white space, or turn a key into one that nobody reads: what is given back is right or nothing.
    assert found is None or (kind == "flip" and same(found, made()))
    assert path.exists() == (found is not None)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}",
        b'{"__metadata__": 3}',
        b'{"__metadata__": {"form": "affectgpt features 1", "features": "[]"}}',
        b'{"tokens": {"dtype": "F32", "shape": [99999999999, 3], "data_offsets": [0, 0]}, "__metadata__": '
        b'{"form": "affectgpt features 1", "features": "{\\"crc32\\": {}, \\"grid\\": null}"}}',
        b"[" * 20_000,
    ],
)
def test_a_forged_header_is_a_miss(cache: FeatureCache, header: bytes) -> None:
    key = cache.key(MEDIA, CountingEncoder())
    cache.put(key, made())
    entry(cache).write_bytes(len(header).to_bytes(8, "little") + header)
    assert cache.get(key) is None


def test_nobody_else_may_read_and_a_medium_is_forgotten_whole(cache: FeatureCache) -> None:
    for media in (MEDIA, OTHER):
        cache.put(cache.key(media, CountingEncoder()), made())
        cache.put(cache.key(media, CountingEncoder(version="2")), made())
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in cache.folder.rglob("*.safetensors")} == {0o600}
    assert cache.forget(MEDIA) == 2
    assert cache.get(cache.key(MEDIA, CountingEncoder())) is None
    assert cache.get(cache.key(OTHER, CountingEncoder())) is not None
    assert cache.forget("../" * 10) == 0


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 64, f"{'a' * 64}-{'g' * 32}"])
def test_what_is_no_key_is_refused(cache: FeatureCache, key: str) -> None:
    with pytest.raises(OptionError, match="no key"):
        cache.get(key)
    with pytest.raises(OptionError, match="no key"):
        cache.put(key, made())
    with pytest.raises(OptionError, match="SHA-256"):
        cache.key(key + "-", CountingEncoder())


def test_a_disk_that_fails_costs_a_hit_and_no_features(cache: FeatureCache) -> None:
    encoder = CountingEncoder()
    (cache.folder / MEDIA[:2]).write_text("a file where a folder belongs")
    assert same(cache.encode(encoder, MEDIA, Signals()), encoder.encode(Signals()))
    assert not list(cache.folder.rglob("*.part"))
