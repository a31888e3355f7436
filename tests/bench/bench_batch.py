"""What a batch costs beside its own stages, printed as JSON: overlap, a changed prompt, the scheduler, a death.

python tests/bench/bench_batch.py [--clips 200] [--rows 100000] [--engine paced|local] [--only overlap,rows,deaths]

Clips are copies of the shared recordings, each with a few bytes of its own behind the last box, so that no two have the
same hash. `paced` answers after a fixed time, as a server elsewhere would; `local` is the embedded model, which shares
the cores with the readers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from batch_deaths import ask_counts, kept, kill_a_job, start
from page_fakes import KnownAppraiser

from affectgpt.agent import AffectAgent, Parts
from affectgpt.batch.gathering import GatheringEngine
from affectgpt.batch.job import FIRST_REQUESTS, Job, Means, engine_options, run
from affectgpt.batch.ledger import open_ledger
from affectgpt.batch.limiting import AdaptiveLimit
from affectgpt.batch.records import BadItem, Item, Row
from affectgpt.batch.row_json import dump_row
from affectgpt.batch.tally import Snapshot
from affectgpt.batch.threads import Threads
from affectgpt.engines.echo import EchoEngine
from affectgpt.engines.engine import Engine, EngineOptions, open_engine
from affectgpt.prompting import PromptLibrary, shipped_folder
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.record_json import to_json
from affectgpt.records import Completion, Modality, Prompt, Sampling

SHARED = Path(os.environ.get("AFFECTGPT_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))
ANSWER_S = 2.0
"""Of the paced engine: what a small model behind a busy server takes for an explanation."""
MOST_AT_ONCE = 32


class Paced(EchoEngine):
    """Answers as the echo engine does, after `ANSWER_S`, up to `MOST_AT_ONCE` side by side."""

    name = "paced"

    def __init__(self) -> None:
        super().__init__()
        self.model = "paced-1"
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Echoes, late."""
        with self._places:
            time.sleep(ANSWER_S)
            return super().generate(prompts, sampling)


