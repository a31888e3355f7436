"""A second look: sentences of an interpretation that the evidence contradicts are asked again, or withdrawn.

An engine that can go on from an opening writes each contradicted sentence anew, from the words before it; the rest of
the answer, its conclusion too, stays as it was. Any other engine writes a whole answer anew, and the
one with the fewest faults is kept. What is contradicted even then is withdrawn from the interpretation. Nothing is
hidden: the first answer's text and grounding and every withdrawn sentence stay in the `Revision`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from affectgpt.errors import AffectError
from affectgpt.parsing import sentences
from affectgpt.records import (
    CheckedClaim,
    Completion,
    Explanation,
    Grounding,
    Prompt,
    Revision,
    Sampling,
    UnparsedAnswer,
    Verdict,
)

if TYPE_CHECKING:
    from affectgpt.engines.engine import Engine

__all__ = ["AGAIN_TEMPERATURE", "Asked", "Judge", "revise"]

AGAIN_TEMPERATURE = 0.7
"""Greedy decoding from the same words gives the same words, so asking again samples: at this temperature, or at the
caller's where that is higher."""

SENTENCE_TOKENS = 80
"""Twice the longest sentence of the composer's interpretations."""

_SENTENCE_STOPS = (". ", "\n")


class Judge(Protocol):
    """Reads a completion and checks its claims: an Explanation with its grounding, or what could not be read."""

    def __call__(self, completion: Completion) -> Explanation | UnparsedAnswer:
        """Deterministic: the same completion, the same verdicts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked: enough to ask it again."""

    engine: Engine
    prompt: Prompt
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class _Written:
    """An answer, checked, and the completion that it was read from."""

    answer: Explanation
    completion: Completion

    def rank(self) -> tuple[int, int]:
        """Lower is better: contradicted claims, then those that cite nothing."""
        grounding = _grounding(self.answer)
        return grounding.count(Verdict.CONTRADICTED), grounding.count(Verdict.UNCITED)


def revise(
    first: Explanation,
    completion: Completion,
    asked: Asked,
    judge: Judge,
    n_most: int,
    tell: Callable[[int], None] = lambda number: None,
) -> tuple[Explanation, Completion]:
    """`first`, as `judge` read it from `completion`, after asking again at most `n_most` times, with its Revision.

    `tell` hears the number of each time before it. The same arguments give the same answer as long as the engine
    does. Asking again never costs the answer there is: what fails ends it with a note, what cannot be read is passed
    over. The completion that is returned holds the final text, withdrawn sentences too, and counts all tokens.
    """
    look = _SecondLook(asked, judge, _Written(first, completion))
    opening, note, n_asked = asked.prompt.opening, "", 0
    again = look.mend if opening and completion.text.startswith(opening) else look.rewrite
    while n_asked < n_most and look.faults:
        n_asked += 1
        tell(n_asked)
        try:
            again(n_asked)
        except AffectError as error:
            note = f"asking again failed: {error.what}"
            break
    revision = Revision(n_asked, _grounding(first), first.raw, look.faults, note)
    return _withdraw(look.best.answer, revision), look.best.completion


class _SecondLook:
    """The best answer so far, and the two ways to better it."""

    def __init__(self, asked: Asked, judge: Judge, best: _Written) -> None:
        self.best = best
        self._asked = asked
        self._judge = judge

    @property
    def faults(self) -> tuple[CheckedClaim, ...]:
        """What the evidence contradicts in it."""
        return _grounding(self.best.answer).faults

    def rewrite(self, number: int) -> None:
        """A whole answer anew."""
        written = self._ask(self._asked.prompt, _sampled(self._asked.sampling, number))
        kept = self.best.completion
        self._take(replace(kept, text=written.text, finish_reason=written.finish_reason, reasoning=written.reasoning))

    def mend(self, number: int) -> None:
        """Every contradicted sentence anew, from the left, each in its place."""
        base, sampling = self._asked.prompt.opening, _sampled(self._asked.sampling, number)
        limit, stop = min(sampling.max_tokens, SENTENCE_TOKENS), (*sampling.stop, *_SENTENCE_STOPS)
        sampling = replace(sampling, max_tokens=limit, stop=stop)
        for fault in self.faults:
            spoken = [c.text for c in self.best.answer.claims if c.section == "interpretation"]
            if fault.claim.text not in spoken:  # an exchange before it can have joined it to another
                continue
            opening = base + " ".join(spoken[: spoken.index(fault.claim.text)])
            written = self._ask(replace(self._asked.prompt, opening=opening), sampling)
            sentence, said = _sentence(written, opening), {text.casefold() for text in spoken}
            if sentence and sentence.casefold() not in said:
                text = _exchange(self.best.completion.text, base, fault.claim.text, sentence)
                self._take(replace(self.best.completion, text=text))

    def _ask(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion; its tokens count in the best answer's, whatever becomes of it."""
        (written,) = self._asked.engine.generate([prompt], sampling)
        kept = self.best.completion
        counted = replace(
            kept,
            n_prompt_tokens=kept.n_prompt_tokens + written.n_prompt_tokens,
            n_completion_tokens=kept.n_completion_tokens + written.n_completion_tokens,
        )
        self.best = replace(self.best, completion=counted)
        return written

    def _take(self, completion: Completion) -> None:
        """What the completion says, where that has fewer faults."""
        answer = self._judge(completion)
        if isinstance(answer, Explanation) and (new := _Written(answer, completion)).rank() < self.best.rank():
            self.best = new


def _sampled(sampling: Sampling, number: int) -> Sampling:
    temperature = max(sampling.temperature, AGAIN_TEMPERATURE)
    return replace(sampling, temperature=temperature, seed=sampling.seed + number)


def _sentence(written: Completion, opening: str) -> str:
    """The whole sentence that goes on from the opening; empty where there is none."""
    if written.finish_reason == "length" or not written.text.startswith(opening):
        return ""
    found = sentences(written.text.removeprefix(opening))
    sentence = found[0] if found else ""
    if "**" in sentence or sentence.count('"') % 2 or sentence.count("[") != sentence.count("]"):
        return ""
    # The stop string took the full stop along.
    return sentence if not sentence or sentence[-1] in ".!?" else f"{sentence}."


def _exchange(text: str, base: str, old: str, new: str) -> str:
    """`text` with a sentence of its interpretation exchanged; the parser joins lines, the text may break them."""
    pattern = r"\s+".join(map(re.escape, old.split()))
    return base + re.sub(pattern, lambda _: new, text.removeprefix(base), count=1)


def _withdraw(answer: Explanation, revision: Revision) -> Explanation:
    """The answer without the sentences that the revision withdraws; hedges and carried claims stay as they are."""
    gone = {c.claim for c in revision.withdrawn}
    if not gone:
        return replace(answer, revision=revision)
    claims = tuple(c for c in answer.claims if c not in gone)
    checked = Grounding(tuple(c for c in _grounding(answer).claims if c.claim not in gone))
    left = " ".join(c.text for c in claims if c.section == "interpretation")
    return replace(answer, interpretation=left, claims=claims, grounding=checked, revision=revision)


def _grounding(answer: Explanation) -> Grounding:
    assert answer.grounding is not None, "the judge checks what it reads"
    return answer.grounding
