"""Media are read once for all who ask, in a process that may die, and not at all when nobody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from bombs import obey

from affectgpt.agent import AffectAgent, Senses
from affectgpt.batch.reading import warm_readers
from affectgpt.errors import (
    MediaNotFound,
    PoolFull,
    UnreadableMedia,
    WorkerDied,
)
from affectgpt.readers import AgentOptions, FaceOptions, SpeechOptions
from affectgpt.records import Modality, Sampling
from affectgpt.workers import MediaCache, WorkerPool
from affectgpt.workers.keys import NOT_SENSING
from serve.perception import Perception, _key

OPTIONS = AgentOptions()


def n_marks(tmp_path: Path) -> int:
    marks = tmp_path / "marks"
    return marks.stat().st_size if marks.exists() else 0


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)


class Heard(list[tuple[str, float | None, str]]):
    """A listener."""

    def __call__(self, stage: str, fraction: float | None, detail: str = "") -> None:
        self.append((stage, fraction, detail))


@asynccontextmanager
async def begun(perception: Perception, path: Path) -> AsyncIterator[asyncio.Task[Senses]]:
    """A reading under way: its worker has told something."""
    heard = Heard()
    task = asyncio.create_task(perception.sense(path, OPTIONS, heard))
    await until(lambda: any(stage == "face" for stage, _, _ in heard))
    yield task


# ---------------------------------------------------------------- once


def test_the_same_media_twice_is_one_reading(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    path = order()

    async def scenario() -> tuple[Senses, Senses]:
        first = await perception.sense(path, OPTIONS)
        copy = path.rename(tmp_path / "other name.mp4")
        return first, await perception.sense(copy, OPTIONS)

    first, second = asyncio.run(scenario())
    assert n_marks(tmp_path) == 1
    assert (perception.n_read, perception.n_shared, perception.n_cached) == (1, 0, 1)
    assert first.clip is not None
    assert second.clip == replace(first.clip, path=tmp_path / "other name.mp4")
    assert first.timings_s == {"total": 9.0}
    assert second.timings_s.keys() == {"cache", "total"}
    assert second.timings_s["total"] < 5


def test_the_same_media_at_the_same_time_is_one_reading(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    path, heard = order(seconds=0.5), [Heard() for _ in range(6)]

    async def scenario() -> list[Senses]:
        return await asyncio.gather(*(perception.sense(path, OPTIONS, h, name=f"n{i}") for i, h in enumerate(heard)))

    senses = asyncio.run(scenario())
    assert n_marks(tmp_path) == 1
    assert (perception.n_read, perception.n_shared) == (1, 5)
    assert [s.failures[Modality.VOICE] for s in senses] == [f"n{i}: no sound" for i in range(6)]
    assert all(("face", 0.8, "") in h for h in heard)


def test_another_process_finds_it_too(cache: MediaCache, pool: WorkerPool, order: Callable[..., Path]) -> None:
    for n_cached in (0, 1):
        perception = Perception(pool, MediaCache(cache.folder, 10_000_000), read=obey)
        asyncio.run(perception.sense(order(), OPTIONS))
        perception.close()
        assert perception.n_cached == n_cached


def test_options_that_shape_the_reading_make_another(tmp_path: Path) -> None:
    path, words = tmp_path / "a.mp4", tmp_path / "a.srt"
    path.write_bytes(b"media")
    words.write_bytes(b"words")
    same = [
        OPTIONS,
        AgentOptions(top_k=3, decide="llm", permissive=True, coverage=0.5, key_observations="written"),
        AgentOptions(sampling=Sampling(seed=3)),
    ]
    other = [
        AgentOptions(modalities=frozenset({Modality.FACE})),
        AgentOptions(face=FaceOptions(rate_hz=5)),
        AgentOptions(face=FaceOptions(subject=1)),
        AgentOptions(speech=SpeechOptions(text="well")),
        AgentOptions(speech=SpeechOptions(path=words)),
        AgentOptions(speech=SpeechOptions(whisper="tiny")),
        AgentOptions(setting="workplace"),
        AgentOptions(voice_reader="praat"),
        AgentOptions(max_duration_s=10),
    ]
    assert len({_key(path, options, None) for options in same}) == 1
    keys = {_key(path, options, None) for options in (OPTIONS, *other)}
    assert len(keys) == 1 + len(other)
    words.write_bytes(b"other words")
    assert _key(path, other[4], None) not in keys
    path.write_bytes(b"other media")
    assert _key(path, OPTIONS, None) not in keys
    assert _key(path, OPTIONS, "0" * 64).startswith("0" * 64)


def test_an_option_that_nobody_thought_of_shapes_the_reading() -> None:
    assert {f.name for f in fields(AgentOptions)} >= NOT_SENSING
    sensing = {"modalities", "face", "speech", "voice_reader", "max_duration_s", "setting"}
    assert not sensing & NOT_SENSING


def test_a_damaged_entry_is_read_anew(perception: Perception, order: Callable[..., Path], tmp_path: Path) -> None:
    path = order()
    asyncio.run(perception.sense(path, OPTIONS))
    perception.cache.put(_key(path, OPTIONS, None), b"whole, and no Senses")
    asyncio.run(perception.sense(path, OPTIONS))
    assert n_marks(tmp_path) == 2


# ---------------------------------------------------------------- progress, names


def test_progress_is_told_while_it_runs(perception: Perception, order: Callable[..., Path]) -> None:
    path, heard = order(seconds=0.4), Heard()

    async def scenario() -> None:
        task = asyncio.create_task(perception.sense(path, OPTIONS, heard))
        await until(lambda: ("face", 0.1, "") in heard)
        assert not task.done()
        await task

    asyncio.run(scenario())
    assert heard[0] == ("queue", None, "")
    shares = [share for stage, share, _ in heard if stage == "face"]
    assert shares == sorted(k / 20 for k in range(20))


def test_no_path_of_the_server_is_told(perception: Perception, order: Callable[..., Path], tmp_path: Path) -> None:
    senses = asyncio.run(perception.sense(order(), OPTIONS, name="holiday.mp4"))
    assert senses.failures == {Modality.VOICE: "holiday.mp4: no sound"}
    assert senses.transcript is not None
    assert senses.transcript.note == "found by holiday.mp4"
    for path in (order("bad.mp4", act="fail"), order("worse.mp4", act="crash"), tmp_path / "absent.mp4"):
        with pytest.raises((UnreadableMedia, WorkerDied, MediaNotFound), match=r"^holiday\.mp4") as caught:
            asyncio.run(perception.sense(path, OPTIONS, name="holiday.mp4"))
        assert str(tmp_path) not in str(caught.value)


def test_words_that_came_with_the_clip_go_along(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    words = tmp_path / "words.srt"
    words.write_text("I am fine")
    senses = asyncio.run(perception.sense(order(), replace(OPTIONS, speech=SpeechOptions(path=words))))
    assert senses.transcript is not None
    assert senses.transcript.utterances[0].text == "I am fine"


def test_words_alone_need_no_worker(perception: Perception) -> None:
    senses = asyncio.run(perception.sense(None, replace(OPTIONS, speech=SpeechOptions(text="I am fine"))))
    assert senses.transcript is not None
    assert senses.transcript.utterances[0].text == "I am fine"
    assert perception.n_read == 0


# ---------------------------------------------------------------- given up


def test_a_client_who_leaves_stops_the_work(perception: Perception, order: Callable[..., Path]) -> None:
    path = order(seconds=30)

    async def scenario() -> None:
        async with begun(perception, path) as task:
            (pid,) = perception.pool.pids
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not Path(f"/proc/{pid}").exists())
            assert perception.pool.n_running == 0
            assert [path.name for path in perception._room.path.iterdir()] == [".lock"]
        again = asyncio.create_task(perception.sense(order("quick.mp4"), OPTIONS))
        assert (await asyncio.wait_for(again, 30)).clip is not None

    asyncio.run(scenario())


def test_a_client_who_leaves_does_not_stop_it_for_others(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    path = order(seconds=0.5)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())

    async def scenario() -> Senses:
        async with begun(perception, path) as leaver:
            stayer = asyncio.create_task(perception.sense(copy, OPTIONS, name="mine.mp4"))
            await until(lambda: perception.n_shared == 1)
            leaver.cancel()
            path.unlink()  # as an upload goes with its client
            return await stayer

    senses = asyncio.run(scenario())
    assert n_marks(tmp_path) == 1
    assert senses.clip is not None
    assert senses.clip.path == copy
    assert senses.failures == {Modality.VOICE: "mine.mp4: no sound"}


def test_one_who_comes_as_the_last_one_leaves_gets_a_reading_of_his_own(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    path = order(seconds=0.3)

    async def scenario() -> Senses:
        async with begun(perception, path) as leaver:
            leaver.cancel()
            await asyncio.sleep(0)
            return await perception.sense(path, OPTIONS)

    assert asyncio.run(scenario()).clip is not None
    assert n_marks(tmp_path) == 2


def test_a_client_who_leaves_the_queue_is_not_read(
    perception: Perception, order: Callable[..., Path], tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with begun(perception, order(seconds=0.5)) as first:
            waiting = asyncio.create_task(perception.sense(order("b.mp4", seconds=0.01), OPTIONS))
            await until(lambda: perception.pool.n_waiting == 1)
            waiting.cancel()
            await until(lambda: perception.pool.n_waiting == 0)
            await first

    asyncio.run(scenario())
    assert n_marks(tmp_path) == 1


def test_a_full_queue_is_told_at_once_and_recovers(perception: Perception, order: Callable[..., Path]) -> None:
    async def scenario() -> None:
        paths = [order(f"{n}.mp4", seconds=0.2, n=n) for n in range(20)]
        results = await asyncio.gather(*(perception.sense(path, OPTIONS) for path in paths), return_exceptions=True)
        assert {type(result) for result in results} == {Senses, PoolFull}
        assert 4 <= sum(isinstance(result, Senses) for result in results) < 20
        assert (await perception.sense(paths[-1], OPTIONS)).clip is not None

    asyncio.run(scenario())


def test_a_pool_that_closes_is_an_error_and_no_cancellation(cache: MediaCache, order: Callable[..., Path]) -> None:
    pool = WorkerPool(1, 1)
    perception = Perception(pool, cache, read=obey)

    async def scenario() -> None:
        async with begun(perception, order(seconds=30)) as task:
            await asyncio.to_thread(pool.close, 0.0)
            with pytest.raises(WorkerDied, match="stopping"):
                await task

    asyncio.run(scenario())
    perception.close()


@pytest.mark.slow
@pytest.mark.shared
def test_a_worker_reads_what_the_agent_reads(shared_data: Path, cache: MediaCache) -> None:
    path = next((shared_data / "clips").rglob("W023_level_2_surprised_010.mp4"))
    expected = AffectAgent(None, OPTIONS).sense(path)
    with WorkerPool(1, 1, warm=warm_readers) as pool:
        perception = Perception(pool, cache)
        senses, again = asyncio.run(_twice(perception, path))
        perception.close()
    for found in (senses, again):
        assert found.face is not None
        assert found.voice is not None
        assert expected.face is not None
        assert expected.voice is not None
        assert np.array_equal(found.face.action_units, expected.face.action_units, equal_nan=True)
        assert np.array_equal(found.voice.bands_db, expected.voice.bands_db)
        assert found.voice.measures == expected.voice.measures
        assert found.clip == expected.clip


async def _twice(perception: Perception, path: Path) -> tuple[Senses, Senses]:
    return await perception.sense(path, OPTIONS), await perception.sense(path, OPTIONS)
