"""The command line. Every command is a file of its own; what is heavy is imported when a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from affectgpt.cli import (
    batch,
    chat,
    data,
    doctor,
    evaluate,
    explain,
    finetune,
    perspective,
    plan,
    prompts,
    serve,
    trends,
)
from affectgpt.cli.guard import GuardedGroup

__all__ = ["app", "main"]

app = typer.Typer(
    name="affectgpt",
    cls=GuardedGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(explain.explain)
app.command()(explain.observe)
app.command()(chat.chat)
app.command()(batch.batch)
app.command()(plan.plan)
app.command()(perspective.perspective)
app.add_typer(prompts.app, name="prompts")
app.command()(evaluate.evaluate)
app.add_typer(finetune.app, name="finetune")
app.add_typer(data.app, name="data")
app.add_typer(serve.app, name="serve")
app.command()(trends.trends)
app.command()(doctor.doctor)


def _show_version(value: bool) -> None:
    if value:
        from affectgpt.versions import own_version

        typer.echo(f"affectgpt {own_version()}")
        raise typer.Exit


@app.callback()
def affectgpt(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a clip, a voice, a photograph or a transcript to a grounded account of what a person seems to feel.

    Results describe how a person seems, never what they truly feel, and must not decide anything about anybody.
    """


def main() -> None:
    """Run the command line; the console script's entry point."""
    app()
