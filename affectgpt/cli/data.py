"""`affectgpt data`: build instruction rows from a recipe, look at them, export them, count what is in them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from affectgpt.cli.flags import remember_debug
from affectgpt.cli.plain import plain

__all__ = ["app"]

app = typer.Typer(help="Instruction rows: build, show, export, card.", no_args_is_help=True)

_FOLDER = typer.Argument(metavar="FOLDER", help="A data set that `data build` made.", show_default=False)
_DEBUG = typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the recipe, nested ones with dots.", show_default=False),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, over what the folder holds.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Build a data set. A build that was stopped goes on where it stood; the same recipe gives the same rows."""
    from instruction_data.build import build as make
    from instruction_data.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    out = make(loaded, (lambda stage, done, wanted: None) if quiet else Meter(), fresh)
    typer.echo(f"{plain(str(out))}: " + ", ".join(f"{n} {split}" for split, n in loaded.rows.items()) + "; see card.md")


@app.command()
def signals(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the recipe, nested ones with dots.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Build scenes with the features of their faces and voices, for the fused path; what was encoded is kept."""
    from instruction_data.signals.build import build_signals
    from instruction_data.signals.recipe import load_signal_recipe

    loaded = load_signal_recipe(recipe, overrides or [])
    out = build_signals(loaded, (lambda stage, done, wanted: None) if quiet else Meter())
    typer.echo(f"{plain(str(out))}: see card.md")


@app.command()
def show(
    data: Annotated[Path, _FOLDER],
    split: Annotated[str, typer.Option("--split", help="train, dev or test.")] = "train",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Page through rows with their evidence in a browser, keep or drop each; dropped rows leave the file at the end.

    The page is served to this machine alone, under an address that cannot be guessed.
    """
    from instruction_data.browse import Browser

    browser = Browser(data, split)
    with browser.serve(port) as url:
        typer.echo(f"{url}\nctrl-C ends it and takes the dropped rows out.", err=True)
        try:
            browser.wait()
        except KeyboardInterrupt:
            typer.echo("", err=True)
    n = browser.save()
    typer.echo(f"{n} rows taken out of {plain(str(browser.path))}")


@app.command()
def export(
    data: Annotated[Path, _FOLDER],
    tool: Annotated[str, typer.Option("--to", help="llamafactory, ms-swift, trl, axolotl or parquet.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where its files go.")],
    name: Annotated[str, typer.Option("--name", help="What the data set is called there.")] = "affectgpt",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Write a data set in the files that another trainer expects."""
    from instruction_data.exports import export as write

    for path in write(tool, data, out, name):
        typer.echo(plain(str(path)))


@app.command()
def card(
    data: Annotated[Path, _FOLDER],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead.")] = False,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Count a data set again, write its card and print it."""
    from instruction_data.card import write_card

    written = write_card(data)
    typer.echo((written.with_suffix(".json") if as_json else written).read_text("utf-8"), nl=False)


class Meter:
    """Progress as one line on stderr, with the rate and the time left; in a log, a line each half minute."""

    def __init__(self) -> None:
        self._stage, self._begun, self._first, self._told = "", 0.0, 0, 0.0

    def __call__(self, stage: str, done: int, wanted: int) -> None:
        """Told by the build."""
        now = time.monotonic()
        if stage != self._stage:
            if self._stage and sys.stderr.isatty():
                sys.stderr.write("\n")
            self._stage, self._begun, self._first, self._told = stage, now, done, 0.0
        every_s = 0.2 if sys.stderr.isatty() else 30.0
        if now - self._told < every_s and done < wanted:
            return
        self._told = now
        rate = (done - self._first) / max(now - self._begun, 1e-6)
        left = f", {rate:.0f}/s, {_clock((wanted - done) / rate)} left" if rate > 0 and done < wanted else ""
        line = f"{plain(stage)}: {done} of {wanted}{left}"
        sys.stderr.write(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
