"""`affectgpt batch`: many clips in, a row for each out."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from affectgpt.cli.batch_flags import MeansFlags, RowFlags, RunnerFlags
from affectgpt.cli.explain import check_report
from affectgpt.cli.flags import AnswerFlags, OutputFlags, SenseFlags, takes
from affectgpt.cli.plain import plain
from affectgpt.errors import OptionError

if TYPE_CHECKING:
    from affectgpt.batch.cluster import Cluster
    from affectgpt.batch.job import Job, Means
    from affectgpt.batch.sources import SourceOptions
    from affectgpt.engines.engine import Engine, EngineOptions

__all__ = ["batch", "cluster_of"]

_NOT_HERE = ("path", "transcript", "transcript_file", "face_file", "base_url")
"""Options of one clip: in a batch they are the rows' own. There may be several servers."""


@takes(RowFlags, MeansFlags, RunnerFlags, SenseFlags, AnswerFlags, OutputFlags, without=_NOT_HERE)
def batch(
    rows: RowFlags,
    means: MeansFlags,
    runner: RunnerFlags,
    sense: SenseFlags,
    answer: AnswerFlags,
    output: OutputFlags,
) -> None:
    """Explain many clips: a row for each, kept as it is done. The same command goes on where it stopped."""
    from affectgpt.batch.job import Job, Selection
    from affectgpt.batch.ledger import open_ledger
    from affectgpt.batch.selection import Shard
    from affectgpt.batch.sources import open_source
    from affectgpt.prompting import PromptLibrary

    check_report(output.report, None)
    shard = None if rows.shard is None else Shard.parse(rows.shard)
    source = Selection(open_source(rows.source, _source_options(rows)), shard, rows.limit)
    options, library, used = sense.options(answer), PromptLibrary(means.prompts), _means(means)
    asked, urls = _asked(answer), tuple(runner.base_urls or ())
    engine, *others = _open_engines(asked, urls, silent=output.quiet)
    cluster = None if runner.runner == "local" else cluster_of(runner, asked, urls, engine)
    ledger = open_ledger(rows.out, rows.out_form, shard)
    job = Job(
        source,
        ledger,
        engine,
        used,
        options,
        library,
        rows.retry_failed,
        rows=ledger.rows,
        others=tuple(others),
        n_bytes=ledger.n_bytes,
    )
    if rows.dry_run:
        _estimate(job, output)
    else:
        _run(job, cluster, output)


def _run(job: Job, cluster: Cluster | None, output: OutputFlags) -> None:
    from affectgpt.batch.account import lines
    from affectgpt.batch.job import run
    from affectgpt.cli.batch_progress import open_batch_display

    with open_batch_display(silent=output.quiet) as watch:
        if cluster is None:
            told = run(job, watch)
        else:
            from affectgpt.batch.cluster import run_on_ray

            told = run_on_ray(job, cluster, watch)
    for engine in (job.engine, *job.others):
        if (close := getattr(engine, "close", None)) is not None:
            close()
    if output.report is not None:
        from affectgpt.report.batch_page import write

        write(output.report, told)
    _print(told, lines(told), output)
    if output.report is not None:
        typer.echo(f"page written to {plain(str(output.report))}", err=True)


def _estimate(job: Job, output: OutputFlags) -> None:
    from affectgpt.batch.estimate import estimate, estimate_lines

    try:
        told = estimate(job)
    finally:
        job.ledger.close(complete=False)
    _print(told, estimate_lines(told), output)


def _print(told: Mapping[str, Any], lines: Iterable[str], output: OutputFlags) -> None:
    if output.json:
        typer.echo(json.dumps(told, indent=1, ensure_ascii=True))
    else:
        for line in lines:
            indent = len(line) - len(line.lstrip())
            typer.echo(" " * indent + plain(line.strip()))


def _asked(answer: AnswerFlags) -> EngineOptions:
    from affectgpt.batch.job import engine_options

    return engine_options(answer.engine_options())


def _open_engines(options: EngineOptions, urls: Sequence[str], *, silent: bool) -> tuple[Engine, ...]:
    from affectgpt.batch.servers import open_servers
    from affectgpt.cli.progress import open_display

    with open_display(silent=silent) as progress:
        progress("model", None)
        engines = open_servers(options, urls)
        progress("model", 1.0)
    return engines


def cluster_of(runner: RunnerFlags, options: EngineOptions, urls: Sequence[str], engine: Engine) -> Cluster:
    """The cluster, and how its machines open the engine that was opened here, whatever their own environment says."""
    from affectgpt.batch.cluster import Cluster
    from affectgpt.batch.servers import open_servers

    if engine.name not in ("http", "echo"):
        raise OptionError(
            f"the {engine.name} engine's model is of this process alone, and a cluster cannot ask it",
            "serve it (affectgpt serve --launch, or vLLM) and give --base-url, or say --runner local",
        )
    if engine.name == "echo":
        return Cluster(partial(open_servers, dataclasses.replace(options, engine="echo"), ()), runner.ray_address)
    key = options.api_key or os.environ.get("AFFECTGPT_API_KEY")
    options = dataclasses.replace(options, engine="http", model=engine.model, api_key=key)
    urls = tuple(urls) or (os.environ.get("OPENAI_BASE_URL", ""),)
    return Cluster(partial(open_servers, options, tuple(urls)), runner.ray_address)


def _source_options(rows: RowFlags) -> SourceOptions:
    from affectgpt.batch.sources import SourceOptions

    columns: dict[str, str] = {}
    for pair in rows.column or ():
        what, equals, name = pair.partition("=")
        if not (what and equals and name):
            raise OptionError(f"--column {pair}", "write it like --column media=clip_url")
        columns[what.strip()] = name
    return SourceOptions(rows.form, columns, tuple(rows.allow_media or ()))


def _means(means: MeansFlags) -> Means:
    from affectgpt.batch.job import Means
    from affectgpt.batch.servers import Patience
    from affectgpt.engines.embedded import cache_root

    return Means(
        means.cache or cache_root() / "batch",
        means.workers,
        means.concurrency,
        round(means.cache_gb * 1e9),
        means.clip_timeout,
        Patience(means.attempts, means.patience),
    )
