"""The feeling that a line tells of, by a small model and, where it is asked, a large one: HEF in full.

HEF (Yang et al. 2024, arXiv 2402.11801): the language model first decides among the small model's likeliest feelings,
and is shown the rest of them only where it answers "none of these"; the words that the small model holds for the cause
are marked in the prompt. Each part has its switch, so that it can be measured alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affectgpt.dialogue.records import Feeling
from affectgpt.errors import EngineError, OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Sampling

if TYPE_CHECKING:
    from affectgpt.dialogue.hearing import CauseWords
    from affectgpt.engines.engine import Engine

__all__ = ["FIRST", "REST", "FeelingOptions", "Question", "decide", "decide_all", "feeling_of", "marked", "named_in"]

FIRST, REST = "feeling", "feeling-rest"
"""Prompts of the two questions."""
N_ALTERNATIVES = 3
_ANSWER = Sampling(max_tokens=12)
"""The longest label has 15 letters."""
_NONE = re.compile(r"\bnone\b|\bneither\b|\bno(?:t)? (?:any|one) of\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FeelingOptions:
    """How the large model is asked.

    n_first: how many of the small model's likeliest are in the first question; 0 asks for all labels at once (one
    stage). marks_causes: whether cause words are starred. sure: the probability from which a word is one.
    n_marked: words that are starred at most, the likeliest first.
    """

    n_first: int = 3
    marks_causes: bool = True
    sure: float = 0.5
    n_marked: int = 6

    def __post_init__(self) -> None:
        """Raise OptionError where a number cannot be."""
        if self.n_first < 0 or self.n_marked < 0 or not 0 <= self.sure <= 1:
            raise OptionError(f"{self}", "n_first and n_marked are 0 or more, sure is a probability")


@dataclass(frozen=True, slots=True)
class Question:
    """One line to be asked about: what was said before it (each "Name: text"), what the small model reads in it."""

    said: str
    feelings: Mapping[str, float]
    causes: CauseWords = ()
    before: tuple[str, ...] = ()
    speaker: str = "They"


def feeling_of(feelings: Mapping[str, float], label_set: str) -> Feeling:
    """The small model's own answer."""
    ranked = _ranked(feelings)
    return Feeling(ranked[0], tuple((k, feelings[k]) for k in ranked[: N_ALTERNATIVES + 1]), label_set)


def decide(
    question: Question, label_set: str, engine: Engine, prompts: PromptLibrary, options: FeelingOptions | None = None
) -> Feeling:
    """The feeling by HEF; where an answer names none, or the engine fails, the small model's with a note.

    Raises:
        PromptError: a prompt that does not take these variables.
    """
    try:
        return decide_all([question], label_set, engine, prompts, options)[0]
    except EngineError as error:
        return _noted(feeling_of(question.feelings, label_set), f"the model failed: {error}")


def decide_all(
    questions: Sequence[Question],
    label_set: str,
    engine: Engine,
    prompts: PromptLibrary,
    options: FeelingOptions | None = None,
) -> list[Feeling]:
    """`decide` for many, the first questions side by side, then the second ones.

    Raises:
        EngineError: the model failed on a batch.
    """
    options = options or FeelingOptions()
    small = [feeling_of(q.feelings, label_set) for q in questions]
    ranked = [_ranked(q.feelings) for q in questions]
    dialogues = [_dialogue(q, options) for q in questions]
    found: dict[int, Feeling] = {}
    if options.n_first:
        shown = [labels[: options.n_first] for labels in ranked]
        for k, said in enumerate(_ask(FIRST, list(zip(dialogues, shown, strict=True)), engine, prompts)):
            label = named_in(said, ranked[k])
            if label is not None:
                found[k] = _decided(small[k], label, "engine first" if label in shown[k] else "engine rest")
            elif not _NONE.search(said) or len(shown[k]) == len(ranked[k]):
                found[k] = _noted(small[k], f"the model named no feeling: {said[:60]!r}")
    left = [k for k in range(len(questions)) if k not in found]
    rest = [(dialogues[k], ranked[k][options.n_first :]) for k in left]
    for k, said in zip(left, _ask(REST, rest, engine, prompts), strict=True):
        label = named_in(said, ranked[k])
        answered = _decided(small[k], label, "engine rest") if label else None
        found[k] = answered or _noted(small[k], f"the model named no feeling: {said[:60]!r}")
    return [found[k] for k in range(len(questions))]


def marked(said: str, causes: CauseWords, options: FeelingOptions) -> str:
    """The line with its likeliest cause words in *stars*, neighbours in one pair; stars of its own are taken out."""
    line = said.replace("*", " ")
    if not options.marks_causes:
        return " ".join(line.split())
    chosen = sorted((c for c in causes if c[2] >= options.sure), key=lambda c: -c[2])[: options.n_marked]
    spans: list[tuple[int, int]] = []
    for start, end, _ in sorted(chosen):
        if spans and not line[spans[-1][1] : start].strip():
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    for start, end in reversed(spans):
        line = f"{line[:start]}*{line[start:end]}*{line[end:]}"
    return " ".join(line.split())


def named_in(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer names first; None where it names none of them or says "none of these"."""
    known = {label.lower(): label for label in labels}
    if _NONE.search(answer.split("\n")[0]):
        return None
    return next((known[w.lower()] for w in _WORD.findall(answer) if w.lower() in known), None)


def _dialogue(question: Question, options: FeelingOptions) -> str:
    return "\n".join([*question.before, f"{question.speaker}: {marked(question.said, question.causes, options)}"])


def _ask(
    prompt_id: str, asked: Sequence[tuple[str, Sequence[str]]], engine: Engine, prompts: PromptLibrary
) -> list[str]:
    """One answer for each (dialogue, labels)."""
    template = prompts.get(prompt_id)
    rendered = [template.render(dialogue=d, candidates=", ".join(labels)) for d, labels in asked]
    return [c.text.strip() for c in engine.generate(rendered, _ANSWER)] if rendered else []


def _ranked(feelings: Mapping[str, float]) -> list[str]:
    return sorted(feelings, key=lambda label: -feelings[label])


def _decided(small: Feeling, label: str, by: str) -> Feeling:
    return Feeling(label, small.alternatives, small.label_set, by)  # type: ignore[arg-type]


def _noted(small: Feeling, note: str) -> Feeling:
    return Feeling(small.label, small.alternatives, small.label_set, "words", note)
