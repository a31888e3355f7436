"""The texts of a turn: the three parts as they are shown, and the prompt that a reply is written from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal

from affectgpt import textualize
from affectgpt.answers import HEADINGS, write_conclusion
from affectgpt.engines.engine import split_reasoning
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Explanation, Message, Modality, Observations, Outcome, Prompt, UnparsedAnswer, Verdict

__all__ = [
    "REPLY_PROMPT",
    "LoopGuard",
    "ThoughtFilter",
    "conclusion",
    "key_observations",
    "observed_lines",
    "reply_prompt",
    "setting_note",
]

REPLY_PROMPT: Final = "converse"
N_OBSERVED = 6
"""Observations shown to the writer of a reply: the first of each modality, which are ranked."""
_WORD = re.compile(r"\w+")
CHARACTERS_A_TOKEN = 3
"""Fewer than any usual tokenizer needs for a token of European text, so that a budget errs on the short side."""
LONGEST_WISHES = 2_000
"""Characters of a client's own system messages that are read."""
Role = Literal["user", "assistant"]
_SPEAKERS: Final[dict[Role, str]] = {"user": "They:", "assistant": "You:"}


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
    """What the writer of the reply is asked: the dialogue's end within the budget, and what was observed.

    What a client sends as a system message is a wish among others: the rules of the prompt are ours.
    """
    wishes = " ".join(_one_line(m.content) for m in messages if m.role == "system")
    spoken = [m for m in messages if m.role != "system"]
    lines, left = [_line(spoken[-1])], context_tokens * CHARACTERS_A_TOKEN
    for message in reversed(spoken[:-1]):
        line = _line(message)
        left -= len(line)
        if left < 0:
            break
        lines.insert(0, line)
    while lines[0].startswith(_SPEAKERS["assistant"]):
        del lines[0]  # an answer whose question is out of sight
    rendered = prompts.get(REPLY_PROMPT).render(
        dialogue="\n".join(lines), observed=_observed(outcome), wishes=wishes[:LONGEST_WISHES] or "nothing"
    )
    system, script = rendered.messages
    return replace(rendered, messages=(system, *_as_chat(script.content)))


def _as_chat(script: str) -> list[Message]:
    """Lines of a dialogue as messages that alternate, as many chat templates demand."""
    roles: Mapping[str, Role] = {name: role for role, name in _SPEAKERS.items()}
    chat: list[Message] = []
    for line in script.splitlines():
        speaker, _, text = line.partition(": ")
        role = roles[f"{speaker}:"]
        if chat and chat[-1].role == role:
            chat[-1] = Message(role, f"{chat[-1].content}\n{text}")
        else:
            chat.append(Message(role, text))
    return chat


def _line(message: Message) -> str:
    return f"{_SPEAKERS['assistant' if message.role == 'assistant' else 'user']} {_one_line(message.content)}"


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(no words)"


def observed_lines(outcome: Outcome) -> tuple[str, ...]:
    """What a writer of a reply is shown of a clip: how they seem, then the first observations of each modality."""
    lines = []
    if outcome.appraisal is not None and outcome.decision.label:
        unsure = outcome.appraisal.emotion_set is not None and outcome.appraisal.emotion_set.abstains
        lines.append("It is unclear how they seem." if unsure else f"They seem {outcome.decision.label}.")
        lines += [f"It does not agree: {conflict}." for conflict in outcome.appraisal.conflicts]
    for modality in Modality:
        ranked = outcome.observations.of(modality)[: N_OBSERVED // len(Modality)]
        lines += [o.text for o in ranked if not o.is_missing]
    return tuple(lines)


def _observed(outcome: Outcome | None) -> str:
    return "\n".join(observed_lines(outcome) if outcome is not None else ()) or "nothing"


class LoopGuard:
    """Sees a reply that begins to repeat itself, as small models do: a sentence that was said before ends it."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def repeats(self, sentence: str) -> bool:
        """Whether these words stood in the reply already."""
        words = " ".join(_WORD.findall(sentence.lower()))
        is_known = bool(words) and words in self._said
        self._said.add(words)
        return is_known


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
