"""Rows from dialogues: what caused a feeling, an empathetic reply, a support strategy and what is said by it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from affectgpt.textualize.speech import clean_quote
from instruction_data.drafts import Draft, Workbench, of_said

__all__ = ["cause", "reply", "strategy"]

LONGEST_DIALOGUE = 12
"""Lines of a dialogue that are shown, the latest."""
_CALM = frozenset({"neutral", "no emotion"})


def cause(rng: random.Random, bench: Workbench) -> Draft | None:
    """RECCON: the spans that raters marked as the cause of the last line's feeling, copied from the dialogue."""
    if not (pool := bench.pool("reccon")):
        return None
    said = rng.choice(pool)
    example = said.example
    if not example.spans or example.label in _CALM or example.label is None:
        return None
    lines = [clean_quote(t) for t in (*example.context, said.text)][-LONGEST_DIALOGUE:]
    spans = list(dict.fromkeys(clean_quote(s) for s in example.spans))
    # A span outside the lines shown could not be copied from them.
    if not all(any(span in line for line in lines) for span in spans):
        return None
    names = "AB" if len(lines) % 2 else "BA"
    dialogue = "\n".join(f"{names[i % 2]}: {line}" for i, line in enumerate(lines))
    prompt = bench.prompts.get("cause").render(dialogue=dialogue, emotion=example.label)
    return of_said(said, prompt, "\n".join(f'"{span}"' for span in spans), *example.context)


def reply(rng: random.Random, bench: Workbench) -> Draft | None:
    """EmpatheticDialogues: what the listener answered."""
    if not (pool := bench.pool("empathetic_dialogues")):
        return None
    said = rng.choice(pool)
    example = said.example
    if not example.references:
        return None
    lines = [*example.context, said.text][-LONGEST_DIALOGUE:]
    # The last line is the speaker's, and the two take turns.
    roles = ["speaker" if (len(lines) - i) % 2 else "listener" for i in range(len(lines))]
    prompt = bench.prompts.get("reply").render(dialogue=_dialogue(roles, lines))
    return of_said(said, prompt, _tidy(example.references[0]), *example.context, example.references[0])


def strategy(rng: random.Random, bench: Workbench) -> Draft | None:
    """ESConv: the supporter's strategy, and what was said by it."""
    if not (pool := bench.pool("esconv")):
        return None
    said = rng.choice(pool)
    example = said.example
    split = [line.partition(": ") for line in example.context]
    dialogue = _dialogue([who for who, _, _ in split], [text for _, _, text in split])
    prompt = bench.prompts.get("strategy").render(dialogue=dialogue)
    answer = f"Strategy: {example.label}\nReply: {_tidy(example.references[0])}"
    return of_said(said, prompt, answer, *(text for _, _, text in split), example.references[0])


def _dialogue(roles: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join(f"{role}: {clean_quote(line)}" for role, line in zip(roles, lines, strict=True))


def _tidy(text: str) -> str:
    """One line; "I'm ok,thanks" gets its space."""
    return re.sub(r",(?=[A-Za-z])", ", ", clean_quote(text).replace(" ,", ","))