class Recording:
    """An engine over another that remembers what it was asked, to ask it again."""

    def __init__(self, inner: Engine) -> None:
        self.name, self.model, self.inner = inner.name, inner.model, inner
        self.asked: list[tuple[Prompt, Sampling]] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """What the inner engine says."""
        self.asked += [(prompt, sampling) for prompt in prompts]
        return self.inner.generate(prompts, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generator[str, None, Completion]:
        """What the inner engine says, in pieces."""
        return self.inner.stream(prompt, sampling)


@dataclass(frozen=True)
class Listed:
    """Rows made as they are asked for."""

    make: Callable[[int], Item]
    n: int
    name: str = "bench"

    def iterate(self) -> Iterator[Item | BadItem]:
        """Each once."""
        return (self.make(k) for k in range(self.n))

    def count(self) -> int | None:
        """All of them."""
        return self.n


def make_clips(folder: Path, n: int) -> list[Path]:
    """`n` clips that decode like the shared ones and hash unlike each other."""
    originals = sorted(p for p in (SHARED / "clips").rglob("*") if p.suffix in {".mp4", ".mov", ".m4v"})
    if not originals:
        raise SystemExit(f"no clips under {SHARED / 'clips'}: name the folder with AFFECTGPT_SHARED")
    made = []
    for k in range(n):
        path = folder / f"clip{k:04}{originals[k % len(originals)].suffix}"
        shutil.copyfile(originals[k % len(originals)], path)
        with path.open("ab") as file:  # a `free` box (ISO/IEC 14496-12, 8.1.2): 8 bytes of header, then anything
            file.write((16).to_bytes(4, "big") + b"free" + k.to_bytes(8, "big"))
        made.append(path)
    return made


def bench_overlap(engine: Engine, n_clips: int) -> dict[str, Any]:
    """The same clips one after another, as a batch, and again with another prompt."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clips = make_clips(folder, n_clips)
        items = [Item(path.name, k + 1, str(path)) for k, path in enumerate(clips)]
        options = AgentOptions()
        warm(engine, clips[0], options)
        begun = time.perf_counter()
        agent = AffectAgent(engine, options)
        for path in clips:
            agent.explain(path)
        sequential_s = time.perf_counter() - begun
        recording = Recording(engine)

        def job(prompts: PromptLibrary) -> tuple[float, dict[str, Any]]:
            ledger = open_ledger(folder / "rows.jsonl")
            n_requests = 16 if engine.name == "local" else 64
            means = Means(folder / "means", n_requests=n_requests)
            begun = time.perf_counter()
            told = run(Job(Listed(lambda k: items[k], n_clips), ledger, recording, means, options, prompts))
            return time.perf_counter() - begun, told

        overlapped_s, first = job(PromptLibrary())
        recording.asked.clear()
        again_s, second = job(changed_prompts(folder / "prompts"))
        return {
            "engine": engine.name,
            "clips": n_clips,
            "failed": [first["run"]["failed"], second["run"]["failed"]],
            "sequential_s": sequential_s,
            "overlapped_s": overlapped_s,
            "overlap (at least 1.5)": sequential_s / overlapped_s,
            "changed prompt: media read (0)": second["run"]["readings"].get("read", 0),
            "changed prompt_s": again_s,
            "its requests alone_s": (alone_s := replay(engine, recording.asked)),
            "changed prompt beside its requests (at most 1.03)": again_s / alone_s,
        }


def warm(engine: Engine, clip: Path, options: AgentOptions) -> None:
    """Load every model and library before the clock starts, for both ways."""
    AffectAgent(engine, options).explain(clip)


def changed_prompts(folder: Path) -> PromptLibrary:
    """The shipped prompts, with other words in the one that is asked."""
    shutil.copytree(shipped_folder(), folder)
    asked = folder / "explain.yaml"
    text = asked.read_text("utf-8").replace("user: |", "user: |\n  Take your time.", 1)
    asked.write_text(text, "utf-8")
    return PromptLibrary(folder)


def replay(engine: Engine, asked: Sequence[tuple[Prompt, Sampling]]) -> float:
    """Seconds for the same requests with nothing beside them, let through by the same rule."""
    is_local = engine.name == "local"
    inner = GatheringEngine(engine, 8) if is_local else engine
    most = 16 if is_local else 64

    async def play() -> None:
        limit = AdaptiveLimit(most, first=most if is_local else FIRST_REQUESTS, least=most if is_local else 1)
        threads = Threads(most, "replay")

        async def one(prompt: Prompt, sampling: Sampling) -> None:
            async with limit.slot():
                await threads.run(inner.generate, [prompt], sampling)

        await asyncio.gather(*(one(*pair) for pair in asked))
        threads.close()

    begun = time.perf_counter()
    asyncio.run(play())
    return time.perf_counter() - begun


def bench_rows(n_rows: int) -> dict[str, Any]:
    """Rows of words alone through the echo engine: what is not their own work is the scheduler's."""
    options = AgentOptions(modalities=frozenset({Modality.SPEECH}), revisions=0)

    def item(k: int) -> Item:
        return Item(f"row {k}", k + 1, transcript=f"I got job number {k}, I can hardly believe it!")

    n_alone = min(n_rows, 2000)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for k in range(n_alone):
        settled = AgentOptions(
            modalities=options.modalities, revisions=0, speech=SpeechOptions(text=item(k).transcript)
        )
        agent = AffectAgent(ECHO, settled, prompts=PROMPTS, parts=Parts(appraiser=KnownAppraiser()))
        outcome = agent.explain(None)
        dump_row(Row(item(k).id, k + 1, "ok", outcome=to_json(outcome)))
    alone_ms = (time.perf_counter() - begun) / n_alone * 1000
    alone_cpu_ms = (time.process_time() - begun_cpu) / n_alone * 1000
    seen: list[tuple[int, float]] = []

    def watch(snapshot: Snapshot) -> None:
        seen.append((snapshot.n_done, rss_mb()))

    with tempfile.TemporaryDirectory() as place:
        means = Means(Path(place) / "means", cache_bytes=0, n_workers=1, n_requests=16)
        ledger = open_ledger(Path(place) / "rows.jsonl")
        job = Job(Listed(item, n_rows), ledger, ECHO, means, options, PROMPTS, appraiser=KnownAppraiser())
        before_mb = rss_mb()
        begun, begun_cpu = time.perf_counter(), time.process_time()
        told = run(job, watch)
        took_s, took_cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    return {
        "rows": told["run"]["ok"],
        "rows_per_s": n_rows / took_s,
        "ms_a_row": took_s / n_rows * 1000,
        "ms_of_the_rows_own_work": alone_ms,
        "scheduler_ms_a_row (below 3)": took_s / n_rows * 1000 - alone_ms,
        "scheduler_cpu_ms_a_row": took_cpu_s / n_rows * 1000 - alone_cpu_ms,
        "rss_mb_before": before_mb,
        "rss_mb_at_a_tenth": next((mb for n, mb in seen if n >= n_rows / 10), None),
        "rss_mb_at_the_end": seen[-1][1],
        "rss_mb_above_the_start (below 300)": max(mb for _, mb in seen) - before_mb,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


ECHO = EchoEngine()
PROMPTS = PromptLibrary()


def rss_mb() -> float:
    """Resident memory now (proc(5): the second field of statm is pages)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize() / 1e6


def bench_deaths(n_rows: int = 2000, n_deaths: int = 20) -> dict[str, Any]:
    """A job that is killed again and again."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for n in range(n_deaths):
            kill_a_job(folder, n_rows, 0.05 + 0.01 * n)
        child = start(folder, n_rows)
        child.communicate()
        ids = kept(folder)
        return {
            "deaths": n_deaths,
            "rows": n_rows,
            "lost (0)": n_rows - len(ids),
            "double (0)": ids.total() - len(ids),
            "asked again, a death": (ask_counts(folder).total() - n_rows) / n_deaths,
            "under way at once": 2 * 16 + 4 * 2,
        }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--engine", choices=("paced", "local"), default="paced")
    parser.add_argument("--only", default="overlap,rows,deaths")
    asked = parser.parse_args()
    figures: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    if "rows" in asked.only:
        figures["rows"] = bench_rows(asked.rows)
    if "deaths" in asked.only:
        figures["deaths"] = bench_deaths()
    if "overlap" in asked.only:
        engine = Paced() if asked.engine == "paced" else open_engine(engine_options(EngineOptions("local")))
        figures["overlap"] = bench_overlap(engine, asked.clips)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
