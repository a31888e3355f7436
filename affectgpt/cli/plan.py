"""`affectgpt plan`: what a large batch would take, from the report of a small one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from affectgpt.cli.flags import remember_debug, takes
from affectgpt.cli.plain import plain

__all__ = ["plan"]

_MEANS = "With what"
_PRICES = "What things cost, in one currency"


@dataclass(frozen=True, slots=True)
class PlanFlags:
    """The job, and what it may use."""

    rates: Annotated[
        Path,
        typer.Option(
            "--rates", metavar="JSON", help="The report of a finished job: `affectgpt batch … --json > JSON`."
        ),
    ]
    clips: Annotated[int, typer.Option("--clips", metavar="N", help="How many clips.")]
    clip_seconds: Annotated[
        float | None,
        typer.Option("--clip-seconds", metavar="S", help="Their mean length; otherwise that of the finished job's."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Cores that read media; otherwise as the finished job had.",
            rich_help_panel=_MEANS,
        ),
    ] = None
    servers: Annotated[
        int | None,
        typer.Option(
            "--servers",
            metavar="N",
            help="Model servers; otherwise as the finished job had.",
            rich_help_panel=_MEANS,
        ),
    ] = None
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours", metavar="H", help="Also tell what it needs to be done in this time.", rich_help_panel=_MEANS
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)] = (
        False
    )


@dataclass(frozen=True, slots=True)
class PriceFlags:
    """Prices; what has none is not reckoned."""

    worker_hour: Annotated[
        float | None,
        typer.Option("--price-worker-hour", metavar="P", help="Of one core.", rich_help_panel=_PRICES),
    ] = None
    server_hour: Annotated[
        float | None,
        typer.Option("--price-server-hour", metavar="P", help="Of one model server.", rich_help_panel=_PRICES),
    ] = None
    gb_month: Annotated[
        float | None,
        typer.Option("--price-gb-month", metavar="P", help="Of a gigabyte of disk.", rich_help_panel=_PRICES),
    ] = None
    gb_moved: Annotated[
        float | None,
        typer.Option("--price-gb-moved", metavar="P", help="Of a gigabyte of media moved.", rich_help_panel=_PRICES),
    ] = None
    prompt_mtok: Annotated[
        float | None,
        typer.Option("--price-prompt-mtok", metavar="P", help="Of a million tokens asked.", rich_help_panel=_PRICES),
    ] = None
    answer_mtok: Annotated[
        float | None,
        typer.Option("--price-answer-mtok", metavar="P", help="Of a million answered.", rich_help_panel=_PRICES),
    ] = None


@takes(PlanFlags, PriceFlags)
def plan(flags: PlanFlags, prices: PriceFlags) -> None:
    """Plan a large batch from the report of a small one: hours, machines, disk, network, cost."""
    from affectgpt.batch import planning

    asked = planning.Prices(
        prices.worker_hour,
        prices.server_hour,
        prices.gb_month,
        prices.gb_moved,
        prices.prompt_mtok,
        prices.answer_mtok,
    )
    wanted = planning.Wanted(flags.clips, flags.clip_seconds, flags.workers, flags.servers, flags.hours, asked)
    made = planning.plan(planning.read_report(flags.rates), wanted)
    if flags.json:
        typer.echo(json.dumps(made, indent=1, ensure_ascii=True))
        return
    for line in planning.plan_lines(made):
        indent = len(line) - len(line.lstrip())
        typer.echo(" " * indent + plain(line.strip()))
