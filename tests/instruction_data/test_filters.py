"""Filters: each drops what it is there for, and lets the rest pass."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.appraise.prototypes import appraise
from affectgpt.errors import EngineError, EngineUnreachable, OptionError
from affectgpt.parsing import parse_text
from affectgpt.records import Completion, Explanation, Interval, Modality, Observation, Observations, Prompt, Sampling
from affectgpt.textualize import Sensed
from instruction_data.annotating import EngineAnnotator, PanelAnnotator
from instruction_data.composer import compose
from instruction_data.drafts import Draft, Evidence
from instruction_data.evidence import draw_face, draw_voice
from instruction_data.filters import FilterOptions, Filters, is_in, vote
from instruction_data.near import Repeats
from instruction_data.scenes import Part, StagedScene, mouth_moves
from instruction_data.splits import Splitter, TestFiles, fold
from instruction_data.writers import ComposerWriter, TeacherWriter

SMILE = Observation("F1", Modality.FACE, "AU12", "lip corner puller (AU12) severe, 4.0 of 5", value=4.0, level="D")
CHEEK = replace(SMILE, id="F2", cue="AU6", text="cheek raiser (AU6) severe, 4.0 of 5")
FROWN = replace(SMILE, id="F3", cue="AU15", text="lip corner depressor (AU15) trace, 0.8 of 5", value=0.8, level="A")
SEEN = Observations((SMILE, CHEEK, FROWN))
PROMPT = Prompt((), "explain", "2")


def evidence(label: str | None = "happy", source: str = "muxspace", seen: Observations = SEEN) -> Evidence:
    scene = StagedScene(seen, Sensed(), None, (Part(Modality.FACE, source, label),))
    read = appraise(seen)
    return Evidence(scene, read, read.fused.top)


def draft(answer: str = "", e: Evidence | None = None, writer: str = "teacher", **more: object) -> Draft:
    e = e or evidence()
    answer = answer or compose(e.observations, e.appraisal, random.Random(1))
    return replace(Draft(PROMPT, answer, writer=writer, label=e.label).over(e), **more)  # type: ignore[arg-type]


def why(d: Draft, task: str = "explain", **options: object) -> str:
    return Filters(FilterOptions(words={"default": (1, 400)}, **options)).why_not(task, d)  # type: ignore[arg-type]


def told(interpretation: str) -> str:
    whole = compose(SEEN, appraise(SEEN), random.Random(1))
    head, _, rest = whole.partition("**Interpretation**\n")
    return f"{head}**Interpretation**\n{interpretation}\n**Conclusion**{rest.partition('**Conclusion**')[2]}"


def test_a_sound_row_passes() -> None:
    assert why(draft()) == ""
    assert why(draft(told("Raised lip corners [F1] and raised cheeks [F2] fit joy. It could also be surprise."))) == ""


@pytest.mark.parametrize(
    ("interpretation", "reason"),
    [
        ("Raised cheeks [F2] fit joy, as the label says.", "leak"),
        ("The ground truth is joy, so raised cheeks [F2] fit it.", "leak"),
        ("I'm sorry, as an AI I cannot say. Raised cheeks [F2] fit joy.", "refusal"),
        ("A wrinkled nose [F1] fits joy.", "grounding"),
        ("Slight raised cheeks [F2] fit joy.", "grounding"),
        ("The person seems happy.", "blind"),
        ("A trace of lowered lip corners [F3] fits joy.", "blind"),
    ],
)
def test_a_teacher_that_leaks_refuses_invents_or_rationalises_is_dropped(interpretation: str, reason: str) -> None:
    assert why(draft(told(interpretation))).startswith(f"{reason}: ")


def test_a_first_part_of_another_hand_is_checked_too() -> None:
    sound = draft()
    assert why(sound) == ""
    invented = sound.answer.replace("(AU12), severe, 4.0 of 5", "(AU12), trace, 0.9 of 5")
    assert invented != sound.answer
    assert why(draft(invented)).startswith("grounding: ")


def test_quotes_and_a_corpus_own_words_may_say_anything() -> None:
    assert why(draft("I'm sorry, I cannot help but feel the task is lost.", writer="corpus"), task="reply") == ""


def test_answers_without_form_or_of_a_wrong_length_are_dropped() -> None:
    assert why(draft("unwritten: the server refused")).startswith("form: ")
    assert why(draft("**Key observations**\nnothing else")).startswith("form: expected the headings")
    options = FilterOptions(words={"explain": (1000, 2000)})
    assert Filters(options).why_not("explain", draft()) == "length: short"


def test_parts_and_annotators_that_disagree_drop_a_row() -> None:
    sad, angry = draft(e=evidence("sad")), draft(e=evidence("surprised"))
    assert why(sad) == "agreement: the annotators find another sentiment"
    assert why(angry) == ""
    assert why(angry, agreement="emotion") == "agreement: the annotators name another emotion"
    assert why(sad, agreement="off") == why(draft(e=evidence("sad", "drawn"))) == ""


def test_the_majority_decides() -> None:
    assert vote("happy", ["happy", "sad", "sad"], "sentiment") != ""
    assert vote("happy", ["happy", "sad"], "sentiment") == ""
    assert vote("happy", ["surprised", "surprised", "sad"], "sentiment") == ""
    assert vote("happy", [], "emotion") == ""
    assert vote("neutral", ["sad"], "emotion") == ""
    assert vote("sad", ["neutral", "neutral"], "emotion") == ""


class Says:
    """An engine that gives these answers in turn; an exception is raised."""

    name, model = "fake", "m"

    def __init__(self, *said: str | EngineError) -> None:
        self.said = list(said)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.prompts = prompts
        answers = [self.said.pop(0) for _ in prompts]
        for answer in answers:
            if isinstance(answer, EngineError):
                raise answer
        return [
            Completion(str(a), self.name, self.model, p.prompt_id, p.version)
            for a, p in zip(answers, prompts, strict=True)
        ]

    def stream(self, prompt: Prompt, sampling: Sampling) -> list[str]:
        return []


def test_a_language_model_votes_by_its_first_line() -> None:
    annotator = EngineAnnotator(Says("Happy.", "cannot tell", "purple"))
    assert annotator.annotate([evidence()] * 3) == ["happy", None, None]
    assert EngineAnnotator(Says(EngineError("full"))).annotate([evidence()]) == [None]
    with pytest.raises(EngineUnreachable):
        EngineAnnotator(Says(EngineUnreachable("down"))).annotate([evidence()])
    dropped = Filters(FilterOptions(words={}), annotators=[EngineAnnotator(Says("sad")), EngineAnnotator(Says("sad"))])
    assert dropped.why_not("explain", draft()).startswith("agreement")


@pytest.mark.slow
def test_the_panel_votes_on_what_it_reads() -> None:
    rng = random.Random(2)
    scene = StagedScene(SEEN, Sensed(face=draw_face(rng, "happy", 3.0)), None, ())
    assert PanelAnnotator().annotate([Evidence(scene, appraise(SEEN), "happy")])[0] in ("happy", "surprised", "neutral")


# ---------------------------------------------------------------- writers


def test_a_teachers_reasons_stand_between_our_evidence_and_our_conclusion() -> None:
    reasons = "Raised lip corners [F1] and raised cheeks [F2] fit joy. It could also be surprise."
    engine = Says(told(reasons).replace("Label: happy", "Label: sad"))
    (answer,) = TeacherWriter(engine, is_told=True).write([evidence()], [random.Random(0)])
    read = parse_text(answer)
    assert isinstance(read, Explanation)
    assert read.interpretation == reasons
    assert read.conclusion.label == "happy"
    assert "comes to: happy" in engine.prompts[0].messages[-1].content
    blind = Says(told(reasons).replace("Label: happy", "Label: sad"))
    (own,) = TeacherWriter(blind, is_told=False).write([evidence()], [random.Random(0)])
    assert "Label: sad" in own
    assert "happy" not in blind.prompts[0].messages[0].content


def test_one_failing_answer_costs_one_row_and_a_dead_server_ends_the_build() -> None:
    good = told("Raised cheeks [F2] fit joy.")
    writer = TeacherWriter(Says("x", EngineError("too long"), good, EngineError("too long")), is_told=True)
    answers = writer.write([evidence()] * 2, [random.Random(0)] * 2)
    assert answers[0].endswith(good.partition("**Conclusion**")[2])
    assert answers[1] == "unwritten: too long"
    with pytest.raises(EngineUnreachable):
        TeacherWriter(Says(EngineUnreachable("down")), True).write([evidence()], [random.Random(0)])
    (refused,) = TeacherWriter(Says("I'm sorry, I cannot help."), True).write([evidence()], [random.Random(0)])
    assert why(draft(refused)).startswith("refusal")


def test_the_composer_is_a_writer_like_another() -> None:
    written = ComposerWriter().write([evidence()] * 2, [random.Random(3), random.Random(3)])
    assert written[0] == written[1]


# ---------------------------------------------------------------- low level


def test_a_mouth_that_is_still_while_somebody_speaks_is_found() -> None:
    rng = random.Random(0)
    voice = replace(draw_voice(rng, "happy", 4.0), speech=(Interval(0.5, 3.5),))
    face = draw_face(rng, "surprised", 4.0)
    mouth = [face.units.index(25), face.units.index(26)]
    still, moving = face.action_units.copy(), face.action_units.copy()
    still[:, mouth] = 0.3
    moving[:, mouth] = np.abs(np.sin(np.arange(len(moving)) * 1.3))[:, None] * 2
    assert mouth_moves(replace(face, action_units=moving), voice)
    assert not mouth_moves(replace(face, action_units=still), voice)
    assert mouth_moves(replace(face, action_units=still), replace(voice, speech=()))


def test_languages_are_told_apart_and_slang_passes() -> None:
    assert is_in("en", "I can not believe what they said to me yesterday evening")
    assert not is_in("en", "Ich kann wirklich nicht glauben, was sie gestern Abend zu mir gesagt haben")
    assert is_in("en", "omg i cant even lmao")
    foreign = draft("It is.", writer="corpus", foreign=("Je suis tellement content de te voir aujourd'hui mon ami",))
    assert why(foreign, task="reply") == "language: not en"
    assert why(foreign, task="reply", language="") == ""


@given(st.text(max_size=80))
def test_the_language_and_the_folding_of_any_text(text: str) -> None:
    assert is_in("en", text) in (True, False)
    assert fold(fold(text)) == fold(text)


def test_repetitions_are_found_word_for_word_and_nearly() -> None:
    words = [f"w{i}" for i in range(200)]
    repeats = Repeats(0.9)
    assert repeats.why_not(" ".join(words)) == ""
    assert repeats.why_not(" ".join(words).upper() + "!") == "duplicate: word for word"
    assert repeats.why_not(" ".join([*words[:-1], "other"])) == "duplicate: nearly"
    assert repeats.why_not(" ".join(reversed(words))) == ""
    exact_only = Repeats(0.0)
    assert [exact_only.why_not(t) for t in ("a b c d", "a b c e", "A b, c d")] == ["", "", "duplicate: word for word"]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=12))
def test_what_was_kept_is_always_a_repetition(words: list[str]) -> None:
    repeats = Repeats(0.9)
    repeats.why_not(" ".join(words))
    assert repeats.why_not(" ".join(words)).startswith("duplicate")


# ---------------------------------------------------------------- splits


@given(st.lists(st.text(max_size=9), min_size=1, max_size=5), st.integers(0, 9))
def test_a_key_always_falls_in_one_split(keys: list[str], seed: int) -> None:
    splitter = Splitter({"train": 0.8, "dev": 0.2}, seed)
    found = {splitter.of_key(k) for k in keys}
    assert splitter.of(keys) == (next(iter(found)) if len(found) == 1 else None)
    assert splitter.of_key(keys[0]) == Splitter({"train": 0.8, "dev": 0.2}, seed).of_key(keys[0])


def test_shares_are_kept_and_wrong_ones_refused() -> None:
    splitter = Splitter({"train": 0.8, "dev": 0.2})
    n_dev = sum(splitter.of_key(f"speaker{i}") == "dev" for i in range(4000))
    assert 0.17 < n_dev / 4000 < 0.23
    with pytest.raises(OptionError):
        Splitter({"train": 0.5})


def test_test_files_are_found_by_media_and_by_text(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.tsv").write_text("1\tI never said that you were wrong\n")
    (tmp_path / "c.json").write_text('{"x": [{"t": "We walked along the river at night."}]}')
    (tmp_path / "torn.json").write_text('{"x": \nHere stands half a broken document')
    held = TestFiles(tmp_path)
    sha = "bd1a5ec4e1d3b0e0bd1a5ec4e1d3b0e0"
    assert held.holds(("I never said, that YOU were wrong!",), ()) == "a text"
    assert held.holds(("we walked along the river at night",), ()) == "a text"
    assert held.holds(("Here stands half a broken document",), ()) == "a text"
    assert held.holds(("Well, yes.",), (sha,)) == ""
    assert held.holds((), held.media) == "a recording"
    with pytest.raises(OptionError, match="no folder"):
        TestFiles(tmp_path / "none")
