"""What a job would cost, before it is begun: rows, time, tokens and disk, measured on a few of its own rows."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, Final

from affectgpt.batch.account import spell
from affectgpt.batch.course import Course, Stages, id_of
from affectgpt.batch.fetching import FileFetcher
from affectgpt.batch.job import FIRST_REQUESTS, Job, added_up, evidence_of, n_workers_of, plan_of, run
from affectgpt.batch.records import BadItem, Done, Item, Row
from affectgpt.batch.row_json import dump_row
from affectgpt.batch.tally import Tally
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import AffectError
from affectgpt.records import Completion, Prompt, Sampling

__all__ = ["CHARS_A_TOKEN", "estimate", "estimate_lines"]

N_SAMPLES: Final = 3
"""Rows that are read for real; the first pays for starting a worker, which is left out of its time."""

CHARS_A_TOKEN: Final = 4.0
"""Of English text, as OpenAI's guide to counting tokens has it; other models and languages differ by half of it."""


@dataclass(slots=True)
class _Counts:
    """What the source's rows are, against what the output holds."""

    n_items: int = 0
    n_bad: int = 0
    n_kept: int = 0
    n_again: int = 0
    n_unreachable: int = 0
    samples: list[Item] = field(default_factory=list)

    @property
    def n_to_do(self) -> int:
        return self.n_items - self.n_kept - self.n_unreachable


def estimate(job: Job, n_samples: int = N_SAMPLES) -> dict[str, Any]:
    """The estimate, in JSON's types. Reads `n_samples` rows that are to be done, asks nobody, and writes nothing.

    rows: items, bad rows of the source, kept (done already), again (done, but by other means than now), missing (whose
        media are not there), and to_do.
    reading_s: of all media, with the job's workers; an upper bound, since what the cache holds is not looked for.
    answering_s: with `at_once` requests, as many as are begun with; None where no row of the output tells how long an
        answer takes.
    prompt_tokens, most_completion_tokens: by `CHARS_A_TOKEN`, and by the most that is asked for.
    row_bytes, cache_bytes: that the output grows by, and the cache of readings at most.

    Raises:
        InputError: the source cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="affectgpt-estimate-") as folder:
        counts = _count(job, Path(folder), n_samples)
        ledger, engine = _Scratch(), _Measuring()
        means = replace(job.means, folder=Path(folder), n_workers=1)
        asked = None if job.engine is None else engine
        alone = replace(job, engine=asked, others=(), rows=None, n_bytes=None)
        run(replace(alone, source=_Samples(counts.samples), ledger=ledger, means=means))
        n_cache_bytes = sum(p.stat().st_size for p in Path(folder, "readings").glob("*.entry"))
    return _scaled(job, counts, ledger, engine, n_cache_bytes)


def estimate_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The estimate as lines of text."""
    rows = told["rows"]
    yield f"{told['source']}: {rows['to_do']} rows to do; nothing was asked, nothing written"
    yield (
        f"  {rows['items']} items, {rows['kept']} of them done; {rows['again']} were done by other means and are done "
        f"again; {rows['missing']} whose media are not there; {rows['bad']} rows that are no items"
    )
    if not told["n_samples"]:
        return
    yield f"Measured on {told['n_samples']} of the rows ({told['n_failed']} failed):"
    yield f"  reading: about {spell(told['reading_s'])} on {told['workers']} workers, less what the cache holds"
    if told["answering_s"] is not None:
        yield f"  answers: about {spell(told['answering_s'])} with {told['at_once']} at once, by the rows there are"
    elif told["prompt_tokens"]:
        yield "  answers: no row of the output tells how long one takes; begin with --limit to see"
    if told["prompt_tokens"]:
        yield (
            f"  tokens: about {told['prompt_tokens']} asked, at most {told['most_completion_tokens']} answered, "
            "before revisions"
        )
    yield f"  disk: about {_megabytes(told['row_bytes'])} of rows, at most {_megabytes(told['cache_bytes'])} of cache"


