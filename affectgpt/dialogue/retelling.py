"""What is remembered, told shorter by a language model, where one is asked to, and held against what was said.

A model that shortens may invent. What it wrote is taken only where every number and name, and most of its words, stand
in the sentences that it was given; else the sentences themselves remain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from affectgpt.dialogue.memory import count_tokens, remember
from affectgpt.dialogue.records import Line, Memory
from affectgpt.errors import EngineError
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Sampling

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["PROMPT_ID", "is_told_in", "retold"]

PROMPT_ID: Final = "remember"
WIDER: Final = 4
"""How many times the budget is picked before it is told shorter."""
SAID: Final = 0.7
"""Share of a retelling's longer words that must stand in what was said: the rest is grammar ("they told that …")."""
_WORD = re.compile(r"[^\W\d_]{4,}")
_FIGURE = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[^\W_] )[A-ZÀ-Þ][^\W\d_]+")


def retold(lines: Sequence[Line], budget_tokens: int, engine: Engine, prompts: PromptLibrary) -> Memory:
    """`remember`, with more picked out and told within the same budget; the plain memory where that fails.

    Raises:
        PromptError: a prompt that does not take these variables.
    """
    plain = remember(lines, budget_tokens)
    wide = remember(lines, WIDER * budget_tokens)
    if (wide.facts, wide.feelings) == (plain.facts, plain.feelings):
        return plain
    sentences = [*wide.facts, *wide.feelings]
    prompt = prompts.get(PROMPT_ID).render(sentences="\n".join(f"- {s}" for s in sentences))
    try:
        written = engine.generate([prompt], Sampling(max_tokens=budget_tokens))[0].text
    except EngineError:
        return plain
    told = tuple(line for row in written.splitlines() if (line := row.strip(" -*•\t")))
    n_tokens = sum(map(count_tokens, told))
    if not told or n_tokens > budget_tokens or not all(is_told_in(line, sentences) for line in told):
        return plain
    return replace(plain, facts=told, feelings=(), n_tokens=n_tokens, is_retold=True)


def is_told_in(line: str, sentences: Sequence[str]) -> bool:
    """Whether a line says nothing but what the sentences say, as far as words, names and figures tell."""
    source = " ".join(sentences)
    known = {w.lower() for w in _WORD.findall(source)}
    words = {w.lower() for w in _WORD.findall(line)}
    figures = set(_FIGURE.findall(line)) <= set(_FIGURE.findall(source))
    names = {n.lower() for n in _NAME.findall(line)} <= {w.lower() for w in re.findall(r"[^\W\d_]+", source)}
    return figures and names and len(words & known) >= SAID * len(words)
