"""A conversation as a file: Markdown to read, JSON with every step. It appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from affectgpt.cli.chat.displays import spoken_json
from affectgpt.cli.chat.talk import Spoken, Talk
from affectgpt.errors import InputError, OptionError, OutputError
from affectgpt.record_json import NOTICE
from affectgpt.report.chain import chain_steps
from affectgpt.report.parts import write_page
from affectgpt.report.quoting import inert, quoted

__all__ = ["SUFFIXES", "save"]

SUFFIXES = (".md", ".json")


def save(path: Path, talk: Talk, model: str, own: frozenset[Path] = frozenset()) -> Path:
    """Write the conversation so far; the absolute path that it lies at.

    `model` wrote the replies. `own` are files that this conversation was saved to before, which may be replaced.

    Raises:
        OptionError: a name of neither form. InputError: nothing to save, or a file that is there already.
        OutputError: it cannot be written.
    """
    whole = path.expanduser().absolute()
    if whole.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{path} ends in neither {' nor '.join(SUFFIXES)}", "name it like talk.md or talk.json")
    if not talk.spoken:
        raise InputError("nothing was said yet", "save it after a turn")
    if whole.exists() and whole not in own:
        raise InputError(f"{path} is there already", "choose another name: nothing of yours is written over")
    text = _json(talk, model) if whole.suffix.lower() == ".json" else "\n".join(_markdown(talk, model)) + "\n"
    try:
        write_page(whole, text)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error})", "choose another place") from error
    return whole


def _json(talk: Talk, model: str) -> str:
    document = {
        "schema_version": "1",
        "ai_generated": True,
        "notice": NOTICE,
        "model": model,
        "locale": talk.locale,
        "turns": [spoken_json(spoken) for spoken in talk.spoken],
    }
    # Escaped to ASCII: a lone surrogate of somebody's paste has no place in UTF-8.
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _markdown(talk: Talk, model: str) -> Iterator[str]:
    yield f"# A conversation with affectgpt\n\n*{NOTICE}*\n"
    for number, spoken in enumerate(talk.spoken, 1):
        yield from _told(number, spoken, model)


def _told(number: int, spoken: Spoken, model: str) -> Iterator[str]:
    turn = spoken.turn
    yield f"## {number}. You\n\n{quoted(turn.words)}"
    if spoken.clip:
        yield f"With the clip {inert(spoken.clip)}.\n"
    if turn.card:
        yield f"### Help from people\n\n{quoted(turn.card)}"
    if turn.reply.text:
        by = f"AI, model {inert(model)}" if turn.reply.by == "engine" else "AI, a fixed text"
        note = f"\n*{inert(turn.reply.note)}*\n" if turn.reply.note else ""
        yield f"### Answer by {by}\n\n{quoted(turn.reply.text)}{note}"
    for step in chain_steps(spoken_json(spoken)):
        yield f"#### {step.title}\n\n" + "".join(f"- {inert(line)}\n" for line in step.lines)
