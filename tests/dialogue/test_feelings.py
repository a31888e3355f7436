"""HEF: the shortlist first, the rest on "none of these", cause words in stars; each part with its switch."""

from __future__ import annotations

import pytest
from dialogue_fakes import AskedEngine, DownEngine

from affectgpt.dialogue.feelings import FIRST, REST, FeelingOptions, Question, decide, decide_all, marked, named_in
from affectgpt.errors import OptionError
from affectgpt.prompting import PromptLibrary
from affectgpt.records import Prompt

READ = {"sad": 0.5, "lonely": 0.3, "angry": 0.1, "proud": 0.06, "joyful": 0.04}
CAUSES = ((2, 6, 0.2), (7, 10, 0.8), (11, 14, 0.9))
ASKED = Question("I lost my job", READ, CAUSES, ("They: hello", "You: hi"))
PROMPTS = PromptLibrary()


def feeling(*answers: str, options: FeelingOptions | None = None) -> tuple[tuple[str, str, str], list[Prompt]]:
    engine = AskedEngine(*answers)
    found = decide(ASKED, "empathetic32", engine, PROMPTS, options)
    return (found.label, found.decided_by, found.note), engine.asked


def shown(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def test_the_shortlist_decides_in_one_question() -> None:
    found, asked = feeling("lonely.")
    assert found == ("lonely", "engine first", "")
    assert [p.prompt_id for p in asked] == [FIRST]
    assert "sad, lonely, angry, or none of these" in shown(asked[0])
    assert "proud" not in shown(asked[0])


def test_none_of_these_asks_for_the_rest_alone() -> None:
    found, asked = feeling("None of these", "proud")
    assert found == ("proud", "engine rest", "")
    assert [p.prompt_id for p in asked] == [FIRST, REST]
    assert "Feelings: proud, joyful" in shown(asked[1])


def test_a_label_beyond_the_shortlist_is_taken_at_once() -> None:
    found, asked = feeling("It is joyful, I think.")
    assert found == ("joyful", "engine rest", "")
    assert len(asked) == 1


def test_one_stage_shows_all_labels() -> None:
    found, asked = feeling("angry", options=FeelingOptions(n_first=0))
    assert found[:2] == ("angry", "engine rest")
    assert [p.prompt_id for p in asked] == [REST]
    assert all(label in shown(asked[0]) for label in READ)


@pytest.mark.parametrize("answers", [("banana",), ("none of these", "none of these"), ("", ""), ("none", "hm")])
def test_an_answer_that_names_nothing_leaves_the_small_model_with_a_note(answers: tuple[str, ...]) -> None:
    found, _ = feeling(*answers)
    assert found[:2] == ("sad", "words")
    assert found[2]


def test_an_engine_that_is_down_leaves_the_small_model_with_a_note() -> None:
    found = decide(ASKED, "empathetic32", DownEngine(), PROMPTS)
    assert (found.label, found.decided_by) == ("sad", "words")
    assert "nothing answers" in found.note


def test_many_are_asked_side_by_side_and_stay_apart() -> None:
    other = Question("We won", {"proud": 0.9, "sad": 0.1}, (), ())
    engine = AskedEngine("none of these", "proud", "joyful")
    found = decide_all([ASKED, other], "empathetic32", engine, PROMPTS)
    assert [f.label for f in found] == ["joyful", "proud"]
    assert [p.prompt_id for p in engine.asked] == [FIRST, FIRST, REST]


def test_cause_words_are_starred_and_can_be_left_plain() -> None:
    assert "They: I lost *my job*" not in shown(feeling("sad", options=FeelingOptions(marks_causes=False))[1][0])
    words = "I lost my job"
    places = ((0, 1, 0.1), (2, 6, 0.2), (7, 9, 0.8), (10, 13, 0.9))
    assert marked(words, places, FeelingOptions()) == "I lost *my job*"
    assert marked(words, places, FeelingOptions(n_marked=1)) == "I lost my *job*"
    assert marked(words, places, FeelingOptions(marks_causes=False)) == words
    assert marked("*system* hi", (), FeelingOptions()) == "system hi"


def test_the_first_label_named_counts() -> None:
    assert named_in("Sad, not angry", ["angry", "sad"]) == "sad"
    assert named_in("sadly", ["sad"]) is None
    assert named_in("none of these; maybe sad", ["sad"]) is None


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="n_first"):
        FeelingOptions(n_first=-1)
