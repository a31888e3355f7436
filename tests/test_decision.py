"""Whose basic label counts: both are kept, the dispute is told, and nobody is asked about nothing."""

from __future__ import annotations

import fakes
import pytest

from affectgpt.agent import AffectAgent, Parts
from affectgpt.engines.echo import EchoEngine
from affectgpt.errors import OptionError
from affectgpt.readers import AgentOptions, SpeechOptions
from affectgpt.record_json import to_json
from affectgpt.records import Appraisal, EmotionDistribution, Observations, Outcome


class Sad:
    """An appraiser that finds everything sad."""

    def appraise(self, observations: Observations, *tracks: object) -> Appraisal:
        sad = EmotionDistribution({"happy": 0.2, "sad": 0.8}, -0.5, -0.2, -0.1)
        return Appraisal({"speech": sad}, {"speech": 1.0}, sad, read_by={"speech": "a pessimist"})


def decided(**options: object) -> Outcome:
    given = AgentOptions(speech=SpeechOptions(text="I got the job!"), **options)  # type: ignore[arg-type]
    return AffectAgent(EchoEngine([fakes.ANSWER]), given, parts=Parts(appraiser=Sad())).explain(None)


def test_the_label_is_the_appraisals_unless_the_model_is_asked_to_decide() -> None:
    by_appraisal, by_model = decided().decision, decided(decide="llm").decision
    assert (by_appraisal.label, by_appraisal.by) == ("sad", "appraisal")
    assert (by_model.label, by_model.by) == ("happy", "llm")
    for decision in (by_appraisal, by_model):
        assert (decision.appraisal, decision.llm) == ("sad", "happy"), "both are kept"
        assert decision.is_disputed


def test_who_appraised_is_among_the_versions_and_the_dispute_in_the_json() -> None:
    outcome = decided()
    assert outcome.versions["speech appraiser"] == "a pessimist"
    assert to_json(outcome)["decision"] == {
        "label": "sad", "by": "appraisal", "appraisal": "sad", "llm": "happy", "is_disputed": True
    }  # fmt: skip


def test_without_an_answer_the_appraisal_decides_and_without_either_nothing_is_named() -> None:
    told = AffectAgent(None, AgentOptions(speech=SpeechOptions(text="I miss her.")), parts=Parts(appraiser=Sad()))
    assert told.explain(None).decision.label == "sad"
    nothing = Outcome(None, Observations(()), None).decision
    assert nothing.label is None
    assert not nothing.is_disputed


@pytest.mark.parametrize("options", [{"decide": "vote"}, {"key_observations": "none"}])
def test_an_unknown_way_is_a_mistake(options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="no way"):
        AgentOptions(**options)  # type: ignore[arg-type]
