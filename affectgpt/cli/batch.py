"""`affectgpt batch`: many clips in, a row for each out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from affectgpt.cli.explain import check_report
from affectgpt.cli.flags import AnswerFlags, OutputFlags, SenseFlags, takes
from affectgpt.cli.plain import plain
from affectgpt.errors import OptionError

if TYPE_CHECKING:
    from affectgpt.batch.job import Job, Means
    from affectgpt.batch.sources import SourceOptions
    from affectgpt.engines.engine import Engine

__all__ = ["batch"]

_ROWS = "Which rows"
_MEANS = "How many at once, and how patiently"
_NOT_HERE = ("path", "transcript", "transcript_file", "face_file")
"""Options of one clip: in a batch they are the rows' own."""


@dataclasses.dataclass(frozen=True, slots=True)
class RowFlags:
    """Where rows come from, and which of them."""

    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A folder, a pattern, a JSONL, CSV or Parquet list, a saved Hugging Face dataset, or OpenAI batch "
            "requests; a path, or a URL that fsspec opens.",
            show_default=False,
        ),
    ]
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="OUT", help="rows.jsonl, or a folder of Parquet files.", show_default=False
        ),
    ]
    form: Annotated[
        Literal["auto", "media", "jsonl", "csv", "parquet", "hf", "openai"],
        typer.Option("--form", help="What IN is, where its name does not tell.", rich_help_panel=_ROWS),
    ] = "auto"
    out_form: Annotated[
        Literal["auto", "jsonl", "parquet", "openai"],
        typer.Option("--out-form", help="What OUT is; openai: a batch result file.", rich_help_panel=_ROWS),
    ] = "auto"
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="What this table calls a column, such as media=clip_url or id=key. As often as needed.",
            rich_help_panel=_ROWS,
        ),
    ] = None
    allow_media: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-media",
            metavar="URL",
            help="Rows may name media whose URLs begin so; else only what lies with IN.",
            rich_help_panel=_ROWS,
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=0, help="The first N rows.", rich_help_panel=_ROWS)
    ] = None
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="K/N", help="Part K of N, by the hash of the id.", rich_help_panel=_ROWS),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do rows that failed again.", rich_help_panel=_ROWS)
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Count rows, estimate time, tokens and disk on a few of them.", rich_help_panel=_ROWS
        ),
    ] = False


@dataclasses.dataclass(frozen=True, slots=True)
class MeansFlags:
    """What the job may use."""

    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FOLDER", help="Prompts of your own (YAML).", rich_help_panel=_MEANS),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Processes that read media; otherwise one a core, one less beside a local model.",
            rich_help_panel=_MEANS,
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            help="Requests to the model at once, at most; how many pay is found out.",
            rich_help_panel=_MEANS,
        ),
    ] = None
    attempts: Annotated[
        int, typer.Option("--attempts", metavar="N", help="At what fails for now.", rich_help_panel=_MEANS)
    ] = 8
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="S", help="Wait so long for a server that is away.", rich_help_panel=_MEANS),
    ] = 900.0
    clip_timeout: Annotated[
        float, typer.Option("--clip-timeout", metavar="S", help="Give up reading a clip.", rich_help_panel=_MEANS)
    ] = 600.0
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="FOLDER", help="Where readings are kept.", rich_help_panel=_MEANS),
    ] = None
    cache_gb: Annotated[
        float, typer.Option("--cache-gb", metavar="GB", min=0, help="0: none are kept.", rich_help_panel=_MEANS)
    ] = 10.0


@takes(RowFlags, MeansFlags, SenseFlags, AnswerFlags, OutputFlags, without=_NOT_HERE)
def batch(rows: RowFlags, means: MeansFlags, sense: SenseFlags, answer: AnswerFlags, output: OutputFlags) -> None:
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
    engine = _open_engine(answer, silent=output.quiet)
    ledger = open_ledger(rows.out, rows.out_form, shard)
    job = Job(source, ledger, engine, used, options, library, rows.retry_failed, rows=ledger.rows)
    if rows.dry_run:
        _estimate(job, output)
    else:
        _run(job, output)


def _run(job: Job, output: OutputFlags) -> None:
    from affectgpt.batch.account import lines
    from affectgpt.batch.job import run
    from affectgpt.cli.batch_progress import open_batch_display

    with open_batch_display(silent=output.quiet) as watch:
        told = run(job, watch)
    if (close := getattr(job.engine, "close", None)) is not None:
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


def _open_engine(answer: AnswerFlags, *, silent: bool) -> Engine:
    from affectgpt.batch.job import engine_options
    from affectgpt.cli.progress import open_display
    from affectgpt.engines.engine import open_engine

    with open_display(silent=silent) as progress:
        progress("model", None)
        engine = open_engine(engine_options(answer.engine_options()))
        progress("model", 1.0)
    return engine


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
    from affectgpt.batch.asking import Patience
    from affectgpt.batch.job import Means
    from affectgpt.engines.embedded import cache_root

    return Means(
        means.cache or cache_root() / "batch",
        means.workers,
        means.concurrency,
        round(means.cache_gb * 1e9),
        means.clip_timeout,
        Patience(means.attempts, means.patience),
    )
