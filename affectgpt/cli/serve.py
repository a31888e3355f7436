"""`affectgpt serve`: the gateway, its models and its page, until it is stopped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from affectgpt.cli import feedback, keys
from affectgpt.cli.flags import remember_debug, takes
from affectgpt.cli.plain import plain
from affectgpt.cli.progress import open_display

__all__ = ["app"]

app = typer.Typer(
    help="Serve the API and the chat page; keys: who may call.", invoke_without_command=True, no_args_is_help=False
)
app.add_typer(keys.app, name="keys")
app.command()(feedback.feedback)

_WHO = "Who answers"
_WHERE = "Where it listens, and to whom"
_KEPT = "What is kept, and for how long"


@dataclasses.dataclass(frozen=True, slots=True)
class ServeFlags:
    """Every option of `affectgpt serve`; None leaves it to the environment and the default."""

    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="127.0.0.1 unless told.", rich_help_panel=_WHERE)
    ] = None
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="8000 unless told; 0: a free one.", rich_help_panel=_WHERE)
    ] = None
    keys_file: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="The file of hashed API keys.", rich_help_panel=_WHERE),
    ] = None
    context: Annotated[
        Literal["workplace", "education"] | None,
        typer.Option(
            "--context",
            help="A place where face and voice must not be read for emotion (EU AI Act, Art. 5(1)(f)): words only.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="HOST",
            help="Media may be fetched from there.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    local_only: Annotated[
        bool | None,
        typer.Option(
            "--local-only", help="Refuse settings by which anything leaves this machine.", rich_help_panel=_WHERE
        ),
    ] = None
    page: Annotated[bool | None, typer.Option("--page/--no-page", help="The chat page.", rich_help_panel=_WHERE)] = None
    engine: Annotated[
        Literal["auto", "local", "http", "echo"] | None,
        typer.Option("--engine", help="A model here, a server, or a canned answer.", rich_help_panel=_WHO),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="An OpenAI-compatible server.", rich_help_panel=_WHO),
    ] = None
    api_key: Annotated[
        str | None, typer.Option("--api-key", metavar="KEY", help="That server's key.", rich_help_panel=_WHO)
    ] = None
    launch: Annotated[
        bool | None, typer.Option("--launch", help="Start a vLLM server, and stop it again.", rich_help_panel=_WHO)
    ] = None
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Writes the replies.", rich_help_panel=_WHO)
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            metavar="NAME",
            help="Writes the explanations: a folder, or a server's name for one.",
            rich_help_panel=_WHO,
        ),
    ] = None
    fusion: Annotated[
        Path | None,
        typer.Option(
            "--fusion",
            metavar="FOLDER",
            help="Adapters that show the model face and voice as soft tokens, where a client asks for that path.",
            rich_help_panel=_WHO,
        ),
    ] = None
    persona: Annotated[
        str | None,
        typer.Option(
            "--persona",
            metavar="NAME",
            help="How replies are spoken unless a client says otherwise: warm, calm, lively, or a YAML file.",
            rich_help_panel=_WHO,
        ),
    ] = None
    whisper: Annotated[
        str | None, typer.Option("--whisper", metavar="MODEL", help="Recognises the words.", rich_help_panel=_WHO)
    ] = None
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="Conversations: a SQLAlchemy URL.", rich_help_panel=_KEPT),
    ] = None
    retain: Annotated[
        bool | None,
        typer.Option("--retain", help="Keep uploads after the answer, until --ttl is over.", rich_help_panel=_KEPT),
    ] = None
    ttl: Annotated[
        float | None,
        typer.Option("--ttl", metavar="S", help="Seconds until whatever was uploaded goes.", rich_help_panel=_KEPT),
    ] = None
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)] = (
        False
    )

    def given(self) -> dict[str, object]:
        """The same by the names of the settings."""
        names = {"keys_file": "keys", "ttl": "ttl_s"}
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "debug"}
        values["allow_host"] = tuple(self.allow_host) if self.allow_host else None
        return {names.get(name, name): value for name, value in values.items()}


@app.callback()
@takes(ServeFlags)
def serve(ctx: typer.Context, flags: ServeFlags) -> None:
    """Serve the API and the chat page. Every option is also a variable: AFFECTGPT_SERVE_PORT and so on."""
    if ctx.invoked_subcommand is not None:
        return
    from serve.running import open_server
    from serve.settings import read_settings

    settings = read_settings(**flags.given())
    with open_display(silent=False) as progress:
        address, run = open_server(settings, progress)
    typer.echo(f"affectgpt serves at {plain(address)}", err=True)
    run()
