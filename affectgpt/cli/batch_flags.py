"""The options of `affectgpt batch` that are its own: which rows, by what means, and where it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["MeansFlags", "RowFlags", "RunnerFlags"]

_ROWS = "Which rows"
_MEANS = "How many at once, and how patiently"
_ANSWER = "Who answers"
_RUNNER = "Where it runs"


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


@dataclasses.dataclass(frozen=True, slots=True)
class RunnerFlags:
    """The machines: those that answer, and those that read."""

    base_urls: Annotated[
        list[str] | None,
        typer.Option(
            "--base-url",
            metavar="URL",
            help="The server, or OPENAI_BASE_URL; once for each of several that serve the same model.",
            rich_help_panel=_ANSWER,
        ),
    ] = None
    runner: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--runner",
            help="This machine, or a Ray cluster, which the servers answer; either goes on where the other stopped.",
            rich_help_panel=_RUNNER,
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT",
            help="The cluster, or RAY_ADDRESS; otherwise the one that runs here, or one made for this job.",
            rich_help_panel=_RUNNER,
        ),
    ] = None
