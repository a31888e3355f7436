"""Judging dev answers: the evidence read back from a prompt is the evidence, and the figures count what they say."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from trainings import row, scene

from affectgpt.appraise.prototypes import appraise
from affectgpt.grounding import check
from affectgpt.parsing import parse_text
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Completion, Explanation, Message, Observations
from finetune.judging import distinct_2, judge, summarise
from finetune.observed import read_appraisal, read_observations
from finetune.rows import Row
from finetune.slips import NAMES_CONFLICT, named_labels, names_conflict
from instruction_data import card, sentences
from instruction_data.composer import compose
from instruction_data.evidence import draw
from instruction_data.rewording import reword

QUOTES = {
    "neutral": ["The meeting starts at nine in the morning.", "He said it is over there.", "A blue car.", "The bus."],
    "happy": ["That was the best day of my life!"],
    "angry": ["How dare they do this to us"],
    **{label: [] for label in ("sad", "fearful", "disgusted", "surprised", "contemptuous")},
}


def scenes(n: int) -> list[Observations]:
    return [draw(random.Random(f"judging/{i}"), QUOTES).observations for i in range(n)]


def test_observations_are_read_back_out_of_the_prompt() -> None:
    n = 0
    for seen in scenes(60):
        prompt = PromptLibrary().render("explain", seen, appraise(seen))
        back = read_observations(prompt.messages)
        assert [o.line for o in back.items] == [o.line for o in seen.items]
        for true, read in zip(seen.items, back.items, strict=True):
            n += 1
            assert (read.level, read.quote, read.is_missing) == (true.level, true.quote, true.is_missing)
            assert read.is_missing or read.cue == true.cue
            assert (read.value or 0.0, read.confidence, read.start_s) == (
                (true.value or 0.0) if true.level != "near" else 0.0,
                # A firm quote does not state how firm.
                1.0 if true.is_missing or (true.quote and true.confidence >= 0.5) else true.confidence,
                true.start_s,
            )
    assert n > 200


def test_a_second_vocabulary_is_read_back_as_the_first() -> None:
    n = 0
    for seen in scenes(45):
        told = reword(seen)
        back = read_observations(PromptLibrary().render("explain", told, appraise(seen)).messages)
        assert [o.line for o in back.items] == [o.line for o in told.items]
        for true, read in zip(seen.items, back.items, strict=True):
            if true.is_missing:
                assert read.is_missing
                continue
            n += 1
            assert (read.cue, read.level, read.quote) == (true.cue, true.level, true.quote)
            assert (read.start_s, read.end_s) == (true.start_s, true.end_s) or true.quote
            if true.quote is None and true.level != "near":
                assert (read.value, read.confidence) == (true.value, true.confidence)
                assert read.baseline_kind == true.baseline_kind
    assert n > 200


def test_the_appraisal_is_read_back_as_far_as_it_is_shown() -> None:
    n_conflicts = 0
    for seen in scenes(50):
        true = appraise(seen)
        read = read_appraisal(PromptLibrary().render("explain", seen, true).messages)
        assert read is not None or not true.by_modality
        if read is None:
            continue
        assert {m: d.top for m, d in read.by_modality.items()} == {m: d.top for m, d in true.by_modality.items()}
        assert (read.fused.top, read.conflicts, read.carried_by) == (true.fused.top, true.conflicts, true.carried_by)
        assert read.fused.valence == pytest.approx(true.fused.valence, abs=0.051)
        n_conflicts += len(read.conflicts)
    assert n_conflicts > 1
    assert read_appraisal((Message("user", "Observations\nnone"),)) is None


def test_conflicts_are_named_by_the_words_that_the_rows_name_them_by() -> None:
    assert NAMES_CONFLICT.pattern == sentences.NAMES_CONFLICT.pattern
    assert names_conflict("The face [F1] fits joy. The face and the words disagree.")
    assert not names_conflict("The channels do not conflict. The face [F1] fits joy.")
    assert names_conflict("There is no more to see. There is a conflict between the two.")


def test_what_the_program_restated_is_not_the_models_own() -> None:
    for made in (as_row(i) for i in range(8)):
        judged = judge(made, answer(made.answer))
        assert judged.is_opened
        assert (judged.own_claims, judged.own_supported) == (2, 2)
        assert judged.n_claims == judged.own_claims + made.opening.count("\n- ")
        whole = judge(replace(made, opening=""), answer(made.answer))
        assert whole.own_claims == whole.n_claims == judged.n_claims
        assert not whole.is_opened


def test_what_a_stranger_would_stumble_over_is_told() -> None:
    made = as_row(0)
    seen = read_observations(made.messages)
    asked = PromptLibrary().render("explain", seen, appraise(seen)).messages
    shown = replace(made, messages=(*asked, made.messages[-1]))
    label = judge(shown, answer(made.answer)).label
    assert judge(shown, answer(made.answer)).slips == ()
    for said, slip in (
        ("No use could be made of the face.", "face was read"),
        ("The words are missing from the evidence [M1].", "speech was read"),
        ("The face speaks clearly [F1].", "said twice"),
        ("The confidence in this is low.", "the confidence is 0.5"),
        ("The face and the words agree.", "the channels differ"),
        ("The voice fits what the face shows.", "voice was not read"),
        ("The person seems astonished.", f"the label is {label}, not surprised"),
    ):
        text = made.answer.replace("The words are plain [S1].", f"The words are plain [S1]. {said}")
        assert [s.partition(":")[0] for s in judge(shown, answer(text)).slips] == [slip]
    told = made.answer.replace("The words are plain [S1].", "The tone of voice is unknown [M1].")
    assert judge(shown, answer(told)).slips == ()
    read = judge(shown, answer(made.answer.replace("The words are plain", "The words convey joy")))
    assert (read.n_feelings, read.n_feelings_right) == (1, 0)


def test_yes_and_no_are_read_from_the_beginning() -> None:
    asked = Row(1, (Message("user", "Is it there?"), Message("assistant", "No.")), task="yes-no")
    judged = [judge(asked, answer(text)) for text in ("No, see [M1].", "Yes, in [F1].", "The face")]
    assert [j.gold_yes for j in judged] == [False] * 3
    assert [j.said_yes for j in judged] == [False, True, None]


def test_distinct_2_is_that_of_the_data_card() -> None:
    texts = ["a b a b", "A b c", "x"]
    assert distinct_2(texts) == pytest.approx(3 / 5)
    assert card._shapes(texts)["distinct_2"] == pytest.approx(distinct_2(texts), abs=1e-4)
    assert named_labels('Joy, though "I am sad" is said [S1]') == {"happy"}


def test_claims_are_judged_as_over_the_true_observations() -> None:
    shown = scenes(40)
    n_contradicted = 0
    for i, seen in enumerate(shown):
        other = shown[(i + 1) % len(shown)]
        back = read_observations(PromptLibrary().render("explain", seen, appraise(seen)).messages)
        for source in (seen, other):
            text = compose(source, appraise(source), random.Random(i))
            told = parse_text(text)
            assert isinstance(told, Explanation)
            true, read = check(told, seen), check(replace(told), back)
            assert [c.verdict for c in true.claims] == [c.verdict for c in read.claims]
            n_contradicted += sum(c.verdict.value == "contradicted" for c in true.claims)
    assert n_contradicted > 40


def as_row(number: int) -> Row:
    made = row(number)
    return Row(number, tuple(Message(m["role"], m["content"]) for m in made["messages"]), made["opening"], "explain")


def answer(text: str, reason: str = "stop") -> Completion:
    return Completion(text, "echo", "echo", "explain", "2", finish_reason=reason)


def test_the_rows_own_answers_are_perfect() -> None:
    rows = [as_row(i) for i in range(12)]
    figures = summarise([judge(r, answer(r.answer)) for r in rows])
    assert figures == {
        "parsed": 1.0, "label_f1": pytest.approx(1.0), "supported": 1.0, "hallucinated": 0.0, "covered": 1.0,
    }  # fmt: skip


def test_an_unread_answer_is_a_miss_and_never_left_out() -> None:
    rows = [as_row(i) for i in range(12)]
    half = [judge(r, answer(r.answer if i % 2 else "I feel fine")) for i, r in enumerate(rows)]
    figures = summarise(half)
    assert figures["parsed"] == 0.5
    assert figures["label_f1"] < 0.8
    cut = judge(rows[0], answer(rows[0].answer, "length"))
    assert not cut.is_parsed
    assert summarise([cut])["parsed"] == 0.0


def test_an_imagined_cue_counts_against_the_answer() -> None:
    seen, _ = scene(random.Random("0/0"))
    made = as_row(0)
    absent = "chin raiser" if all(o.cue != "AU17" for o in seen.items) else "brow lowerer"
    text = made.answer.replace("The face speaks clearly [F1].", f"A marked {absent} shows [F1].")
    judged = judge(made, answer(text))
    assert judged.is_parsed
    assert (judged.n_imagined, judged.n_claims - judged.n_supported) == (1, 1)
    assert judged.faults[0].startswith("'chin raiser'")


def test_other_tasks_are_judged_by_the_rows_answer() -> None:
    label = Row(1, (Message("user", "Which emotion?"), Message("assistant", "Happy")), task="label")
    right, wrong = judge(label, answer(" happy.\n")), judge(label, answer("sad"))
    assert summarise([right, wrong]) == {"parsed": 1.0, "exact": 0.5}
