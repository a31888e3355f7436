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
from finetune.judging import judge, summarise
from finetune.observed import read_observations
from finetune.rows import Row
from instruction_data.composer import compose
from instruction_data.evidence import draw

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
    assert n > 200


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
