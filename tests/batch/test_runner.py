"""A job does every row once, holds little at a time, and outlives what its rows bring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_fakes import Bench, FakeReader, ListSource, MemoryLedger, clips
from fakes import CountingEngine

from affectgpt.batch.course import MOST_IN_A_ROW
from affectgpt.batch.records import BadItem, Item, Row
from affectgpt.batch.tally import Snapshot
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import (
    EngineError,
    EngineUnreachable,
    InputError,
    OutputError,
    UnreadableMedia,
    WorkerDied,
    WorkerTimeout,
)
from affectgpt.prompting import PromptLibrary, shipped_folder
from affectgpt.readers import AgentOptions
from affectgpt.records import Completion, Modality, Prompt, Sampling


class Failing(CountingEngine):
    """Raises `error` for prompts that hold one of `words`."""

    def __init__(self, error: Exception, *words: str) -> None:
        super().__init__()
        self._error, self._words = error, words

    def generate(self, prompts: Any, sampling: Sampling) -> list[Completion]:
        got = super().generate(prompts, sampling)
        if any(word in p.messages[-1].content for p in prompts for word in self._words):
            raise self._error
        return got


def bench(tmp_path: Path, n: int, engine: EchoEngine | None = None, **more: Any) -> Bench:
    return Bench(tmp_path, ListSource(clips(tmp_path, n)), engine or CountingEngine(), **more)


def facts(row: Row) -> Row:
    """A row without what differs from run to run: how long it took."""
    assert row.outcome is not None
    return replace(row, outcome={k: v for k, v in row.outcome.items() if k != "timings_s"})


# ---------------------------------------------------------------- the way of a row


def test_every_row_is_read_answered_and_kept_as_its_own(tmp_path: Path) -> None:
    job = bench(tmp_path, 40)
    tally = job.run()
    assert (tally.n_ok, tally.n_failed, tally.n_kept) == (40, 0, 0)
    assert [job.ledger.kept[item.id].number for item in job.source.rows if isinstance(item, Item)] == [*range(1, 41)]
    for item in job.source.rows:
        row = job.ledger.kept[str(item.id)]
        assert row.outcome is not None
        assert row.outcome["clip"]["path"] == row.media
        assert any(f"clip {row.number - 1} says" in o["text"] for o in row.outcome["observations"])
        assert row.outcome["answer"]["parsed"]
        assert row.outcome["ai_generated"]
        assert row.fingerprints.answer
        assert row.media_stamp
    assert job.reader.most_inside <= 4
    assert job.ledger.n_appends < 40, "rows that are ready together are kept together"


def test_without_an_engine_a_row_ends_with_the_appraisal(tmp_path: Path) -> None:
    job = Bench(tmp_path, ListSource(clips(tmp_path, 3)), None)
    job.run()
    for row in job.ledger.kept.values():
        assert row.outcome is not None
        assert row.outcome["answer"] is None
        assert row.outcome["appraisal"]


def test_words_alone_and_words_beside_a_clip_are_rows_too(tmp_path: Path) -> None:
    (clip,) = clips(tmp_path, 1)
    rows = [Item("words", 1, transcript="I got the job"), replace(clip, id="both", number=2, transcript="I lost it")]
    job = Bench(tmp_path, ListSource(rows), CountingEngine())
    job.run()
    said = {
        id: [o["quote"] for o in row.outcome["observations"] if o["quote"]]
        for id, row in job.ledger.kept.items()
        if row.outcome
    }
    assert said == {"words": ["I got the job"], "both": ["I lost it"]}
    assert job.ledger.kept["words"].outcome["clip"] is None  # type: ignore[index]
    assert len(job.reader.read_paths) == 1


def test_a_wish_of_a_row_is_granted_to_it_alone(tmp_path: Path) -> None:
    rows = clips(tmp_path, 2)
    rows[1] = replace(rows[1], options={"modalities": ["speech"]})
    job = Bench(tmp_path, ListSource(rows), CountingEngine())
    job.run()
    read = [{o["modality"] for o in job.ledger.kept[r.id].outcome["observations"]} for r in rows]  # type: ignore[index]
    assert read[1] == {"speech"} < read[0]


def test_the_same_medium_is_read_once_however_many_rows_ask(tmp_path: Path) -> None:
    (clip,) = clips(tmp_path, 1)
    rows = [replace(clip, id=f"row{n}", number=n + 1) for n in range(12)]
    job = Bench(tmp_path, ListSource(rows), CountingEngine(), reader=FakeReader(pause_s=0.05), n_ahead=4)
    tally = job.run()
    assert len(job.reader.read_paths) == 1
    assert tally.n_ok == 12
    assert tally.how["read"] == 1
    assert tally.how["shared"] + tally.how["recalled"] == 11


def test_fresh_shared_and_recalled_readings_give_the_same_row(tmp_path: Path) -> None:
    rows = clips(tmp_path, 5)
    first = Bench(tmp_path, ListSource(rows), CountingEngine())
    first.run()
    again = Bench(tmp_path, ListSource(rows), CountingEngine())
    tally = again.run()
    assert tally.how["recalled"] == 5
    (tmp_path / "other").mkdir()
    uncached = Bench(tmp_path / "other", ListSource(rows), CountingEngine(), caches=False)
    uncached.run()
    for row in rows:
        kept = [facts(job.ledger.kept[row.id]) for job in (first, again, uncached)]
        assert kept[0] == kept[1] == kept[2]


# ---------------------------------------------------------------- going on


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    job = bench(tmp_path, 10)
    job.run()
    job.engine = engine = CountingEngine()
    tally = job.run()
    assert (tally.n_kept, tally.n_ok, engine.asked) == (10, 0, [])
    assert len(job.reader.read_paths) == 10


def test_a_changed_prompt_asks_again_and_reads_nothing(tmp_path: Path) -> None:
    job = bench(tmp_path, 10)
    job.run()
    folder = tmp_path / "prompts"
    folder.mkdir()
    text = (shipped_folder() / "explain.yaml").read_text()
    (folder / "explain.yaml").write_text(text.replace("user: |", "user: |\n  Take your time.", 1))
    job.prompts, job.engine = PromptLibrary(folder), CountingEngine()
    tally = job.run()
    assert tally.n_ok == 10
    assert len(job.reader.read_paths) == 10, "no medium was read again"
    assert tally.how == {"recalled": 10}


@pytest.mark.parametrize("change", ["model", "sampling", "medium", "subtitles", "modalities"])
def test_whatever_shapes_an_answer_does_it_again(tmp_path: Path, change: str) -> None:
    job = bench(tmp_path, 3)
    job.run()
    item = job.source.rows[1]
    assert isinstance(item, Item)
    assert item.media
    if change == "model":
        job.engine = CountingEngine(["another model's words"])
    elif change == "sampling":
        job.options = replace(job.options, sampling=Sampling(max_tokens=99))
    elif change == "medium":
        Path(item.media).write_text("quite other words")
    elif change == "subtitles":
        Path(item.media).with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    else:
        job.options = replace(job.options, modalities=frozenset({Modality.SPEECH}))
    tally = job.run()
    n_expected = 1 if change in ("medium", "subtitles") else 3
    assert (tally.n_ok, tally.n_kept) == (n_expected, 3 - n_expected)


def test_a_file_that_was_only_touched_is_hashed_and_kept(tmp_path: Path) -> None:
    job = bench(tmp_path, 2)
    job.run()
    item = job.source.rows[0]
    assert isinstance(item, Item)
    os.utime(str(item.media), ns=(1, 1))
    assert job.run().n_kept == 2


@pytest.mark.parametrize("retry_failed", [True, False])
def test_a_row_outlives_its_medium(tmp_path: Path, retry_failed: bool) -> None:
    job = bench(tmp_path, 4)
    job.run()
    gone = job.source.rows[2]
    assert isinstance(gone, Item)
    Path(str(gone.media)).unlink()
    job.retry_failed = retry_failed
    tally = job.run()
    assert (tally.n_kept, tally.n_failed) == (4, 0)
    assert job.ledger.kept[gone.id].status == "ok"


def test_failed_rows_wait_until_they_are_asked_for(tmp_path: Path) -> None:
    job = bench(tmp_path, 6, Failing(EngineError("answered 400"), "clip 2", "clip 4"))
    job.source.rows = [
        *job.source.rows,
        Item("gone", 7, str(tmp_path / "gone.mp4")),
        BadItem(8, None, "no such column"),
    ]
    assert job.run().n_failed == 4
    job.engine = CountingEngine()
    assert (job.run().n_kept, job.engine.asked) == (8, [])
    job.retry_failed = True
    tally = job.run()
    assert (tally.n_kept, tally.n_ok, tally.n_failed) == (4, 2, 2)
    assert job.ledger.n_ok == 6


# ---------------------------------------------------------------- what goes wrong


def test_every_failure_is_a_row_that_says_where_what_and_why(tmp_path: Path) -> None:
    rows: list[Item | BadItem] = list(clips(tmp_path, 5, lambda k: ["fine", "broken", "poison", "slow", "hard"][k]))
    rows += [
        Item("gone", 6, str(tmp_path / "gone.mp4")),
        BadItem(7, None, "the line is no JSON"),
        BadItem(8, "twice (2)", "the id 'twice' stands in row 3 already"),
        Item("wish", 9, transcript="words", options={"modalities": ["face"]}),
    ]
    errors = {
        "broken": UnreadableMedia("clip: the stream breaks off"),
        "poison": WorkerDied("clip: its worker ended (SIGSEGV)"),
        "slow": WorkerTimeout("clip: took longer than 300 s"),
    }
    options = AgentOptions(modalities=frozenset({Modality.SPEECH}), revisions=0)
    engine = Failing(EngineError("answered 400: too long"), "hard")
    job = Bench(tmp_path, ListSource(rows), engine, reader=FakeReader(errors=errors), options=options)
    tally = job.run()
    assert (tally.n_ok, tally.n_failed) == (1, 8)
    told = {row.number: (row.error.stage, row.error.type) for row in job.ledger.kept.values() if row.error}
    assert told == {
        2: ("read", "UnreadableMedia"),
        3: ("read", "WorkerDied"),
        4: ("read", "WorkerTimeout"),
        5: ("answer", "EngineError"),
        6: ("fetch", "MediaNotFound"),
        7: ("source", "BadItem"),
        8: ("source", "BadItem"),
        9: ("options", "OptionError"),
    }
    assert "SIGSEGV" in str(job.ledger.kept["clip00002.mp4"].error)
    assert job.ledger.kept["row 7"].error is not None
    assert all(row.outcome is None for row in job.ledger.kept.values() if row.error)


def test_a_fault_of_this_program_costs_its_row_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = bench(tmp_path, 4, Failing(ZeroDivisionError("division by zero"), "clip 1"))
    tally = job.run()
    assert (tally.n_ok, tally.n_failed) == (3, 1)
    error = job.ledger.kept["clip00001.mp4"].error
    assert error is not None
    assert (error.stage, error.type) == ("answer", "ZeroDivisionError")
    assert "clip00001.mp4" in caplog.text


def test_an_engine_that_refuses_everything_ends_the_job_early(tmp_path: Path) -> None:
    job = bench(tmp_path, 200, Failing(EngineError("answered 401: no such key", "give a key"), "says"))
    with pytest.raises(EngineError, match=rf"refused {MOST_IN_A_ROW} rows.*401.*give a key"):
        job.run()
    assert job.ledger.n_failed < 3 * MOST_IN_A_ROW
    job.engine, job.retry_failed = CountingEngine(), True
    assert job.run().n_ok == 200


def test_a_server_that_stays_away_ends_the_job_and_it_goes_on_later(tmp_path: Path) -> None:
    class Dying(CountingEngine):
        def generate(self, prompts: Any, sampling: Sampling) -> list[Completion]:
            if len(self.asked) >= 10:
                raise EngineUnreachable("nothing answers")
            return super().generate(prompts, sampling)

    job = bench(tmp_path, 40, Dying())
    with pytest.raises(EngineUnreachable, match="same command again"):
        job.run()
    assert job.ledger.n_failed == 0
    n_before = job.ledger.n_ok
    assert 10 <= n_before < 40
    job.engine = engine = CountingEngine()
    tally = job.run()
    assert (tally.n_kept, tally.n_ok) == (n_before, 40 - n_before)
    assert len(engine.asked) == 40 - n_before


def test_a_full_disk_ends_the_job_and_what_was_kept_stays(tmp_path: Path) -> None:
    job = bench(tmp_path, 60, ledger=MemoryLedger(room=20))
    with pytest.raises(OutputError, match="no space left"):
        job.run()
    n_before = len(job.ledger.kept)
    assert n_before <= 20
    job.ledger.room = None
    tally = job.run()
    assert (tally.n_kept, tally.n_ok) == (n_before, 60 - n_before)


def test_a_source_that_breaks_off_keeps_what_it_gave(tmp_path: Path) -> None:
    class Breaking(ListSource):
        def iterate(self) -> Iterator[Item | BadItem]:
            yield from self.rows
            raise InputError("rows.parquet: the file breaks off")

    job = Bench(tmp_path, Breaking(clips(tmp_path, 64)), CountingEngine())
    with pytest.raises(InputError, match="breaks off"):
        job.run()


def test_an_interrupted_job_ends_at_once_and_goes_on(tmp_path: Path) -> None:
    job = bench(tmp_path, 50, reader=FakeReader(pause_s=0.02))

    async def play() -> None:
        task = asyncio.create_task(job.play())
        while len(job.ledger.kept) < 10:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(5):
                await task

    asyncio.run(play())
    n_before = len(job.ledger.kept)
    assert 10 <= n_before < 50
    assert job.run().n_ok == 50 - n_before


# ---------------------------------------------------------------- how much at once


def test_the_source_is_read_no_further_than_is_worked_on(tmp_path: Path) -> None:
    n_most = 0
    job = bench(tmp_path, 160, n_ahead=8)

    def watch(snapshot: Snapshot) -> None: ...

    class Watching(MemoryLedger):
        def append(self, rows: Any) -> None:
            nonlocal n_most
            super().append(rows)
            n_most = max(n_most, job.source.n_taken - len(self.kept))

    job.ledger = Watching()
    job.run(watch)
    assert n_most <= 8 + 2 * 32, "the rows under way, and two chunks of the source"


def test_slow_answers_leave_the_readers_waiting_not_piling_up(tmp_path: Path) -> None:
    class Slow(CountingEngine):
        def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Completion]:
            import time

            time.sleep(0.01)
            return super().generate(prompts, sampling)

    job = bench(tmp_path, 60, Slow(), most=1, n_ahead=6)
    most = 0

    def watch(snapshot: Snapshot) -> None:
        nonlocal most
        most = max(most, sum(state.n_inside for state in snapshot.stages.values()))

    job.run(watch)
    assert most <= 6
    assert len(job.ledger.kept) == 60


@pytest.mark.parametrize("jump_s", [-1e9, 1e9])
def test_a_clock_that_jumps_costs_no_row(tmp_path: Path, jump_s: float) -> None:
    now = [1000.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0] + (jump_s if now[0] > 1000.5 else 0.0)

    job = bench(tmp_path, 30, clock=clock)
    seen: list[Snapshot] = []
    watch: Callable[[Snapshot], None] = seen.append
    job.run(watch)
    assert job.ledger.n_ok == 30
    for snapshot in seen:
        assert snapshot.eta_s is None or snapshot.eta_s >= 0
        assert snapshot.rate is None or snapshot.rate >= 0
