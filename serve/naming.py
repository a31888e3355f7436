"""The client's own names of its files wherever this server's paths would be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from affectgpt.errors import AffectError
from affectgpt.records import Outcome
from serve.events import TurnRequest

__all__ = ["named", "nameless", "naming"]


def named(text: str, request: TurnRequest) -> str:
    """A text with the client's own names of its files where this server's paths stood."""
    for attachment in request.attachments:
        text = text.replace(str(attachment.path), attachment.name)
    return text


@contextmanager
def naming(request: TurnRequest) -> Iterator[None]:
    """The same for what is raised."""
    try:
        yield
    except AffectError as error:
        error.what = named(error.what, request)
        error.args = (named(str(error), request),)
        raise


def nameless(outcome: Outcome, request: TurnRequest) -> Outcome:
    """An outcome that does not tell where the clip lay."""
    clips = [a for a in request.attachments if a.kind != "transcript"]
    if outcome.clip is None or not clips:
        return outcome
    return replace(outcome, clip=replace(outcome.clip, path=Path(clips[0].name)))
