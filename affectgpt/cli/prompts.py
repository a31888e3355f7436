"""`affectgpt prompts list | show | render`: the prompts that ship, and what a model is really asked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from affectgpt.cli.flags import SenseFlags, takes
from affectgpt.cli.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from affectgpt.records import Message

__all__ = ["app"]

app = typer.Typer(help="List, show and render the prompts.", no_args_is_help=True)


@dataclasses.dataclass(frozen=True, slots=True)
class RenderFlags:
    """Which prompt."""

    prompt_id: Annotated[str, typer.Option("--id", metavar="ID", help="The prompt, by id.")] = "explain"


@app.command("list")
def list_prompts() -> None:
    """One line a prompt: its id, its version and what it is for."""
    from affectgpt.prompting import PromptLibrary

    library = PromptLibrary()
    for template in map(library.get, library.ids()):
        typer.echo(f"{template.id}\t{template.version}\t{template.description}")


@app.command()
def show(prompt_id: Annotated[str, typer.Argument(metavar="ID", help="The prompt, by id.")]) -> None:
    """The prompt's texts with their open places."""
    from affectgpt.prompting import PromptLibrary
    from affectgpt.records import Message

    template = PromptLibrary().get(prompt_id)
    typer.echo(f"# {template.id} {template.version}, answer form {template.answer}: {template.description}")
    _print([Message("system", template.system), Message("user", template.user)])


@app.command()
@takes(SenseFlags, RenderFlags)
def render(sense: SenseFlags, chosen: RenderFlags) -> None:
    """The messages that a model would get for this clip, word for word. No model is asked."""
    from affectgpt.agent import AffectAgent
    from affectgpt.appraise.prototypes import appraise
    from affectgpt.prompting import PromptLibrary

    library = PromptLibrary()
    library.get(chosen.prompt_id)  # a wrong id should not wait for the clip
    agent = AffectAgent(None, sense.options())
    observations = agent.observe(agent.sense(sense.path))
    _print(library.render(chosen.prompt_id, observations, appraise(observations)).messages)


def _print(messages: Iterable[Message]) -> None:
    for message in messages:
        typer.echo(f"\n## {message.role}")
        for line in message.content.splitlines():
            typer.echo(plain(line))
