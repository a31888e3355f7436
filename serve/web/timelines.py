"""What stands beside the talk: the clip's timelines as plotly's JSON, and the sections that tell what was observed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from affectgpt.record_json import to_json
from affectgpt.records import Moment, Observations, Outcome
from affectgpt.report.story import render_story
from affectgpt.report.timeline import figure
from serve.web.texts import say

if TYPE_CHECKING:
    from affectgpt.agent import Senses
    from affectgpt.records import Observation

__all__ = ["draw", "tell", "tell_so_far"]

# The key observations and the interpretation stand in the talk, under "Reasoning".
_BESIDE = ("conclusion", "appraisal", "observations", "missing", "grounding", "origin")
_SO_FAR = ("observations", "missing")


def draw(senses: Senses, course: Iterable[Moment] = ()) -> dict[str, Any] | None:
    """Action units, voice and, once appraised, valence and arousal; None where there is nothing to draw."""
    duration_s = senses.clip.duration_s if senses.clip else 0.0
    return figure(senses.face, senses.voice, duration_s, tuple(course))


def tell(document: Mapping[str, Any], screened: str, *, can_seek: bool) -> str:
    """An outcome's document as HTML sections, the conclusion first.

    Of the model's own sentences only those are shown that stand in `screened`, the text that the turn let through.
    """
    return render_story(_only(document, screened), can_seek=can_seek, sections=_BESIDE)


def _only(document: Mapping[str, Any], screened: str) -> dict[str, Any]:
    """The document with a placeholder for each claim that was kept back."""
    answer = document["answer"]
    if not answer or not answer["parsed"]:
        return dict(document)
    told = " ".join(screened.split())

    def shown(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [c if " ".join(c["text"].split()) in told else {**c, "text": say("reasoning.kept_back")} for c in claims]

    kept = {**answer, "claims": shown(answer["claims"])}
    if revision := answer.get("revision"):
        kept["revision"] = {**revision, "withdrawn": shown(revision["withdrawn"])}
    return {**document, "answer": kept}


def tell_so_far(observations: Iterable[Observation], *, can_seek: bool) -> str:
    """What was observed, while the answer is still being written."""
    outcome = Outcome(None, Observations(tuple(observations)), None)
    return render_story(to_json(outcome), can_seek=can_seek, sections=_SO_FAR)
