"""Memory: word for word, within its budget, the telling and the recent first."""

from __future__ import annotations

import pytest
from dialogue_fakes import AskedEngine, DownEngine
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.dialogue.memory import count_tokens, recent, remember
from affectgpt.dialogue.records import Line
from affectgpt.dialogue.retelling import is_told_in, retold
from affectgpt.prompting import PromptLibrary


def person(*texts: str) -> list[Line]:
    return [Line("you", text) for text in texts]


def test_facts_and_feelings_are_kept_and_small_talk_is_not() -> None:
    found = remember(
        person(
            "Hello there, how are you?", "My sister Ana lives in Porto.", "ok then, let us see", "I feel so lonely."
        ),
        100,
    )
    assert found.facts == ("My sister Ana lives in Porto.",)
    assert found.feelings == ("I feel so lonely.",)


def test_other_languages_are_remembered_too() -> None:
    lines = person(
        "Ich habe gestern meine Arbeit verloren.",
        "Estoy muy triste por mi hermano.",
        "Je suis épuisée par mon travail.",
    )
    found = remember(lines, 200)
    assert "Ich habe gestern meine Arbeit verloren." in found.facts
    assert "Estoy muy triste por mi hermano." in (*found.facts, *found.feelings)
    assert "Je suis épuisée par mon travail." in (*found.facts, *found.feelings)


def test_what_the_agent_said_is_not_remembered() -> None:
    assert remember([Line("agent", "My sister Ana lives in Porto.", is_agent=True)], 100).facts == ()


def test_what_is_said_twice_is_kept_once_and_the_later_one() -> None:
    found = remember(person("My sister Ana lives in Porto.", "So my sister Ana lives in Porto now."), 200)
    assert found.facts == ("So my sister Ana lives in Porto now.",)


def test_of_two_alike_in_weight_the_recent_one_stays() -> None:
    lines = person("My brother moved to Berlin last year.", *["Right."] * 150, "My mother works in Madrid this year.")
    assert remember(lines, 2 * count_tokens("My mother works in Madrid this year.")).facts == (
        "My mother works in Madrid this year.",
    )


SENTENCES = st.lists(
    st.sampled_from(["My dog Rex died yesterday.", "I am sad.", "I hate my job at Acme.", "x" * 900, "¿Y?"])
)


@given(SENTENCES, st.integers(0, 200))
def test_the_budget_holds_and_every_word_was_said(texts: list[str], budget: int) -> None:
    found = remember(person(*texts), budget)
    kept = [*found.facts, *found.feelings]
    assert sum(count_tokens(t) for t in kept) == found.n_tokens <= budget
    assert all(any(t.removesuffix(" …") in text for text in texts) for t in kept)


@given(st.lists(st.text(max_size=60), min_size=1), st.integers(0, 100))
def test_recent_lines_fit_or_are_the_last_one(texts: list[str], budget: int) -> None:
    n = recent(person(*texts), budget)
    assert 1 <= n <= len(texts)
    assert n == 1 or sum(count_tokens(t) + 2 for t in texts[-n:]) <= budget


TOLD = person(
    "My sister Ana lives in Porto with her two kids.",
    "My mother works in a hospital since last year.",
    "I feel so lonely since we moved to Berlin.",
    "My boss fired me on Monday, I was scared.",
)


def test_a_model_may_tell_it_shorter_where_it_adds_nothing() -> None:
    engine = AskedEngine("- Their sister Ana lives in Porto.\n- The boss fired them on Monday; they feel lonely.")
    found = retold(TOLD, 50, engine, PromptLibrary())
    assert found.is_retold
    assert found.facts == ("Their sister Ana lives in Porto.", "The boss fired them on Monday; they feel lonely.")
    assert found.n_tokens <= 50
    assert "My boss fired me on Monday" in engine.asked[0].messages[-1].content


@pytest.mark.parametrize(
    "said", ["Ana lives in Madrid.", "Ana has 3 kids.", "They have clinical depression.", "", "x" * 400]
)
def test_what_was_never_said_is_not_remembered(said: str) -> None:
    assert retold(TOLD, 50, AskedEngine(said), PromptLibrary()) == remember(TOLD, 50)


def test_without_a_model_or_a_need_the_sentences_stay() -> None:
    assert retold(TOLD, 50, DownEngine(), PromptLibrary()) == remember(TOLD, 50)
    engine = AskedEngine()
    assert retold(TOLD, 500, engine, PromptLibrary()) == remember(TOLD, 500)
    assert engine.asked == []


def test_names_and_figures_are_held_against_what_was_said() -> None:
    assert is_told_in("The sister lives in Porto.", ["My sister lives in Porto."])
    assert not is_told_in("The sister lives in Porto since 2019.", ["My sister lives in Porto."])
