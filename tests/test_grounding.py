"""The check of claims: what supports, what contradicts, what merely cites nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.grounding import check, check_claim
from affectgpt.parsing import citations, parse_text
from affectgpt.records import (
    Appraisal,
    Claim,
    EmotionDistribution,
    Explanation,
    Modality,
    Observation,
    Observations,
    Verdict,
)

SMILE = Observation(
    "F1",
    Modality.FACE,
    "AU12",
    "lip corner puller (AU12) marked, 2.9 of 5, 0.6–2.4 s, over this person's neutral 0.3, confidence 0.91",
    start_s=0.6,
    end_s=2.4,
    value=2.9,
    level="C",
)
BROWS = Observation("F2", Modality.FACE, "AU4", "brow lowerer (AU4) slight, 1.8 of 5, 0.0–1.0 s", value=1.8, level="B")
PITCH = Observation(
    "V1",
    Modality.VOICE,
    "f0_median_hz",
    "pitch (median F0) much higher, 231 Hz, 2.1 SD over this speaker's own baseline, 0.4–1.9 s",
    value=2.1,
    level="much higher",
)
WORDS = Observation("S1", Modality.SPEECH, "quote", 'said "I got the job!", 0.3–1.9 s', quote="I got the job!")
GONE = Observation("M1", Modality.SPEECH, "missing_left_out", "2 quotes left out")
KNOWN = {o.id: o for o in (SMILE, BROWS, PITCH, WORDS, GONE)}
SEEN = Observations(tuple(KNOWN.values()))


def verdict(text: str, section: str = "observations") -> Verdict | None:
    claim = Claim(text, citations(text), section)  # type: ignore[arg-type]
    checked = check_claim(claim, KNOWN)
    return checked.verdict if checked else None


@pytest.mark.parametrize(
    "text",
    [
        "The lip corners are pulled up (AU12), marked, 2.9 of 5, from 0.6 to 2.4 s [F1].",
        "A pronounced smile [F1].",
        "Lip corner puller (AU12) [F1]",
        "Pitch is much higher, 231 Hz, 0.4–1.9 s [V1].",
        "Pitch is higher than usual [V1].",
        'The words are "I got the job!" [S1].',
        "Slightly lowered brows [F2] and a marked smile [F1].",
        "2 quotes were left out [M1].",
    ],
)
def test_what_the_evidence_carries_is_supported(text: str) -> None:
    assert verdict(text) is Verdict.SUPPORTED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A marked smile [F7].", "no such observation"),
        ("The brows are drawn down [F1].", "another cue"),
        ("A slight smile [F1].", "another intensity"),
        ("The smile reaches 3.9 of 5 [F1].", "another number"),
        ("A smile from 0.6 to 2.6 s [F1].", "another time"),
        ("Pitch is lower [V1].", "another direction"),
        ("Pitch is near the baseline [V1].", "near against much higher"),
        ('The words are "I lost the job" [S1].', "another quote"),
        ("The jaw is dropped [F1].", "a cue nobody saw"),
        ("Something is there [F1].", "the cue is not named"),
        ("Everything was told [M1].", "an absence not stated"),
        ("There is no smile [F1].", "a denial"),
        ("The facial movement is weak and points to no clear feeling [F1].", "belittled"),
        ("The voice stays close to what is usual and adds little [V1].", "belittled"),
        ("The voice stays even [M1].", "an absence not stated"),
    ],
)
def test_what_the_evidence_does_not_carry_is_contradicted(text: str, why: str) -> None:
    assert verdict(text) is Verdict.CONTRADICTED, why


def test_a_face_claim_without_a_face_is_contradicted_even_uncited() -> None:
    claim = Claim("She is smiling broadly.", (), "interpretation")
    checked = check_claim(claim, {"V1": PITCH})
    assert checked is not None
    assert checked.verdict is Verdict.CONTRADICTED


def test_an_observed_cue_without_citation_is_uncited() -> None:
    assert verdict("The smile is marked.", "interpretation") is Verdict.UNCITED


def test_a_hedge_is_no_claim() -> None:
    assert verdict("An alternative reading is surprise.", "interpretation") is None


def answer_with(interpretation: str) -> Explanation:
    answer = parse_text(
        f"**Key observations**\n- A marked smile [F1].\n**Interpretation**\n{interpretation}\n**Conclusion**\n"
        "Emotions: joyful\nLabel: happy\nValence: 0.6\nArousal: 0.3\nDominance: 0.2\nConfidence: 0.7"
    )
    assert isinstance(answer, Explanation)
    return answer


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("It could also be joy.", "the label itself"),
        ("Happiness cannot be ruled out.", "the label itself"),
        ("It could also be surprise.", ""),
        ("An even mood is an alternative.", ""),
        ("The face and the voice agree.", "yet face seems happy"),
        ("The face and the words agree.", "speech seems unknown"),
        ("The face and the words tell the same story.", "speech seems unknown"),
        ("On this the face and the voice are of one mind.", "yet face seems happy"),
        ("The face and the voice go together.", "yet face seems happy"),
        ("The voice bears out what the face suggests.", "yet face seems happy"),
        ("What the face suggests is borne out by the voice.", "yet face seems happy"),
        ("The face is in keeping with the voice.", "yet face seems happy"),
        ("The face and the voice do not agree.", ""),
        ("The face and the voice conflict.", ""),
    ],
)
def test_alternatives_and_relations_must_fit_the_label_and_the_appraisal(sentence: str, fault: str) -> None:
    happy, sad = (EmotionDistribution({"happy": p, "sad": 1 - p}, 0.0, 0.0, 0.0) for p in (0.9, 0.1))
    torn = Appraisal({"face": happy, "voice": sad}, {}, happy, ("face seems happy, voice seems sad",))
    faults = [c.reason for c in check(answer_with(sentence), SEEN, torn).claims if c.verdict is not Verdict.SUPPORTED]
    assert (fault in faults[0]) if fault else not faults


def test_a_conflict_that_no_channel_shows_is_invented() -> None:
    happy = EmotionDistribution({"happy": 0.9, "sad": 0.1}, 0.0, 0.0, 0.0)
    at_one = Appraisal({"face": happy, "voice": happy}, {}, happy)
    invented = check(answer_with("The face and the voice conflict."), SEEN, at_one)
    assert invented.count(Verdict.CONTRADICTED) == 1
    assert check(answer_with("There is no conflict."), SEEN, at_one).count(Verdict.CONTRADICTED) == 0
    apart = check(answer_with("The face and the voice lean different ways."), SEEN, at_one)
    assert apart.count(Verdict.CONTRADICTED) == 1


def test_no_reading_is_called_firm_beside_a_close_second() -> None:
    firm = answer_with("No other reading is close.")
    for p, n_faults in ((0.6, 1), (0.9, 0)):
        read = EmotionDistribution({"happy": p, "sad": 1 - p}, 0.0, 0.0, 0.0)
        assert check(firm, SEEN, Appraisal({"face": read}, {}, read)).count(Verdict.CONTRADICTED) == n_faults


@pytest.mark.parametrize(
    ("interpretation", "n_faults"),
    [
        ("Weighed together, this comes to joy. Weighed together, this comes to pleasure.", 1),
        ("It could also be surprise. It could also be surprise.", 1),
        ("It could also be surprise. It could be nothing.", 0),
        ("It could also be surprise. It could also be contempt.", 1),
        ("Face and voice conflict: disgust against fear. Face and words conflict: disgust against joy.", 0),
        ("The face shows a marked smile [F1]. The face shows a marked smile [F1].", 0),
    ],
)
def test_a_sentence_without_evidence_is_said_once(interpretation: str, n_faults: int) -> None:
    assert check(answer_with(interpretation), SEEN).count(Verdict.CONTRADICTED) == n_faults


@pytest.mark.parametrize(("p", "n_faults"), [(0.9, 1), (0.4, 0)])
def test_doubt_follows_the_confidence_that_was_shown(p: float, n_faults: int) -> None:
    rest = (1 - p) / 2
    read = EmotionDistribution({"happy": p, "sad": rest, "neutral": rest}, 0.0, 0.0, 0.0)
    doubted = check(answer_with("The confidence in this is low."), SEEN, Appraisal({"face": read}, {}, read))
    assert doubted.count(Verdict.CONTRADICTED) == n_faults


@pytest.mark.parametrize(
    ("sentence", "is_true"),
    [
        ("No use could be made of the face.", False),
        ("Nothing is known of the face [F1].", False),
        ("The face [F1] is missing from the evidence.", False),
        ("The tone of voice is unknown.", True),
        ("Nothing is known of the words [M1], but the face shows a smile [F1].", True),
        ("The words are unknown [M1].", True),
        ("What will come of it is unknown.", True),
    ],
)
def test_a_channel_that_was_read_is_not_called_unknown(sentence: str, is_true: bool) -> None:
    smiling = EmotionDistribution({"happy": 0.8, "neutral": 0.2}, 0.6, 0.3, 0.3)
    read = Appraisal({"face": smiling}, {"face": 0.9}, smiling)
    assert (check(answer_with(sentence), SEEN, read).count(Verdict.CONTRADICTED) == 0) is is_true


def test_denying_what_nobody_observed_is_no_contradiction() -> None:
    assert verdict("There is no jaw drop here.", "interpretation") is Verdict.UNCITED


def test_counts_over_a_whole_answer() -> None:
    text = (
        "**Key observations**\n- A marked smile [F1].\n- A severe frown [F2].\n**Interpretation**\n"
        "The smile [F1] suggests joy. The smile is marked.\n**Conclusion**\nEmotions: joyful\nLabel: happy\n"
        "Valence: 0.6\nArousal: 0.3\nDominance: 0.2\nConfidence: 0.7"
    )
    answer = parse_text(text)
    assert isinstance(answer, Explanation)
    grounding = check(answer, Observations(tuple(KNOWN.values())))
    assert [grounding.count(v) for v in Verdict] == [2, 1, 1]
    assert all(c.reason for c in grounding.claims if c.verdict is Verdict.CONTRADICTED)


@given(st.text(max_size=300))
def test_any_sentence_gets_a_verdict_or_none(text: str) -> None:
    assert verdict(text) in (None, *Verdict)


@given(st.sampled_from(["A", "B", "D", "E"]))
def test_a_claims_intensity_must_be_the_observed_class(letter: str) -> None:
    from affectgpt.cues import load_cues

    assert verdict(f"A {load_cues().face_word(letter)} smile [F1].") is Verdict.CONTRADICTED
