"""The texts of a turn: the three parts as they are shown, and the prompt that a reply is written from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from affectgpt import textualize
from affectgpt.answers import HEADINGS, write_conclusion
from affectgpt.engines.engine import split_reasoning
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Explanation, Message, Modality, Observations, Outcome, Prompt, UnparsedAnswer, Verdict

__all__ = ["REPLY_PROMPT", "ThoughtFilter", "conclusion", "key_observations", "reply_prompt", "setting_note"]

REPLY_PROMPT: Final = "converse"
N_OBSERVED = 6
"""Observations shown to the writer of a reply: the first of each modality, which are ranked."""
CHARACTERS_A_TOKEN = 3
"""Fewer than any usual tokenizer needs for a token of European text, so that a budget errs on the short side."""
_SPEAKERS = {"user": "They", "assistant": "You"}


def key_observations(observations: Observations) -> str:
    """The first of the three parts, restated from the evidence; empty where there is none."""
    if not observations.items:
        return ""
    return "\n".join([f"**{HEADINGS[0]}**", *(f"- {textualize.restate(o)}" for o in observations.items), ""])


def conclusion(outcome: Outcome) -> str:
    """The second and third part: what the model wrote less what the evidence contradicts, and whose label counts."""
    answer, decision = outcome.answer, outcome.decision
    lines: list[str] = []
    if isinstance(answer, Explanation):
        lines += [f"**{HEADINGS[1]}**", _interpretation(answer), f"**{HEADINGS[2]}**"]
        lines.append(write_conclusion(answer.conclusion))
    elif isinstance(answer, UnparsedAnswer):
        lines.append(f"**{HEADINGS[1]}**")
        lines.append("The model's answer did not have the asked form and is left out.")
        lines += [f"**{HEADINGS[2]}**", f"Label: {decision.label or 'cannot tell'}"]
    if decision.is_disputed:
        lines.append(
            f"The measured appraisers say {decision.appraisal}, the model {decision.llm}: {decision.by} counts."
        )
    return "\n".join(lines)


def _interpretation(answer: Explanation) -> str:
    contradicted = (
        [c.claim for c in answer.grounding.claims if c.verdict is Verdict.CONTRADICTED] if answer.grounding else []
    )
    wrong = [claim.text for claim in contradicted if claim.section == "interpretation"]
    text = answer.interpretation
    for sentence in wrong:
        text = text.replace(sentence, "")
    n_left_out = len(wrong) + (len(answer.revision.withdrawn) if answer.revision else 0)
    if n_left_out:
        text += f" (Left out, because the observations contradict it: {n_left_out} of the model's sentences.)"
    return " ".join(text.split()) or "The model wrote no interpretation."


def setting_note(outcome: Outcome) -> str:
    """Why face and voice were not read, where the place forbids it; otherwise empty."""
    for observation in outcome.observations.items:
        if observation.is_missing and "Art. 5(1)(f)" in observation.text:
            return f"Face and voice were {observation.text[observation.text.find('not read') :].rstrip('.')}. "
    return ""


def reply_prompt(
    prompts: PromptLibrary, messages: Sequence[Message], outcome: Outcome | None, context_tokens: int
) -> Prompt:
    """What the writer of the reply is asked: the dialogue's end within the budget, and what was observed."""
    *earlier, last = messages
    lines = [_line(last)]
    left = context_tokens * CHARACTERS_A_TOKEN
    for message in reversed(earlier):
        line = _line(message)
        left -= len(line)
        if left < 0:
            break
        lines.insert(0, line)
    return prompts.get(REPLY_PROMPT).render(dialogue="\n".join(lines), observed=_observed(outcome))


def _line(message: Message) -> str:
    # The rules of the prompt are ours: what a client calls a system message is one more thing that was said.
    speaker = _SPEAKERS.get(message.role, "Note")
    return f"{speaker}: {' '.join(message.content.split()) or '(no words)'}"


def _observed(outcome: Outcome | None) -> str:
    if outcome is None:
        return "nothing"
    ranked = [
        o for m in Modality for o in outcome.observations.of(m)[: N_OBSERVED // len(Modality)] if not o.is_missing
    ]
    lines = [o.text for o in ranked]
    if outcome.appraisal is not None and outcome.decision.label:
        unsure = outcome.appraisal.emotion_set is not None and outcome.appraisal.emotion_set.abstains
        lines.append("It is unclear how they seem." if unsure else f"They seem {outcome.decision.label}.")
        lines += [f"It does not agree: {conflict}." for conflict in outcome.appraisal.conflicts]
    return "\n".join(lines) or "nothing"


class ThoughtFilter:
    """Lets a streamed answer through without the `<think>` block that it may begin with."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0

    def push(self, piece: str) -> str:
        """What may be shown now."""
        self._text += piece
        if "<think>".startswith(self._text.lstrip()[:7]) and len(self._text.lstrip()) < 7:
            return ""
        answer = split_reasoning(self._text)[1]
        new = answer[self._shown :]
        self._shown = len(answer)
        return new
