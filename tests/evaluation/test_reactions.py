"""What a text does to people, as predictors of a suite: numbers for each example, and what they were fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affectgpt.appraise.empathy import SCALES
from affectgpt.appraise.words import DIMENSIONS
from affectgpt.corpora import Example
from affectgpt.errors import OptionError
from affectgpt.evaluation.datasets import LabelSet
from affectgpt.evaluation.predictors import open_predictor
from affectgpt.evaluation.run import run_suite
from affectgpt.evaluation.samples import Prediction
from affectgpt.evaluation.suite import PredictorSpec, parse_suite
from affectgpt.evaluation.task import Place

SAID = [Example("a", "My heart aches for these children."), Example("b", "The shop opens at nine."), Example("c", " ")]


@pytest.mark.parametrize(("kind", "names"), [("empathy", SCALES), ("difference", DIMENSIONS)])
def test_each_text_gets_its_numbers_and_the_card_says_where_from(kind: str, names: tuple[str, ...]) -> None:
    read = open_predictor(PredictorSpec(kind, {"permissive": True}), LabelSet("basic8"), ())
    first, second, nothing = read.predict(SAID)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert tuple(first.values) == names
    assert first.values != second.values
    assert isinstance(nothing, Prediction)
    assert nothing.unparsed
    assert "fitted on" in read.origin  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="takes no 'head'"):
        open_predictor(PredictorSpec(kind, {"head": "x"}), LabelSet("basic8"), ())


def test_a_suite_measures_them_beside_the_mean(tmp_path: Path) -> None:
    lines = [
        {"id": k, "t": text, "e": 4 + (k % 2) * 2}
        for k, text in enumerate(["That is how it goes.", "I wept for them all night."] * 8)
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    columns = {"id": "id", "text": "t", "values.empathy": "e"}
    task = {
        "name": "t", "dataset": {"reader": "jsonl", "path": "x.jsonl", "columns": columns},
        "predictor": {"kind": "empathy"}, "scorers": ["regression"],
    }  # fmt: skip
    report = run_suite(parse_suite({"name": "s", "n_resamples": 100, "tasks": [task]}), Place(tmp_path, tmp_path))
    figure = next(f for f in report["tasks"][0]["figures"] if f["name"] == "r empathy")
    assert figure["value"] == pytest.approx(1)
    assert figure["majority"]["value"] == 0
