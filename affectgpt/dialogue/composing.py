"""The prompt of a reply, and what stands in its place where no model writes one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from affectgpt.dialogue.memory import recent
from affectgpt.dialogue.persona import Persona
from affectgpt.dialogue.records import Asked, Line, OwnEmotion, StrategyChoice, Understanding
from affectgpt.dialogue.speakers import PERSON, lines_of
from affectgpt.dialogue.strategies import asks
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Message, Prompt

__all__ = ["PROMPT_ID", "respond_prompt", "stand_in", "understood_lines"]

PROMPT_ID: Final = "respond"
N_OBSERVED = 6
"""Observations shown to the writer: the first ones, which the caller ranked."""
LONGEST_WISHES = 2_000
"""Characters of a client's own wishes that are read."""
LONGEST_WORDS = 6_000
"""Characters of a turn that the writer is shown: its first third and its last two thirds, where it is longer."""
Role = Literal["user", "assistant"]
_PREFIX: Final[Mapping[Role, str]] = {"user": "They", "assistant": "You"}
_INTENSITY: Final = ((0.34, "slightly"), (0.67, "moderately"), (1.01, "strongly"))


def respond_prompt(
    prompts: PromptLibrary,
    asked: Asked,
    understanding: Understanding | None,
    choice: StrategyChoice,
    manner: tuple[Persona, OwnEmotion],
    dialogue_tokens: int,
) -> Prompt:
    """What the writer of the reply is asked: the end of the dialogue within the budget, and all that was made of it.

    Raises:
        PromptError: a prompt that does not take these variables.
    """
    persona, own = manner
    memory = understanding.memory if understanding else None
    remembered = [*memory.facts, *memory.feelings] if memory else []
    rendered = prompts.get(PROMPT_ID).render(
        dialogue="\n".join(_dialogue(asked, dialogue_tokens)),
        manner=persona.manner,
        tone=own.tone,
        strategy=asks(choice.chosen),
        understood="\n".join(understood_lines(understanding)) or "nothing",
        remembered="\n".join(_one_line(r) for r in remembered) or "nothing",
        observed="\n".join(_one_line(o) for o in asked.observed[:N_OBSERVED]) or "nothing",
        wishes=_one_line(asked.wishes)[:LONGEST_WISHES] or "nothing",
    )
    system, script = rendered.messages
    return replace(rendered, messages=(system, *_as_chat(script.content)))


def understood_lines(understanding: Understanding | None) -> list[str]:
    """The understanding in words. Where the person said how they are, that alone: no reading beside it."""
    if understanding is None:
        return []
    lines = []
    if understanding.self_report:
        lines.append(f"They say that they are {_one_line(understanding.self_report)}.")
    else:
        word = next(word for most, word in _INTENSITY if understanding.intensity < most)
        others = [k for k, _ in understanding.feeling.alternatives if k != understanding.feeling.label][:2]
        rest = f", or {' or '.join(others)}" if others else ""
        lines.append(f"They may be {understanding.feeling.label}{rest}, {word} moved.")
    if understanding.cause is not None:
        cause = _one_line(understanding.cause.text)[:200].strip(' .,;:!?…"“”')
        lines.append(f"It may be about “{cause}”.")
    lines.append(f"They seem to ask for: {understanding.need.value}.")
    for state in understanding.speakers[1:4]:
        if state.speaker != PERSON:
            lines.append(f"{_one_line(state.speaker)} may be feeling {state.top}.")
    return lines


def stand_in(locale: str, understanding: Understanding | None, reason: Literal["down", "empty", "no words"]) -> str:
    """What is said where no model wrote anything: that it did not, what was understood, and what they can do.

    In the locale's language where there are words for it, else in English. What was understood is told in the person's
    own words.
    """
    language = locale.replace("_", "-").split("-")[0].lower()
    table = _texts()
    words = table.get(language, table["en"])
    said = [words[reason.replace(" ", "_")]]
    if reason == "down" and understanding is not None:
        if understanding.self_report:
            said.append(words["reported"].format(report=_one_line(understanding.self_report)))
        elif understanding.cause is not None and understanding.intensity >= _INTENSITY[0][0]:
            said.append(words["about"].format(cause=_one_line(understanding.cause.text)[:120]))
    if reason == "down":
        said.append(words["meanwhile"])
    return " ".join(said)


def _dialogue(asked: Asked, budget_tokens: int) -> list[str]:
    """The last lines that fit, from one of the person's on."""
    own = [Line(line.speaker, _shortened(line.text)) for line in lines_of(asked.words)]
    lines: Sequence[Line] = [*asked.history, *own]
    kept = list(lines[-max(recent(lines, budget_tokens), len(own)) :])
    while len(kept) > len(own) and kept[0].is_agent:
        del kept[0]  # an answer whose question is out of sight
    return [_line(line) for line in kept]


def _line(line: Line) -> str:
    text = _one_line(line.text) or "(no words)"
    if line.is_agent:
        return f"You: {text}"
    return f"They: {text}" if line.speaker == PERSON else f"They: {_one_line(line.speaker)} said: {text}"


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_WORDS:
        return text
    third = LONGEST_WORDS // 3
    return f"{text[:third]} … {text[-2 * third :]}"


def _as_chat(script: str) -> list[Message]:
    """Lines of a dialogue as messages that alternate, as many chat templates demand."""
    roles: dict[str, Role] = {name: role for role, name in _PREFIX.items()}
    chat: list[Message] = []
    for line in script.splitlines():
        speaker, _, text = line.partition(": ")
        role = roles[speaker]
        if chat and chat[-1].role == role:
            chat[-1] = Message(role, f"{chat[-1].content}\n{text}")
        else:
            chat.append(Message(role, text))
    return chat


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _texts() -> dict[str, Any]:
    table = tomllib.loads(files("affectgpt").joinpath("data/reply_texts.toml").read_text("utf-8"))
    return {language: row for language, row in table.items() if isinstance(row, dict)}