def _count(job: Job, folder: Path, n_samples: int) -> _Counts:
    """Go through the source once; the samples are drawn evenly from what is to be done."""
    counts, drawn = _Counts(), random.Random(0)
    evidence = evidence_of(job)
    course = Course(Stages(FileFetcher(folder), evidence), plan_of(job), Tally(None))
    try:
        for row in job.source.iterate():
            if isinstance(row, BadItem):
                counts.n_bad += 1
                continue
            counts.n_items += 1
            if not _is_to_do(course, row, job.ledger.done(id_of(row)), counts):
                continue
            if len(counts.samples) < n_samples:
                counts.samples.append(row)
            elif (at := drawn.randrange(counts.n_to_do)) < n_samples:
                counts.samples[at] = row
    finally:
        course.close()
        evidence.close()
    return counts


def _is_to_do(course: Course, item: Item, done: Done | None, counts: _Counts) -> bool:
    try:
        is_done = course.is_done(item, done)
    except AffectError:
        counts.n_unreachable += 1
        return False
    counts.n_kept += is_done
    counts.n_again += done is not None and not is_done
    return not is_done


def _scaled(job: Job, counts: _Counts, ledger: _Scratch, engine: _Measuring, n_cache_bytes: int) -> dict[str, Any]:
    outcomes = [row.outcome for row in ledger.kept if row.outcome is not None]
    n, n_samples = counts.n_to_do, len(ledger.kept)
    read_s = [o["timings_s"]["total"] - o["timings_s"].get("answer", 0.0) for o in outcomes]
    n_prompt = sum(engine.n_chars) / CHARS_A_TOKEN / len(engine.n_chars) * n if engine.n_chars else 0
    workers = n_workers_of(job)
    return {
        "source": job.source.name,
        "rows": {
            "items": counts.n_items,
            "bad": counts.n_bad,
            "kept": counts.n_kept,
            "again": counts.n_again,
            "missing": counts.n_unreachable,
            "to_do": n,
        },
        "n_samples": n_samples,
        "n_failed": n_samples - len(outcomes),
        "workers": workers,
        "reading_s": mean(read_s) * n / workers if read_s else 0.0,
        "at_once": _at_once(job),
        "answering_s": _answering_s(job, n),
        "prompt_tokens": round(n_prompt),
        "most_completion_tokens": job.options.sampling.max_tokens * n if engine.n_chars else 0,
        "row_bytes": round(mean(len(dump_row(row)) for row in ledger.kept) * n) if ledger.kept else 0,
        "cache_bytes": min(job.means.cache_bytes, n_cache_bytes * n // n_samples) if n_samples else 0,
    }


def _answering_s(job: Job, n: int) -> float | None:
    """Seconds for `n` answers, as fast as those that the output holds."""
    if job.rows is None or job.engine is None:
        return None
    answers = added_up(job.rows()).timings.get("answer")
    return answers.total / answers.n * n / _at_once(job) if answers and answers.n else None


def _at_once(job: Job) -> int:
    return FIRST_REQUESTS * (1 + len(job.others))


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class _Samples:
    """A source of the rows that were drawn."""

    rows: Sequence[Item]
    name: str = "samples"

    def iterate(self) -> Iterator[Item | BadItem]:
        return iter(self.rows)

    def count(self) -> int | None:
        return len(self.rows)


class _Scratch:
    """A ledger that keeps rows for as long as it lives."""

    n_ok = n_failed = 0

    def __init__(self) -> None:
        self.kept: list[Row] = []

    def done(self, id: str) -> Done | None:
        return None

    def append(self, rows: Sequence[Row]) -> None:
        self.kept += rows

    def close(self, *, complete: bool = True) -> None: ...


class _Measuring(EchoEngine):
    """Answers at once, and keeps how long the prompts were, in characters."""

    def __init__(self) -> None:
        super().__init__()
        self.n_chars: list[int] = []
        self._turn = threading.Lock()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        with self._turn:
            self.n_chars += [sum(len(m.content) for m in prompt.messages) for prompt in prompts]
        return super().generate(prompts, sampling)
