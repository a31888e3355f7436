"""`affectgpt trends`: affect over time, from batch rows or any series of valence and arousal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from affectgpt.cli.flags import remember_debug, takes
from affectgpt.cli.plain import plain

if TYPE_CHECKING:
    from affectgpt.trends.analysis import Progress
    from affectgpt.trends.figures import Settings
    from affectgpt.trends.reading import ReadingOptions

__all__ = ["trends"]

_ROWS = "What is read"
_HOW = "How it is measured"
_OUT = "What is written"

_SHOWN = ("mean", "rmssd", "inertia_corrected", "half_life", "predictability", "positive_negative_ratio", "contagion")
"""Figures of valence that the terminal shows; the files and the page have all."""


@dataclass(frozen=True, slots=True)
class RowFlags:
    """What is read, and how it is cut."""

    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Rows of `affectgpt batch` or any table with times: JSONL, CSV, Parquet, or a folder of them.",
            show_default=False,
        ),
    ]
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEYS",
            help="Columns that cut the points into series, with commas; hour, day, week, month, year and weekday "
            "follow from the local time.",
            rich_help_panel=_ROWS,
        ),
    ] = ""
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="ROLE=NAME",
            help="Where time, valence, arousal, dominance, label, evidence or a key of yours stands, nested with dots. "
            "As often as needed.",
            rich_help_panel=_ROWS,
        ),
    ] = None
    each: Annotated[
        Literal["row", "moment"],
        typer.Option("--each", help="A point a row, or one a stretch of each clip's course.", rich_help_panel=_ROWS),
    ] = "row"
    reading: Annotated[
        Literal["fused", "face", "voice", "speech"],
        typer.Option("--reading", help="Whose valence and arousal of a batch row count.", rich_help_panel=_ROWS),
    ] = "fused"
    timezone: Annotated[
        str,
        typer.Option(
            "--timezone", metavar="ZONE", help="Of the calendar, and of times without one.", rich_help_panel=_ROWS
        ),
    ] = "UTC"
    time_unit: Annotated[
        Literal["s", "ms"], typer.Option("--time-unit", help="Of times that are numbers.", rich_help_panel=_ROWS)
    ] = "s"
    context: Annotated[
        Literal["workplace", "education"] | None,
        typer.Option(
            "--context",
            help="A place where emotion must not be read from face or voice (EU AI Act, Art. 5(1)(f)): such rows are "
            "refused.",
            rich_help_panel=_ROWS,
            show_default=False,
        ),
    ] = None
    evidence: Annotated[
        str,
        typer.Option(
            "--evidence",
            metavar="TEXT",
            help="What series were read from that do not say it: speech, self-report, face+voice, …",
            rich_help_panel=_ROWS,
        ),
    ] = ""

    def options(self) -> ReadingOptions:
        """The same as the reader's options. Raises OptionError."""
        from affectgpt.trends.columns import Columns, parse_columns
        from affectgpt.trends.reading import ReadingOptions
        from affectgpt.trends.writing import check_keys

        keys = tuple(dict.fromkeys(key.strip() for key in self.by.split(",") if key.strip()))
        check_keys(keys)
        where = Columns(parse_columns(self.column or ()), self.reading)
        return ReadingOptions(keys, where, self.each, self.timezone, self.time_unit, self.evidence.strip())


@dataclass(frozen=True, slots=True)
class MeasureFlags:
    """How courses are measured."""

    person: Annotated[
        str,
        typer.Option("--person", metavar="KEY", help="The key of --by that names people.", rich_help_panel=_HOW),
    ] = "person"
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Contagion between each two people as well.", rich_help_panel=_HOW)
    ] = False
    step: Annotated[
        float | None,
        typer.Option(
            "--step",
            metavar="S",
            help="Seconds between neighbours; default: each series' median distance.",
            rich_help_panel=_HOW,
        ),
    ] = None
    neutral: Annotated[
        float,
        typer.Option("--neutral", metavar="V", help="Valence within V of 0 is neutral.", rich_help_panel=_HOW),
    ] = 0.1
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", help="For the intervals.", rich_help_panel=_HOW)
    ] = 1000
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the resamples.", rich_help_panel=_HOW)] = 0

    def settings(self) -> Settings:
        """The same as the measures' settings. Raises OptionError."""
        from affectgpt.trends.figures import Settings
        from affectgpt.trends.resampling import Resampling

        return Settings(self.neutral, self.step, Resampling(self.resamples, self.seed))


