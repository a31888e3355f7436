"""`affectgpt doctor`: what is installed and at hand, and what to do about what is not."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Annotated

import typer

from affectgpt.cli.plain import plain

if TYPE_CHECKING:
    from affectgpt.doctor import Diagnosis

__all__ = ["doctor"]


def doctor(json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead.")] = False) -> None:
    """Say what is installed, which readers and models are at hand, under which licences, and how much disk is left.

    Exits 0 when `affectgpt explain` can run, else 1.
    """
    from affectgpt.doctor import examine, to_json

    typer.echo("loading every package, some 20 s …", err=True)
    diagnosis = examine()
    if json:
        typer.echo(json_format.dumps(to_json(diagnosis), indent=2, ensure_ascii=True))
    else:
        _show(diagnosis)
    raise typer.Exit(0 if diagnosis.is_able else 1)


_MARKS = {"ok": ("✓", "green"), "absent": ("–", "dim"), "broken": ("✗", "red")}


def _show(diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    group = ""
    for finding in diagnosis.findings:
        if finding.group != group:
            group = finding.group
            console.print(Text(f"\n{group.capitalize()}" if group != "system" else "System", "bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, width=24)
        table.add_column(overflow="fold")
        told = Text(plain(finding.detail))
        if finding.licence:
            told.append(f"  {plain(finding.licence)}", "dim")
        if finding.remedy:
            told.append(f"\n→ {plain(finding.remedy)}", "yellow")
        table.add_row(Text(*_MARKS[finding.state.value]), Text(plain(finding.name)), told)
        console.print(table)
    able = "explain can run" if diagnosis.is_able else "explain cannot run as it is: see ✗"
    console.print(Text(f"\n{able}", "bold green" if diagnosis.is_able else "bold red"))
