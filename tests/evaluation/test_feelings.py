"""HEF as a predictor: what is asked in each variant, and what is counted where nothing was named."""

from __future__ import annotations

import pytest
from dialogue_fakes import KeywordHearing

from affectgpt.corpora import Example
from affectgpt.errors import OptionError
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.feelings import FeelingChoices, Feelings
from affectgpt.evaluation.samples import Answer, Prediction

SAID = [Example("1", "I am sad because it rains", label="sad"), Example("2", "So angry!", label="angry")]
TURN = Example("3", "Well.", label="sadness", context=("I am sad.", "Oh no."))
BASIC = LabelSet(("happiness", "sadness", "anger", "fear", "surprise", "disgust", "neutral"))


def answers(labels: LabelSet, *examples: Example, **options: object) -> list[Answer]:
    return Feelings(labels, FeelingChoices(**options), KeywordHearing()).predict(examples)  # type: ignore[arg-type]


def labels_of(found: list[Answer]) -> list[str | None]:
    assert all(isinstance(f, Prediction) for f in found)
    return [f.label for f in found]  # type: ignore[union-attr]


def test_the_small_model_alone_asks_nobody() -> None:
    found = answers(LabelSet("empathetic32"), *SAID, stages="small")
    assert labels_of(found) == ["sad", "angry"]
    assert isinstance(found[0], Prediction)
    assert sum(found[0].probabilities.values()) == pytest.approx(1.0)


def test_two_stages_ask_for_the_rest_on_none_of_these() -> None:
    found = answers(LabelSet("empathetic32"), *SAID, scripted=("sad", "none of these", "proud"))
    assert labels_of(found) == ["sad", "proud"]
    assert [f.facts["decided_by"] for f in found if isinstance(f, Prediction)] == ["engine first", "engine rest"]


def test_an_answer_that_names_nothing_is_unparsed_and_not_the_small_models() -> None:
    (found,) = answers(LabelSet("empathetic32"), SAID[0], stages="one", scripted=("I cannot say",))
    assert isinstance(found, Prediction)
    assert "named no feeling" in found.unparsed


def test_a_task_of_other_labels_reads_the_line_in_its_dialogue() -> None:
    assert labels_of(answers(BASIC, SAID[0], TURN, stages="small")) == ["sadness", "neutral"]
    (found,) = answers(BASIC, TURN, scripted=("sadness",))
    assert isinstance(found, Prediction)
    assert found.label == "sadness"


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(OptionError, match="three"):
        FeelingChoices(stages="three")
