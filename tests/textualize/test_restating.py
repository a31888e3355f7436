"""Key observations written without a model: every one is supported by what it cites."""

from __future__ import annotations

import random

from affectgpt.answers import HEADINGS, open_answer
from affectgpt.grounding import check_claim
from affectgpt.parsing import citations
from affectgpt.records import Claim, Modality, Observation, Verdict
from affectgpt.textualize import restate
from instruction_data.evidence import draw

QUOTES = {
    "neutral": ["The meeting starts at nine in the morning.", "He said it is over there.", "A blue car.", "The bus."],
    "happy": ["That was the best day of my life!"],
    **{label: [] for label in ("angry", "sad", "fearful", "disgusted", "surprised", "contemptuous")},
}


def test_every_restated_observation_is_supported_and_cites_itself() -> None:
    for seed in range(120):
        told = draw(random.Random(seed), QUOTES).observations
        for o in told.items:
            line = restate(o)
            checked = check_claim(Claim(line, citations(line), "observations"), told.by_id())
            assert checked is not None
            assert checked.verdict is Verdict.SUPPORTED, (o.text, line, checked.reason)
            assert citations(line) == (o.id,)


def test_the_sentence_says_cue_strength_and_times() -> None:
    smile = Observation("F1", Modality.FACE, "AU12", "", start_s=0.6, end_s=2.4, value=2.9, level="C")
    assert restate(smile) == "The lip corners are pulled up (AU12), marked, 2.9 of 5, 0.6–2.4 s [F1]."
    words = Observation(
        "S1", Modality.SPEECH, "quote", 'Anna said "I got the job!", given text', quote="I got the job!"
    )
    assert restate(words) == 'Anna says "I got the job!" [S1].'


def test_an_opening_ends_where_the_interpretation_begins() -> None:
    assert open_answer(["a [F1]."]) == f"**{HEADINGS[0]}**\n- a [F1].\n**{HEADINGS[1]}**\n"
