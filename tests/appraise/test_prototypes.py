"""The prior reading: prototypes point where the literature says, absence weighs nothing, conflicts stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.appraise.prototypes import appraise, distribute, read_face, read_voice, read_words
from affectgpt.records import Modality, Observation, Observations


def face(**units: float) -> list[Observation]:
    return [
        Observation(f"F{i}", Modality.FACE, cue, cue, value=value, confidence=0.9)
        for i, (cue, value) in enumerate(units.items(), 1)
    ]


def voice(**measures: float) -> list[Observation]:
    return [
        Observation(f"V{i}", Modality.VOICE, cue, cue, value=z, level="higher" if z > 0 else "lower", confidence=0.9)
        for i, (cue, z) in enumerate(measures.items(), 1)
    ]


def said(text: str) -> list[Observation]:
    return [Observation("S1", Modality.SPEECH, "quote", text, quote=text)]


@pytest.mark.parametrize(
    ("units", "label"),
    [
        ({"AU12": 3.0, "AU6": 2.5}, "happy"),
        ({"AU1": 3.0, "AU2": 3.0, "AU5": 3.0, "AU26": 3.0}, "surprised"),
        ({"AU4": 3.0, "AU7": 3.0, "AU23": 2.5}, "angry"),
        ({"AU1": 2.5, "AU4": 2.5, "AU15": 3.0}, "sad"),
        ({"AU1": 3.0, "AU4": 2.5, "AU5": 3.0, "AU20": 3.0}, "fearful"),
        ({"AU9": 3.0, "AU10": 3.0, "AU17": 2.0}, "disgusted"),
        ({"AU14": 3.0}, "contemptuous"),
        ({"AU25": 1.0}, "neutral"),
        ({}, "neutral"),
    ],
)
def test_each_prototype_reads_as_its_emotion(units: dict[str, float], label: str) -> None:
    assert read_face(face(**units)).top == label


@pytest.mark.parametrize(
    ("measures", "label"),
    [
        ({"level_db": 2.5, "alpha_ratio_db": 2.5, "f0_median_hz": 1.0, "hnr_db": -1.5}, "angry"),
        ({"f0_median_hz": -1.5, "f0_range_st": -1.5, "level_db": -2.0, "syllable_rate_hz": -2.0}, "sad"),
        ({"f0_median_hz": 0.2}, "neutral"),
    ],
)
def test_voices_read_as_the_cue_table_says(measures: dict[str, float], label: str) -> None:
    assert read_voice(voice(**measures)).top == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I am so happy about this", "happy"),
        ("this makes me furious", "angry"),
        ("I am not happy at all", "sad"),
        ("the train leaves at nine", "neutral"),
    ],
)
def test_words_are_looked_up_and_negation_is_heard(text: str, label: str) -> None:
    assert read_words([text]).top == label


def test_a_stronger_cue_is_never_less_probable() -> None:
    p = [read_face(face(AU12=v / 2)).probabilities["happy"] for v in range(11)]
    assert p == sorted(p)


def test_what_is_absent_is_not_appraised() -> None:
    missing = Observation("M1", Modality.VOICE, "missing_voice", "voice unknown: no sound")
    appraisal = appraise(Observations((*face(AU12=3.0), missing)))
    assert set(appraisal.by_modality) == {"face"}
    assert appraise(Observations((missing,))).by_modality == {}


def test_a_conflict_is_named_and_both_sides_stay_probable() -> None:
    told = appraise(Observations((*face(AU12=4.0, AU6=3.0), *said("I am so furious and angry"))))
    assert told.conflicts == ("face seems happy, speech seems angry",)
    assert told.fused.top == "angry", "a person's own words outrank our reading of the face"
    assert told.fused.probabilities["happy"] > 0.15


def test_agreement_is_no_conflict() -> None:
    assert appraise(Observations((*face(AU12=4.0), *said("I am so happy")))).conflicts == ()


@given(st.dictionaries(st.sampled_from(["happy", "sad", "angry", "fearful"]), st.floats(-1, 1)))
def test_distributions_sum_to_one_and_stay_in_range(matches: dict[str, float]) -> None:
    d = distribute(matches)
    assert sum(d.probabilities.values()) == pytest.approx(1)
    assert all(-1 <= x <= 1 for x in (d.valence, d.arousal, d.dominance))


def test_a_reading_names_the_observations_that_carry_it_and_no_others() -> None:
    seen = Observations((*face(AU12=3.5, AU6=2.5, AU20=4.0, AU4=2.0), *voice(syllable_rate_hz=0.2)))
    carried = appraise(seen).carried_by
    assert carried["face"] == ("F1", "F2"), "a stretched lip and a lowered brow are no part of a smile"
    assert carried["voice"] == ("V1",)
    assert "speech" not in carried


def test_of_two_quotes_the_one_that_says_it_carries_the_words() -> None:
    plain, happy = said("We took the bus.")[0], replace(said("I am so happy!")[0], id="S2")
    assert appraise(Observations((plain, happy))).carried_by["speech"] == ("S2",)


def test_a_still_face_is_carried_by_its_stillness() -> None:
    still = Observation("M1", Modality.FACE, "missing_movement", "the face is seen and shows no clear movement")
    assert appraise(Observations((still,))).carried_by["face"] == ("M1",)
