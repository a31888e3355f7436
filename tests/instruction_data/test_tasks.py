"""Rows of every task: the answer follows from what is shown, whatever is drawn."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from affectgpt.appraise.prototypes import appraise
from affectgpt.corpora import GOEMOTIONS, STRATEGIES, Example, read_esconv
from affectgpt.cues import load_cues
from affectgpt.emotions import load_lexicon
from affectgpt.evaluation.faithfulness import said_yes
from affectgpt.mentions import find_mentions
from affectgpt.records import Message, Modality, Observations
from affectgpt.textualize import Sensed, tell
from instruction_data.drafts import Draft, Workbench
from instruction_data.evidence import draw_face
from instruction_data.filters import FilterOptions, Filters
from instruction_data.material import Material, Said
from instruction_data.scenes import Mix, Stage
from instruction_data.tasks import TASKS
from instruction_data.tasks.rating import intensity

N = 60
LINES = ("I lost my keys again today", "Oh no, that is bad luck", "And then it began to rain on me")


def said(source: str, **fields: object) -> Said:
    example = Example("x", str(fields.pop("text", LINES[2])), **fields)  # type: ignore[arg-type]
    return Said(source, None, "", "d1", example)


def corrected() -> Said:
    seen = tell(Sensed(draw_face(random.Random(3), "sad", 2.0), None, None)).items
    example = Example("x", label="sad", labels=("let down",), group={"media": ""}, observations=seen)
    return Said("feedback", "sad", "", "c1", example)


@cache
def bench() -> Workbench:
    rows = {
        "emobank": [
            said("emobank", values={"valence": v, "arousal": 0.2, "dominance": -0.05}) for v in (-0.9, -0.2, 0.0, 0.4)
        ],
        "goemotions": [said("goemotions", labels=("joy", "admiration"))],
        "reccon": [said("reccon", label="sadness", context=LINES[:2], spans=("it began to rain", "lost my keys"))],
        "empathetic_dialogues": [
            said("empathetic_dialogues", label="sad", context=LINES[:2], references=("Oh,I am sorry.",))
        ],
        "feedback": [corrected()],
        "esconv": [said("esconv", label="Questions", context=(f"seeker: {LINES[0]}",), references=("What happened?",))],
    }
    material = Material("train", rows)
    return Workbench(material, Stage(material, Mix()), lambda s: appraise(s.observations, s.words))


def made(task: str, n: int = N) -> Iterator[Draft]:
    for seed in range(n):
        if (draft := TASKS[task](random.Random(f"{task}/{seed}"), bench())) is not None:
            yield draft


@pytest.mark.parametrize("task", TASKS)
def test_every_task_makes_rows_that_pass_the_filters_and_the_same_twice(task: str) -> None:
    filters, n = Filters(FilterOptions(blind=False)), 0
    for draft, again in zip(made(task, 25), made(task, 25), strict=True):
        assert (draft.prompt, draft.answer, draft.parts) == (again.prompt, again.answer, again.parts)
        if task != "explain":  # whose answer a writer writes
            assert filters.why_not(task, draft) == ""
        n += 1
    assert n >= 10


@pytest.mark.parametrize("in_turn", [0.0, 1.0])
def test_half_the_yes_no_questions_plant_what_was_not_observed(in_turn: float) -> None:
    verdicts = []
    for seed in range(120):
        draft = TASKS["yes-no"](random.Random(f"yes-no/{seed}"), replace(bench(), in_turn=in_turn))
        if draft is None:
            continue
        turns = [*draft.prompt.messages, Message("assistant", draft.answer)]
        assert [m.role for m in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert (len(turns) > 2) == bool(in_turn)
        assert draft.evidence is not None
        asked = [m.content.rpartition("\n\n")[2] for m in turns[::2]]
        assert len({*asked}) == len(asked)
        for question, answer in zip(asked, (m.content for m in turns[1::2]), strict=True):
            yes = said_yes(answer)
            assert (yes is not None) == question.endswith("Answer yes or no.")
            if yes is not None:
                assert_true(question, answer, yes, draft.evidence.observations)
                verdicts.append(yes)
    assert 0.3 < sum(verdicts) / len(verdicts) < 0.7


def assert_true(question: str, answer: str, yes: bool, observed: Observations) -> None:
    """A yes where it was observed, with its id, and a no where it was not."""
    for cited in re.findall(r"\[(\w+)\]", answer):
        assert cited in observed.by_id()
    if "as a cue of its own" in question:
        named = {m.cue for m in find_mentions(question)}
        assert bool(named & {o.cue for o in observed.items}) == yes
    if quote := re.search(r'saying "(.+)"\?', question):
        assert any(o.quote == quote[1] for o in observed.items) == yes


def test_numbers_are_quoted_as_they_stand() -> None:
    for draft in made("numbers"):
        assert draft.evidence is not None
        known = draft.evidence.observations.by_id()
        cited = re.findall(r"\[(\w+)\]", draft.answer)
        if not cited:
            assert "No observation" in draft.answer
            continue
        shown = known[cited[0]].text.replace("–", " ")
        for number in re.findall(r"-?\d+(?:\.\d+)?", draft.answer.partition("[")[0].replace("–", " ")):
            assert number in shown


def test_a_described_face_names_every_unit_and_its_class() -> None:
    for draft in made("describe"):
        listed = dict(re.findall(r"(AU\d+) (\d\.\d)", draft.prompt.messages[-1].content))
        found = {m.cue: m for m in find_mentions(draft.answer)}
        assert set(listed) <= set(found)
        for unit, value in listed.items():
            level = load_cues().face_level(float(value))
            assert level is not None
            assert level.letter in found[unit].levels


def test_intensities_are_those_of_the_cues_that_carry_the_feeling() -> None:
    for draft in made("ei-reg"):
        assert draft.evidence is not None
        assert 0 <= float(draft.answer) <= 1
        read = draft.evidence.appraisal.by_modality
        for label in load_lexicon().labels("basic8"):
            amount = intensity(draft.evidence, label)
            shown = any(d.top == label for d in read.values())
            assert amount == 0 or shown
        assert draft.evidence.label is None or draft.evidence.observations.items
    for draft in made("ei-oc"):
        assert re.fullmatch(r"[0-3]: (?:no|(?:low|moderate|high) amount of) \w+ can be inferred", draft.answer)


def test_valences_keep_their_sign_and_their_order() -> None:
    regs = {d.parts[0].text + str(d.answer): float(d.answer) for d in made("v-reg")}
    assert set(regs.values()) <= {0.05, 0.4, 0.5, 0.7}
    classes = {int(d.answer.partition(":")[0]) for d in made("v-oc")}
    assert classes == {-3, -1, 0, 2}
    for draft in made("v-oc"):
        at = int(draft.answer.partition(":")[0])
        assert ("negative" in draft.answer, "positive" in draft.answer) == (at < 0, at > 0)
    assert all(re.fullmatch(r"Valence: -?\d\.\d\d\nArousal: 0\.20\nDominance: -0\.05", d.answer) for d in made("vad"))


def test_lists_of_feelings_follow_the_set_and_causes_are_copied() -> None:
    assert {d.answer for d in made("e-c")} == {"admiration, joy"}
    assert GOEMOTIONS.index("admiration") < GOEMOTIONS.index("joy")
    for draft in made("cause"):
        shown = draft.prompt.messages[-1].content
        assert all(span.strip('"') in shown for span in draft.answer.splitlines())
        assert shown.rpartition("Feeling")[0].rstrip().splitlines()[-1] == f"A: {LINES[2]}"


def test_replies_and_strategies_are_the_corpus_own() -> None:
    for draft in made("reply"):
        assert draft.answer == "Oh, I am sorry."
        assert draft.prompt.messages[-1].content.splitlines()[1:4] == [
            f"{who}: {line}" for who, line in zip(("speaker", "listener", "speaker"), LINES, strict=True)
        ]
        assert draft.writer == "corpus"
    assert {d.answer for d in made("strategy")} == {"Strategy: Questions\nReply: What happened?"}


def test_the_label_alone_is_the_appraisals_or_cannot_tell() -> None:
    seen = set()
    for draft in made("label", 150):
        assert draft.evidence is not None
        is_blank = not draft.evidence.appraisal.by_modality
        assert draft.answer == ("cannot tell" if is_blank else draft.evidence.appraisal.fused.top)
        seen.add(draft.answer)
    assert len(seen) >= 6


def test_esconv_windows_give_dialogues_strategies_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text(
        "1.0 0 0 I am so tired  EOS 1.0 1 1 [Questions] Why is that?\n"
        "0.0 1 1 [Questions] Why is that? EOS 0.0 0 2 Work. EOS 1.0 1 3 [Self-disclosure] Me too\n"
        "1.0 0 0 My dog died EOS 1.0 1 1 [Other] Oh.\n"
        "1.0 1 0 [Other] Hello\n"
        "what is this\n"
    )
    corpus = read_esconv(path)
    assert [e.group["dialogue"] for e in corpus.usable] == ["0", "0", "1"]
    assert [e.label for e in corpus.usable] == ["Questions", "Self-disclosure", "Other"]
    assert corpus.usable[1].context == ("supporter: Why is that?", "seeker: Work.")
    assert corpus.usable[1].text == "Work."
    assert len(corpus.faults) == 2
    assert len(STRATEGIES) == 8


def test_every_set_of_channels_and_no_evidence_occur() -> None:
    seen = set()
    for seed in range(150):
        scene = bench().stage.draw(random.Random(seed))
        seen.add(frozenset(o.modality for o in scene.observations.items if not o.is_missing))
    assert len(seen) >= 7
    assert frozenset() in seen
    assert frozenset(Modality) in seen
