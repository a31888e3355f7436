"""A job over other machines gives the rows of a local one, whatever its tables meet on their way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray_jobs
from batch_fakes import FakeReader, ListSource, clips
from batch_rows import QuickAppraiser
from fakes import CountingEngine

from affectgpt.batch.cluster import run_over
from affectgpt.batch.cluster_stages import TASK_ROWS, AskStage, ReadStage, Setup
from affectgpt.batch.course import MOST_IN_A_ROW
from affectgpt.batch.job import Job, Means, Selection, run
from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.records import BadItem, Item
from affectgpt.batch.servers import Patience
from affectgpt.batch.tally import Snapshot
from affectgpt.errors import EngineError, EngineUnreachable
from affectgpt.readers import AgentOptions
from affectgpt.records import Completion, Prompt, Sampling

N_ROWS = ray_jobs.N_CLIPS + 3


@dataclass
class Hand:
    """Carries tables through the stages in this process, the last one first. `drops` says which tables it drops."""

    drops: Callable[[pa.Table], bool] = lambda table: False
    sizes: list[int] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, tables: Sequence[pa.Table], setup: Setup, n_askers: int) -> Generator[pa.Table, None, None]:
        stages: list[Callable[[pa.Table], pa.Table]] = [ReadStage(setup)]
        if setup.open_engines is not None:
            stages.append(AskStage(setup))
        for table in reversed(tables):
            self.sizes.append(table.num_rows)
            if self.drops(table):
                continue
            result = reduce(lambda carried, stage: stage(carried), stages, table)
            self.columns += result.to_pylist()
            yield result


def job(folder: Path, out: str, rows: Sequence[Item | BadItem] | None = None, **more: Any) -> Job:
    ledger = open_ledger(folder / out)
    made: dict[str, Any] = {
        "source": Selection(ListSource(ray_jobs.items(folder) if rows is None else rows)),
        "ledger": ledger,
        "engine": CountingEngine(),
        "means": Means(folder / f"means of {out}", n_requests=8, patience=Patience(attempts=2, unit_s=0.01)),
        "options": AgentOptions(revisions=0),
        "appraiser": QuickAppraiser(),
        "reader": lambda: ray_jobs.open_reader(folder, 0.0),
        "rows": ledger.rows,
        "n_bytes": ledger.n_bytes,
    }
    return Job(**{**made, **more})


def far(work: Job, hand: Hand | None = None, watch: Callable[[Snapshot], None] = lambda _: None) -> dict[str, Any]:
    """What is told of a job that was done over `hand`."""
    return run_over(work, lambda: [work.engine] if work.engine else [], hand or Hand(), watch)


def test_the_rows_are_those_of_a_local_job_byte_for_byte(tmp_path: Path) -> None:
    here = run(job(tmp_path, "here.jsonl"))
    hand, seen = Hand(), list[Snapshot]()
    there = far(job(tmp_path, "there.jsonl"), hand, seen.append)
    assert (there["run"]["ok"], there["run"]["failed"]) == (N_ROWS - 7, 7)
    assert ray_jobs.rows_of(tmp_path / "there.jsonl") == ray_jobs.rows_of(tmp_path / "here.jsonl")
    for name in ("total", "kept", "ok", "failed", "prompt_tokens", "completion_tokens"):
        assert there["run"][name] == here["run"][name]
    assert there["rows"]["labels"] == here["rows"]["labels"]
    assert there["rows"]["failures"] != []
    assert max(hand.sizes) == TASK_ROWS
    assert (seen[-1].n_done, seen[-1].eta_s) == (N_ROWS, 0.0)
    failed = [c for c in hand.columns if c["state"] == "failed"]
    assert sorted({c["type"] for c in failed}) == ["MediaNotFound", "UnreadableMedia"]
    assert all(c["stage"] and c["message"] and c["attempts"] for c in failed)


def test_however_many_windows_there_are_every_row_is_done_once(tmp_path: Path) -> None:
    class Counting(Hand):
        n_windows = 0

        def __call__(self, tables: Sequence[pa.Table], setup: Setup, n_askers: int) -> Generator[pa.Table, None, None]:
            self.n_windows += 1
            return super().__call__(tables, setup, n_askers)

    rows, hand = clips(tmp_path, 100), Counting()
    work = job(tmp_path, "rows.jsonl", rows)
    told = run_over(work, lambda: [work.engine] if work.engine else [], hand, window_rows=20)
    assert told["run"]["ok"] == sum(hand.sizes) == 100
    assert hand.n_windows == 4, "of as many rows as are taken from the source in one go, at least"
    assert len(ray_jobs.rows_of(tmp_path / "rows.jsonl")) == 100


def test_without_a_model_nobody_is_asked(tmp_path: Path) -> None:
    rows = clips(tmp_path, 6)
    run(job(tmp_path, "here.jsonl", rows, engine=None))
    far(job(tmp_path, "there.jsonl", rows, engine=None))
    assert ray_jobs.rows_of(tmp_path / "there.jsonl") == ray_jobs.rows_of(tmp_path / "here.jsonl")


@pytest.mark.parametrize("form", ["rows.jsonl", "rows"])
def test_a_job_goes_on_there_and_here(tmp_path: Path, form: str) -> None:
    rows = ray_jobs.items(tmp_path)
    run(job(tmp_path, form, rows[:15]))
    there = far(job(tmp_path, form, rows))["run"]
    assert (there["kept"], there["ok"] + there["failed"]) == (15, N_ROWS - 15)
    n_read = len(ray_jobs.readers(tmp_path))
    again = job(tmp_path, form, rows)
    assert run(again)["run"]["kept"] == N_ROWS
    hand = Hand()
    assert far(job(tmp_path, form, rows), hand)["run"]["kept"] == N_ROWS
    assert hand.sizes == [1], "what is known to be done is sent nowhere; of bytes in a row only hashing them tells"
    assert len(ray_jobs.readers(tmp_path)) == n_read


def test_a_finished_row_whose_medium_is_gone_is_asked_about_where_it_may_be_seen(tmp_path: Path) -> None:
    rows = clips(tmp_path, 4)
    run(job(tmp_path, "rows.jsonl", rows))
    Path(str(rows[2].media)).unlink()
    hand = Hand()
    told = far(job(tmp_path, "rows.jsonl", rows), hand)
    assert (told["run"]["kept"], told["run"]["failed"], hand.sizes) == (4, 0, [1])


@pytest.mark.parametrize("is_always", [False, True])
def test_what_is_lost_on_its_way_is_done_again_alone_and_then_told_of(tmp_path: Path, is_always: bool) -> None:
    rows = clips(tmp_path, 20)
    n_dropped = 0

    def drops(table: pa.Table) -> bool:
        nonlocal n_dropped
        is_hit = "clip00006.mp4" in table["id"].to_pylist() and (is_always or n_dropped == 0)
        n_dropped += is_hit
        return is_hit

    hand = Hand(drops)
    told = far(job(tmp_path, "rows.jsonl", rows), hand)
    assert hand.sizes == [TASK_ROWS] * 5 + [1] * TASK_ROWS
    assert (told["run"]["ok"], told["run"]["failed"]) == (20 - is_always, int(is_always))
    ids = [json.loads(row)["id"] for row in ray_jobs.rows_of(tmp_path / "rows.jsonl")]
    assert ids == [item.id for item in rows], "none is missing and none is there twice"
    if is_always:
        (failure,) = told["rows"]["failures"]
        assert (failure["stage"], failure["type"], failure["n"]) == ("read", "WorkerDied", 1)
        (again,) = [json.loads(row) for row in ray_jobs.rows_of(tmp_path / "rows.jsonl") if "WorkerDied" in row]
        assert again["error"]["attempts"] == 2
        retried = far(job(tmp_path, "rows.jsonl", rows, retry_failed=True))
        assert (retried["run"]["kept"], retried["run"]["ok"]) == (19, 1)


@pytest.mark.parametrize("error", [EngineUnreachable("nothing answers"), EngineError("answered 401", "a key")])
def test_what_no_row_survives_ends_the_job_and_keeps_what_there_is(tmp_path: Path, error: EngineError) -> None:
    class Refusing(CountingEngine):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
            if len(self.asked) >= 8:
                raise error
            return super().generate(prompts, sampling)

    rows = clips(tmp_path, 3 * MOST_IN_A_ROW)
    means = Means(tmp_path / "means", n_requests=4, patience=Patience(attempts=2, outage_s=0.1, unit_s=0.01))
    with pytest.raises(type(error), match=r"nothing answers.*same command|refused 20 rows.*401"):
        far(job(tmp_path, "rows.jsonl", rows, engine=Refusing(), means=means))
    there = far(job(tmp_path, "rows.jsonl", rows, retry_failed=True))
    assert there["run"]["kept"] >= 8
    assert there["run"]["kept"] + there["run"]["ok"] == len(rows)


def test_a_broken_way_leaves_what_was_kept(tmp_path: Path) -> None:
    class Breaking(Hand):
        def __call__(self, tables: Sequence[pa.Table], setup: Setup, n_askers: int) -> Generator[pa.Table, None, None]:
            results = super().__call__(tables, setup, n_askers)
            for _ in range(3):
                yield next(results)
            raise RuntimeError("the head is gone")

    rows = clips(tmp_path, 32)
    with pytest.raises(RuntimeError, match="the head is gone"):
        far(job(tmp_path, "rows.jsonl", rows), Breaking())
    told = far(job(tmp_path, "rows.jsonl", rows))
    assert (told["run"]["kept"], told["run"]["ok"]) == (3 * TASK_ROWS, 32 - 3 * TASK_ROWS)


def test_a_reading_that_hangs_does_not_hold_up_its_table(tmp_path: Path) -> None:
    class Waiting(FakeReader):
        async def read(self, path: Path, options: AgentOptions, label: str) -> bytes:
            if path.name == "clip00000.mp4":
                while len(self.read_paths) < TASK_ROWS - 1:
                    await asyncio.sleep(0.01)
            return await super().read(path, options, label)

    rows = clips(tmp_path, TASK_ROWS)
    told = far(job(tmp_path, "rows.jsonl", rows, reader=Waiting))
    assert told["run"]["ok"] == TASK_ROWS


def test_media_inside_their_rows_travel_with_them(tmp_path: Path) -> None:
    said = [f"clip {n} says so".encode() for n in range(5)]
    rows = [replace(item, media="inside.mp4", content=said[n]) for n, item in enumerate(clips(tmp_path, 5))]
    told = far(job(tmp_path, "rows.jsonl", rows))
    assert told["run"]["ok"] == 5
    assert told["measured"]["media_bytes"]["total"] == len(b"".join(said))
