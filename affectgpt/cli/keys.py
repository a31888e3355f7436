"""`affectgpt serve keys`: make, list and revoke the API keys that a server lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affectgpt.cli.flags import remember_debug
from affectgpt.cli.plain import plain

__all__ = ["app"]

app = typer.Typer(help="API keys: add, list, revoke.", no_args_is_help=True)

_FILE = typer.Option("--keys", metavar="FILE", envvar="AFFECTGPT_SERVE_KEYS", help="The file of hashed keys.")
_DEBUG = typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom or what the key is for.")],
    keys: Annotated[Path, _FILE],
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, help="Requests in any minute; 60 by default.")
    ] = None,
    media_s_per_hour: Annotated[
        int | None, typer.Option("--media-seconds-per-hour", min=1, help="Media in any hour; 3600 s by default.")
    ] = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", metavar="KEY", help="Take over a key's conversations; it is revoked.")
    ] = None,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Make a key and show it, this once. A server that runs knows it from its next request on."""
    from serve.api.keys import KeyLimits, KeyRing

    ring = KeyRing(keys)
    given = {"requests_per_minute": requests_per_minute, "media_s_per_hour": media_s_per_hour}
    told = {limit: value for limit, value in given.items() if value is not None}
    key, secret = ring.add(name, KeyLimits(**told) if told else None, replaces)
    typer.echo(secret)
    typer.echo(f"{plain(key.name)}: {key.shown} in {plain(str(keys))}; it is not shown again", err=True)


@app.command(name="list")
def show(keys: Annotated[Path, _FILE], debug: Annotated[bool, _DEBUG] = False) -> None:
    """Show every key's beginning, name, limits, and when it was made or revoked."""
    from serve.api.keys import KeyRing

    for key in KeyRing(keys).all():
        state = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "active"
        limits = f"{key.limits.requests_per_minute} requests/min, {key.limits.media_s_per_hour} s media/h"
        typer.echo(f"{key.shown}  {plain(key.name)}  {key.created:%Y-%m-%d}  {state}  {limits}")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's beginning, as `list` shows it.")],
    keys: Annotated[Path, _FILE],
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Let a key in no longer, from the next request on."""
    from serve.api.keys import KeyRing

    gone = KeyRing(keys).revoke(key)
    typer.echo(f"{plain(gone.name)}: {gone.shown} is revoked")
