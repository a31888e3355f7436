"""Words that caused a feeling: counted against marked spans, by law and on the real set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from affectgpt.corpora import read_reccon
from affectgpt.evaluation.cause_scorer import cause
from affectgpt.evaluation.measures import ScoringPlan
from affectgpt.evaluation.samples import Prediction, Sample

TEXT = "well my dog died yesterday"
PLAN = ScoringPlan(("sad",))


def scored(
    answer: Prediction, *, status: str = "scored", spans: tuple[str, ...] = ("my dog died",)
) -> dict[str, float]:
    sample = Sample("a", status, text=TEXT, spans=spans, answer=answer)  # type: ignore[arg-type]
    return {m.name: m.statistic(np.arange(len(m.members))) for m in cause([sample], PLAN)}


def told(*p: float) -> Prediction:
    return Prediction(facts={"cause": [[w, x] for w, x in zip(TEXT.split(), p, strict=True)]})


def test_the_right_words_score_and_the_wrong_ones_do_not() -> None:
    assert list(scored(told(0.1, 0.9, 0.8, 0.7, 0.2)).values()) == [1, 1]
    assert list(scored(told(0.9, 0.1, 0.2, 0.3, 0.8)).values()) == [0, 0]
    assert scored(told(0.1, 0.9, 0.8, 0.2, 0.3))["cause words F1"] == pytest.approx(0.8)


def test_an_answer_without_words_names_all_and_no_answer_names_none() -> None:
    everything = scored(Prediction("sad"))
    assert everything["cause words F1"] == pytest.approx(2 * 3 / (5 + 3))
    assert everything["cause words AUROC"] == 0.5
    assert scored(Prediction(), status="unparsed")["cause words F1"] == 0


def test_spans_of_another_turn_are_no_gold_here() -> None:
    assert np.isnan(scored(told(0, 0, 0, 0, 0), spans=("her cat",))["cause words F1"])


def test_a_cause_is_told_in_the_turn_that_holds_it(tmp_path: Path) -> None:
    turns = [
        {"turn": 1, "speaker": "A", "utterance": "I won a prize.", "emotion": "neutral"},
        {"turn": 2, "speaker": "B", "utterance": "Great!", "emotion": "happiness",
         "expanded emotion cause span": ["won a prize", "b"]},
        {"turn": 3, "speaker": "A", "utterance": "I won again.", "emotion": "happiness",
         "expanded emotion cause span": ["I won"]},
    ]  # fmt: skip
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"d": [turns]}), encoding="utf-8")
    rows = {r.id: r for r in read_reccon(path, unit="cause")}
    assert {i: (r.spans, r.label) for i, r in rows.items()} == {
        "d_1": (("won a prize",), "happiness"),
        "d_3": (("I won",), "happiness"),
    }


@pytest.mark.shared
def test_causes_of_the_real_set_stand_in_their_turns(shared_data: Path) -> None:
    rows = read_reccon(shared_data / "text" / "reccon" / "dailydialog_valid.json", unit="cause").usable
    assert len(rows) > 100
    assert all(span in (r.text or "") for r in rows for span in r.spans)
    assert not any(r.label == "neutral" for r in rows)
