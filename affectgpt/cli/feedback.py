"""`affectgpt serve feedback`: corrected answers out of the store, as JSON lines that `affectgpt data build` reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from affectgpt.cli.flags import remember_debug

__all__ = ["feedback"]


def feedback(
    database: Annotated[
        str, typer.Option("--database", envvar="AFFECTGPT_SERVE_DATABASE", help="Where conversations are kept.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write there instead of stdout.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback.", callback=remember_debug)] = False,
) -> None:
    """Write the corrections whose givers agreed that they be reused: observations and the right label, no messages.

    Then `affectgpt data build corrected data=FOLDER` makes rows of FOLDER/corrections.jsonl.
    """
    from serve.store import open_store

    with open_store(database, must_exist=True) as store:
        if out is None:
            sys.stdout.writelines(store.corrections())
            return
        n_lines = 0
        with out.open("w", encoding="utf-8") as file:
            for line in store.corrections():
                file.write(line)
                n_lines += 1
    typer.echo(f"{n_lines} corrections", err=True)
