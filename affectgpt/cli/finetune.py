"""`affectgpt finetune`: train an adapter by a recipe, look before training, and hand the result on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from affectgpt.cli.flags import remember_debug
from affectgpt.cli.plain import plain

__all__ = ["app"]


class _TrainByDefault(TyperGroup):
    """`affectgpt finetune RECIPE` is `affectgpt finetune train RECIPE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["train", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_TrainByDefault,
    no_args_is_help=True,
    help="Train an adapter: finetune RECIPE key=value …; RECIPE is a YAML file or a preset, see `finetune keys`.",
)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or a preset's name.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Overrides; `finetune keys` lists all.")
]
Folder = Annotated[Path, typer.Argument(metavar="ADAPTER", help="A sealed adapter folder.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew; removes an older run in the same folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=remember_debug)]


@app.command()
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train; an unfinished run of the same recipe is gone on with."""
    from finetune.config import load_recipe
    from finetune.train import train as run

    folder = run(load_recipe(recipe, overrides or ()), fresh=fresh, tell=None if quiet else _tell)
    typer.echo(plain(str(folder)))


@app.command()
def check(recipe: RecipeArgument, overrides: Overrides = None, debug: Debug = False) -> None:
    """Look at rows, token lengths, memory and time, and train nothing."""
    from finetune.config import load_recipe
    from finetune.preflight import inspect

    for line in inspect(load_recipe(recipe, overrides or ())).lines():
        typer.echo(plain(line))


@app.command()
def fuse(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a stage of the fused path: its folder goes to `explain --path fused --fusion`; keys: `keys --fuse`."""
    from finetune.fusing.recipe import load_fusing_recipe
    from finetune.fusing.training import fuse as run

    folder = run(load_fusing_recipe(recipe, overrides or ()), fresh=fresh, tell=None if quiet else _tell)
    typer.echo(plain(str(folder)))


@app.command()
def keys(
    fuse: Annotated[bool, typer.Option("--fuse", help="Those of `finetune fuse`.")] = False,
) -> None:
    """Every key of a recipe, its default and what it does; and the presets."""
    from finetune.config import PRESETS, describe_keys, heading_of
    from finetune.fusing.recipe import PRESETS as FUSING
    from finetune.fusing.recipe import FusingRecipe

    for name, default, doc in describe_keys(FusingRecipe() if fuse else None):
        typer.echo(f"{name}={default}\n    {doc}")
    typer.echo("\nPresets:")
    for path in sorted((FUSING if fuse else PRESETS).glob("*.yaml")):
        typer.echo(f"{path.stem}\n    {heading_of(path)}")


@app.command()
def examine(
    folder: Folder,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="data=FOLDER [KEY=VALUE]…", help="dev.jsonl's folder, out=FOLDER, flips=200, …"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Rows from the beginning of the file.")] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hold an adapter to every bar on a dev set, beside the untuned model, the rows' own answers and a copier."""
    from dataclasses import replace

    from finetune.examining import examine as run
    from finetune.examining import read_examination
    from finetune.examining_page import page

    how = read_examination(overrides or ())
    report = run(folder, how if limit is None else replace(how, limit=limit), tell=None if quiet else _tell)
    for line in page(report).splitlines():
        typer.echo(plain(line))


@app.command()
def export(
    folder: Folder,
    to: Annotated[Path, typer.Argument(metavar="TO", help="A new folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[dtype=…]", help="dtype=bfloat16 halves the bytes."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Copy a sealed adapter, checked against its manifest; `dtype=bfloat16` rounds it and seals it anew."""
    from affectgpt.errors import OptionError
    from finetune.exporting import export as copy

    given = dict(text.partition("=")[::2] for text in overrides or ())
    if unknown := sorted(given.keys() - {"dtype"}):
        raise OptionError(f"unknown key {unknown[0]!r}", "the only key is dtype")
    typer.echo(plain(str(copy(folder, to, given.get("dtype")))))


@app.command()
def merge(
    folder: Folder,
    to: Annotated[Path, typer.Argument(metavar="TO", help="A new folder.")],
    model: Annotated[str | None, typer.Option("--model", help="The base; default: what the manifest names.")] = None,
    debug: Debug = False,
) -> None:
    """Add the adapter into its base: a full model that any server can load."""
    from finetune.exporting import merge as add

    typer.echo(plain(str(add(folder, to, model))))


@app.command()
def push(
    folder: Folder,
    base_url: Annotated[str, typer.Option("--base-url", metavar="URL", help="Of a running vLLM.")],
    name: Annotated[str | None, typer.Option("--name", help="Served under this name; default: its id.")] = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="AFFECTGPT_API_KEY", help="The server's key.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Load an adapter into a running vLLM, and see that it is there."""
    from finetune.pushing import push as load

    typer.echo(plain(load(folder, base_url, name=name, api_key=api_key)))


def _tell(line: str) -> None:
    typer.echo(plain(line), err=True)
