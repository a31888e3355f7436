"""The texts of a turn: the three parts as they are shown, and what a reply is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affectgpt import textualize
from affectgpt.answers import HEADINGS, write_conclusion
from affectgpt.dialogue import Asked, Line
from affectgpt.dialogue.speakers import AGENT, lines_of
from affectgpt.records import Explanation, Message, Modality, Observations, Outcome, UnparsedAnswer, Verdict

if TYPE_CHECKING:
    from serve.events import TurnRequest

__all__ = [
    "asked_of",
    "conclusion",
    "key_observations",
    "observed_lines",
    "setting_note",
]

N_OBSERVED = 6
"""Observations shown to the writer of a reply: the first of each modality, which are ranked."""


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


def asked_of(request: TurnRequest, outcome: Outcome | None) -> Asked:
    """What a companion is given of a turn: its last message, what was said before, and what its clip showed.

    What a client sends as a system message is a wish among others: the rules of the prompt are ours. Words that came
    alone are understood by the companion itself; their appraisal for the explanation adds nothing to that.
    """
    spoken = [m for m in request.messages if m.role != "system"]
    has_files = bool(request.attachments) and outcome is not None
    return Asked(
        words=spoken[-1].content if spoken else "",
        history=tuple(line for message in spoken[:-1] for line in _lines(message)),
        appraisal=outcome.appraisal if has_files and outcome else None,
        observed=observed_lines(outcome) if has_files and outcome else (),
        wishes=" ".join(m.content for m in request.messages if m.role == "system"),
        strategies=request.strategies,
        own=request.own,
        locale=request.locale,
    )


def _lines(message: Message) -> tuple[Line, ...]:
    if message.role == "assistant":
        return (Line(AGENT, message.content, is_agent=True),) if message.content.strip() else ()
    return lines_of(message.content)


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