@dataclass(frozen=True, slots=True)
class WriteFlags:
    """What is written, and where."""

    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Write trends.parquet, .json and .html here.", rich_help_panel=_OUT
        ),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout instead.", rich_help_panel=_OUT)
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=_OUT)] = False
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug, rich_help_panel=_OUT),
    ] = False


@takes(RowFlags, MeasureFlags, WriteFlags)
def trends(rows: RowFlags, how: MeasureFlags, write: WriteFlags) -> None:
    """Affect over time: volatility, inertia, recovery, contagion and more, each with its interval and its source.

    What cannot be told is left out with the reason. The figures describe how people seemed to a program, over time.
    """
    from affectgpt.trends import writing
    from affectgpt.trends.analysis import analyse, refuse_forbidden
    from affectgpt.trends.page import render
    from affectgpt.trends.reading import read_points

    options, settings = rows.options(), how.settings()
    points = read_points(rows.paths, options)
    refuse_forbidden(points, rows.context)
    progress = _silent if write.quiet else _told()
    found = analyse(points, settings, person=how.person, pairs=how.pairs, progress=progress)
    document = writing.to_json(found)
    if write.out:
        writing.write(write.out, document, render(found, document))
    typer.echo(json.dumps(document, indent=1) if write.as_json else _shown(document))
    if write.out:
        typer.echo(f"written to {plain(str(write.out))}: trends.parquet, trends.json, trends.html", err=True)


def _silent(done: int, wanted: int) -> None:
    return None


def _told() -> Progress:
    """Progress on stderr: one line that counts on a terminal, a line every half minute in a log."""
    import time

    began = told = time.monotonic()

    def tell(done: int, wanted: int) -> None:
        nonlocal told
        now, is_terminal = time.monotonic(), sys.stderr.isatty()
        if now - told < (0.2 if is_terminal else 30.0) and not (done == wanted and told > began):
            return
        told = now
        line = f"{done} of {wanted} groups"
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if done == wanted else "") if is_terminal else line + "\n")
        sys.stderr.flush()

    return tell


def _shown(document: Mapping[str, Any]) -> str:
    from affectgpt.trends.page import number

    read, metrics = document["input"], document["metrics"]
    lines = [f"{read['n_rows']} rows, {read['n_points']} points, {len(document['groups'])} groups"]
    lost = {"n_failed": "failed", "n_unreadable": "unreadable", "n_repeated": "repeated an id",
            "n_without_time": "without a time", "n_without_value": "with nothing to measure"}  # fmt: skip
    if any(read[key] for key in lost):
        lines.append("  " + ", ".join(f"{read[key]} {words}" for key, words in lost.items() if read[key]))
    for group in document["groups"]:
        of_valence = {e["metric"]: e for e in group["estimates"] if e["channel"] == "valence"}
        lines += ["", plain(group["name"])]
        for name in _SHOWN:
            estimate = of_valence.get(name)
            if estimate is None:
                continue
            unit = metrics[name]["unit"]
            value = f"{number(estimate['value'], unit):>10}"
            if estimate["low"] is not None or estimate["high"] is not None:
                ends = " to ".join(number(estimate[end], unit) for end in ("low", "high"))
                value += f"  [{ends}]" + (f"  p {estimate['p']:.3f}" if estimate["p"] is not None else "")
            lines.append(f"  {metrics[name]['title']:38}{value}  {plain(estimate['reason'])}".rstrip())
    return "\n".join(lines)
