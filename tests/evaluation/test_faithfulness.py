"""An explanation that follows its evidence passes, one that does not fails, measure by measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affectgpt import grounding
from affectgpt.appraise.conformal import calibrate
from affectgpt.appraise.prototypes import appraise
from affectgpt.errors import InputError
from affectgpt.evaluation import faithfulness
from affectgpt.evaluation.abstention import risk_coverage
from affectgpt.evaluation.faithfulness_scorer import faithfulness as score
from affectgpt.evaluation.measures import ScoringPlan
from affectgpt.evaluation.samples import Prediction, Sample
from affectgpt.parsing import parse_text
from affectgpt.records import Explanation, Modality, Observation, Observations, UnparsedAnswer

SMILE = Observation(
    "F1", Modality.FACE, "AU12", "lip corner puller (AU12) maximum, 5.0 of 5, 1.3–3.9 s", value=5.0, level="E"
)
BROW = Observation("F2", Modality.FACE, "AU4", "brow lowerer (AU4) trace, 1.2 of 5, 1.3–3.9 s", value=1.2, level="A")
LOUD = Observation(
    "V1", Modality.VOICE, "level_range_db",
    "loudness range wider, 32 dB, 1.8 SD over the population's, confidence 0.60", value=1.8, level="higher",
)  # fmt: skip
QUOTE = Observation("S1", Modality.SPEECH, "quote", 'said "I am furious"', quote="I am furious")
ALL = Observations((SMILE, BROW, LOUD))


def explanation(line: str, interpretation: str, valence: float = 0.5) -> Explanation:
    read = parse_text(
        f"**Key observations**\n- {line}\n**Interpretation**\n{interpretation}\n**Conclusion**\nEmotions: joyful\n"
        f"Label: happy\nValence: {valence}\nArousal: 0.3\nDominance: 0.1\nConfidence: 0.7"
    )
    assert isinstance(read, Explanation)
    return read


GOOD = explanation("lip corner puller (AU12) maximum [F1]", "The lip corner puller [F1] suggests joy.")
EMPTY = explanation("The person is happy", "She seems happy and joyful.")


def test_claims_are_counted_by_verdict() -> None:
    checked = replace(GOOD, grounding=grounding.check(GOOD, ALL))
    assert faithfulness.read_claims(checked)["supported"] == 2
    assert faithfulness.read_claims(GOOD) == {}


def test_the_label_is_recovered_from_cues_and_never_from_the_emotion_word() -> None:
    assert faithfulness.recover(GOOD, ALL) == "happy"
    assert faithfulness.recover(EMPTY, ALL) == ""
    said = explanation('said "I am furious" [S1]', "She is happy.")
    assert faithfulness.recover(said, Observations((SMILE, QUOTE))) == "angry"


def test_changes_move_the_prior_reading_and_are_told_in_its_words() -> None:
    found = faithfulness.changes(ALL)
    assert {(c.cue, c.kind) for c in found} >= {("AU12", "removed"), ("AU12", "turned")}
    assert all(c.expected < 0 for c in found if c.cue == "AU12")
    turned = next(c for c in found if c.kind == "turned" and c.cue == "AU12")
    assert "lip corner depressor (AU15)" in turned.observations.items[0].text
    assert abs(found[0].expected) >= abs(found[-1].expected) >= faithfulness.LEAST_EXPECTED


def test_a_voice_cue_is_turned_round_in_sign_level_and_words() -> None:
    turned = faithfulness._turned(LOUD)
    assert turned is not None
    assert (turned.value, turned.level) == (-1.8, "lower")
    assert turned.text == "loudness range narrower, 1.8 SD under the population's, confidence 0.60"
    back = faithfulness._turned(turned)
    assert back is not None
    assert (back.value, back.level) == (1.8, "higher")


def test_a_model_that_reads_its_evidence_flips_the_right_way_and_a_deaf_one_stands_still() -> None:
    def reader(observations: Observations) -> Explanation:
        return explanation("x [F1]", "y", round(appraise(observations).fused.valence, 1))

    def deaf(observations: Observations) -> Explanation | UnparsedAnswer:
        return UnparsedAnswer("…", "no form")

    right, still = (faithfulness.flips(ALL, ask) for ask in (reader, deaf))
    assert {m.name: v for m, v in scored(right)}["flips the right way"] == 1
    assert {m.name: v for m, v in scored(still)}["flips the right way"] == 0
    assert all(f["unparsed"] == "no form" for f in still)


def scored(flips: list[dict]) -> list:  # type: ignore[type-arg]
    samples = [Sample("a", "scored", label="happy", answer=Prediction("happy", facts={"flips": flips}))]
    return [(m, m.statistic(np.arange(len(m.members)))) for m in score(samples, ScoringPlan(("happy",)))]


def test_questions_ask_after_what_was_and_what_was_not_there() -> None:
    asked = faithfulness.questions(ALL, seed=1)
    there = {"AU12", "AU4", "level_range_db"}
    assert len(asked) == 4
    assert all((q.cue in there) == q.expected for q in asked)
    assert asked == faithfulness.questions(ALL, seed=1)
    assert faithfulness.questions(Observations((QUOTE,))) == []
    # A voice that was never heard is unknown: no question may be asked about it.
    assert all(q.cue.startswith("AU") for q in faithfulness.questions(Observations((SMILE, BROW))))


@pytest.mark.parametrize(("text", "said"), [("Yes.", True), ("**no**, it", False), ("Maybe yes", None), ("", None)])
def test_a_yes_or_no_is_what_the_answer_begins_with(text: str, said: bool | None) -> None:
    assert faithfulness.said_yes(text) is said


def test_a_model_that_reads_one_cue_alone_is_found_out() -> None:
    rng = np.random.default_rng(0)
    cues = ["AU12", "AU4", "AU6", "f0_median_hz"]
    samples = []
    for i in range(80):
        named = [c for c in cues if rng.uniform() < 0.5]
        values = {"valence": 0.8 if "AU12" in named else -0.4, "arousal": float(rng.normal())}
        samples.append(Sample(str(i), "scored", answer=Prediction("happy", values=values, facts={"cues": named})))
    found = {m.name: m for m in score(samples, ScoringPlan(("happy",)))}
    one = found["valence explained by one cue, r²"]
    assert one.statistic(np.arange(80)) == pytest.approx(1)
    assert one.note == "the cue is AU12"
    assert found["arousal explained by one cue, r²"].statistic(np.arange(80)) < 0.2


# ---------------------------------------------------------------- conformal sets


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_sets_hold_the_truth_as_often_as_asked(coverage: float) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 4000)
    gold = np.array([rng.choice(5, p=row) for row in p])
    true = p[np.arange(4000), gold]
    cut = calibrate(true[:2000], coverage)
    held = (true[2000:] >= cut.least).mean()
    assert held == pytest.approx(coverage, abs=0.03)


def test_too_few_samples_rule_nothing_out_and_wide_sets_abstain() -> None:
    cut = calibrate([0.9, 0.8], 0.95)
    assert cut.least == 0
    chosen = cut.choose({"happy": 0.9, "sad": 0.1, "angry": 0.0})
    assert chosen.labels == ("happy", "sad", "angry")
    assert chosen.abstains
    with pytest.raises(InputError):
        calibrate([], 0.9)
    with pytest.raises(InputError):
        calibrate([0.5], 1.0)


def test_risk_falls_where_confidence_knows() -> None:
    confidence = np.linspace(0, 1, 100)
    right = confidence > 0.3
    curve = risk_coverage(confidence, right)
    assert curve["points"][0]["risk"] == 0
    assert curve["points"][-1]["risk"] == pytest.approx(1 - right.mean())
    flat = risk_coverage(np.full(100, 0.5), right)
    assert flat["aurc"] == pytest.approx(1 - right.mean())
