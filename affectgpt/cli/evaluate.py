"""`affectgpt evaluate`: run a suite, score it again, or compare two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affectgpt.cli.flags import remember_debug
from affectgpt.cli.plain import plain
from affectgpt.errors import OptionError

if TYPE_CHECKING:
    from affectgpt.evaluation.task import Progress

__all__ = ["evaluate"]


def evaluate(
    suite: Annotated[
        Path | None, typer.Argument(metavar="SUITE", help="Tasks in YAML; see examples/suites.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Where its paths start; default: the suite's folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where results go; default: runs/SUITE.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="N examples a task, drawn by the suite's seed.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again instead of going on with older samples.")] = False,
    rescore: Annotated[
        bool, typer.Option("--rescore", help="Score the stored samples again; nobody is asked.")
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Two output folders: A minus B, by a paired bootstrap."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)
    ] = False,
) -> None:
    """Measure predictors against labels: every figure with its interval, a constant and the majority beside it."""
    from affectgpt.evaluation import run
    from affectgpt.evaluation.suite import load_suite
    from affectgpt.evaluation.task import Place

    if (suite is None) == (compare is None):
        raise OptionError("give either a suite or --compare with two folders", "see affectgpt evaluate --help")
    if compare is not None:
        compared = run.compare(*compare)
        typer.echo(json.dumps(compared, indent=1) if as_json else _compared(compared))
        return
    assert suite is not None
    if fresh and rescore:
        raise OptionError("--fresh and --rescore together", "one asks again, the other asks nobody")
    loaded = load_suite(suite)
    place = Place(data or suite.parent, out or Path("runs") / suite.stem, limit, fresh)
    place.out.mkdir(parents=True, exist_ok=True)
    report = run.rescore_suite(loaded, place) if rescore else run.run_suite(loaded, place, None if quiet else _told())
    typer.echo(json.dumps(report, indent=1) if as_json else _shown(report))
    typer.echo(f"report written to {plain(str(place.out / 'report.html'))}", err=True)


def _told() -> Progress:
    """Progress on stderr: one line that counts on a terminal, a line every half minute and at the end in a log."""
    import sys
    import time

    began: dict[str, tuple[float, int]] = {}
    told: dict[str, float] = {}

    def tell(task: str, done: int, asked: int) -> None:
        now, is_terminal = time.monotonic(), sys.stderr.isatty()
        start_s, before = began.setdefault(task, (now, done - 1))
        due = now - told.get(task, start_s) >= (0.2 if is_terminal else 30.0)
        if not due and done < asked:
            return
        told[task] = now
        left_s = (now - start_s) / max(1, done - before) * (asked - done)
        line = f"{plain(task)}: {done} of {asked}" + (f", about {_spell(left_s)} left" if done < asked else "")
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if done >= asked else "") if is_terminal else line + "\n")
        sys.stderr.flush()

    return tell


def _spell(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _shown(report: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for task in report["tasks"]:
        c = task["counts"]
        lines += [
            f"{plain(task['task'])}   ({plain(task['predictor'])})",
            *([f"  {plain(task['origin'])}"] if task["origin"] else []),
            f"  {c['asked']} asked = {c['scored']} scored + {c['unparsed']} unparsed + {c['failed']} failed",
            *(f"    {n} x {plain(reason)}" for reason, n in list(c["reasons"].items())[:8]),
            f"  {'':32} {'this run':24} {'constant':>10} {'majority':>10}",
            *(_line(f) for f in task["figures"]),
        ]
        if task["conformal"]:
            told = ", ".join(f"{f['name']} {_number(f)}" for f in task["conformal"]["figures"])
            lines.append(f"  conformal sets at {task['conformal']['asked_coverage']:.0%}: {told}")
        for g in task["groups"]:
            gaps = ", ".join(f"{name} {_number(f)}" for name, f in g["gap"].items())
            lines.append(
                f"  gap by {plain(g['column'])}, {len(g['groups'])} groups: {gaps or 'no group is large enough'}"
            )
        lines.append("")
    return "\n".join(lines).rstrip()


def _line(f: Mapping[str, Any]) -> str:
    constant, majority = (_number(f[k] and f[k] | {"low": None}) for k in ("constant", "majority"))
    arrow = "" if f["higher_is_better"] else " (less is better)"
    note = f"  {plain(f['note'])}" if f["note"] else ""
    return f"  {f['name'] + arrow:32} {_number(f):24} {constant:>10} {majority:>10}{note}"


def _number(f: Mapping[str, Any] | None) -> str:
    from affectgpt.evaluation.page import number

    return number(f)


def _compared(found: Mapping[str, Any]) -> str:
    lines = [f"{plain(found['a'])} minus {plain(found['b'])}"]
    for task in found["tasks"]:
        lines.append(f"{plain(task['task'])}, {task['n_shared']} samples in both")
        apart = task["only_in_a"] + task["only_in_b"] + len(task["gold_differs"])
        if apart:
            lines.append(f"  {apart} left out: asked in one run only, or with another gold")
        for row in task["differences"]:
            p = "" if row["p"] is None else f"  p {row['p']:.3f}"
            lines.append(f"  {row['figure']['name']:32} {_number(row['figure'])}{p}")
    return "\n".join(lines)
