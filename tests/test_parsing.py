"""Answers read back, or refused with the reason and the raw text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.answers import answer_schema, labels, write_answer
from affectgpt.parsing import citations, parse, parse_text, sentences
from affectgpt.records import Completion, Conclusion, Explanation, UnparsedAnswer

GOOD = """**Key observations**
- A marked smile (AU12) [F1].
- The words are "I got the job" [S1].
**Interpretation**
The smile [F1] and the words [S1] agree. Surprise is an alternative.
**Conclusion**
Emotions: joyful, relieved
Label: happy
Valence: 0.6
Arousal: 0.3
Dominance: -0.1
Confidence: 0.7"""


def test_the_three_parts_are_read() -> None:
    answer = parse_text(GOOD)
    assert isinstance(answer, Explanation)
    assert answer.observations == ("A marked smile (AU12) [F1].", 'The words are "I got the job" [S1].')
    assert answer.conclusion == Conclusion(("joyful", "relieved"), "happy", 0.6, 0.3, -0.1, 0.7)
    assert [c.section for c in answer.claims] == ["observations"] * 2 + ["interpretation"] * 2
    assert answer.claims[2].cites == ("F1", "S1")


@pytest.mark.parametrize("dress", ["## {}", "### {}:", "**{}:**", "1. **{}**", "{}", "{}:", "** {} **"])
def test_headings_are_read_in_the_dresses_models_use(dress: str) -> None:
    text = GOOD
    for heading in ("Key observations", "Interpretation", "Conclusion"):
        text = text.replace(f"**{heading}**", dress.format(heading))
    assert isinstance(parse_text(text), Explanation)


def test_the_json_dress_says_the_same() -> None:
    row = {
        "key_observations": ["A marked smile (AU12) [F1].", 'The words are "I got the job" [S1].'],
        "interpretation": "The smile [F1] and the words [S1] agree. Surprise is an alternative.",
        "conclusion": {
            "emotions": ["joyful", "relieved"],
            "label": "happy",
            "valence": 0.6,
            "arousal": 0.3,
            "dominance": -0.1,
            "confidence": 0.7,
        },
    }
    plain, dressed = parse_text(GOOD), parse_text(json.dumps(row))
    fenced = parse_text(f"```json\n{json.dumps(row)}\n```")
    assert isinstance(plain, Explanation)
    for other in (dressed, fenced):
        assert isinstance(other, Explanation)
        assert (other.observations, other.conclusion, other.claims) == (
            plain.observations,
            plain.conclusion,
            plain.claims,
        )


def test_cannot_tell_is_an_answer() -> None:
    answer = parse_text(GOOD.replace("joyful, relieved", "cannot tell").replace("Label: happy", "Label: cannot tell"))
    assert isinstance(answer, Explanation)
    assert answer.conclusion.label is None
    assert answer.conclusion.emotions == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("**Interpretation**\n", "", "headings"),
        ("**Key observations**", "Sure!\n**Key observations**", "before the first heading"),
        ("Label: happy", "Label: splendid chair", "none of the basic labels"),
        ("Label: happy\n", "", "no label"),
        ("Valence: 0.6", "Valence: high", "not a number"),
        ("Valence: 0.6", "Valence: 1.6", "outside"),
        ("Confidence: 0.7", "Confidence: -0.2", "outside"),
        ("Confidence: 0.7", "Confidence: 0.7\nConfidence: 0.2", "twice"),
        ("- A marked smile (AU12) [F1].\n", "- A smile.\n" * 4, "loops"),
        ("The smile [F1] and the words [S1] agree. Surprise is an alternative.", "", "Interpretation is empty"),
        ("joyful, relieved", "cannot tell", "no emotions"),
    ],
)
def test_a_malformed_answer_is_kept_raw_with_its_reason(old: str, new: str, reason: str) -> None:
    text = GOOD.replace(old, new)
    answer = parse_text(text)
    assert isinstance(answer, UnparsedAnswer)
    assert reason in answer.reason
    assert answer.raw == text


def test_an_answer_cut_at_the_limit_is_unparsed() -> None:
    cut = Completion(GOOD, "test", "m", "explain", "1", finish_reason="length")
    assert isinstance(parse(cut), UnparsedAnswer)
    assert isinstance(parse(Completion(GOOD, "test", "m", "explain", "1")), Explanation)


def test_sentences_survive_numbers_and_citations() -> None:
    assert sentences("At 2.9 of 5 it is marked [F1]. It ends at 0.6 s. [F2] agrees.") == [
        "At 2.9 of 5 it is marked [F1].",
        "It ends at 0.6 s.",
        "[F2] agrees.",
    ]


def test_citations_are_read_alone_and_in_lists() -> None:
    assert citations("a [F1] b [F2, V1] c [F1] [note] [f3] [F12345]") == ("F1", "F2", "V1")


words = st.text(alphabet=st.characters(whitelist_categories=("L", "N"), whitelist_characters=" ,"), min_size=1).map(
    lambda s: "x " + s.strip()
)


@given(
    lines=st.lists(words, min_size=1, max_size=6, unique=True),
    interpretation=words,
    label=st.sampled_from([*labels(), None]),
    numbers=st.tuples(*[st.integers(-10, 10)] * 3, st.integers(0, 10)),
)
def test_what_is_written_is_read_back(
    lines: list[str], interpretation: str, label: str | None, numbers: tuple[int, int, int, int]
) -> None:
    v, a, d, c = (n / 10 for n in numbers)
    conclusion = Conclusion(("glad",) if label else (), label, v, a, d, c)
    answer = parse_text(write_answer(lines, interpretation, conclusion))
    assert isinstance(answer, Explanation), answer.reason
    assert answer.conclusion == conclusion
    assert list(answer.observations) == lines


@given(st.text(max_size=500) | st.binary(max_size=300).map(lambda b: b.decode("latin-1")))
def test_any_text_is_an_explanation_or_unparsed(text: str) -> None:
    assert isinstance(parse_text(text), Explanation | UnparsedAnswer)
    assert isinstance(parse_text("{" + text), Explanation | UnparsedAnswer)
    assert isinstance(parse_text(GOOD + text), Explanation | UnparsedAnswer)


def test_the_schema_names_every_label_and_cannot_tell() -> None:
    schema = answer_schema("three-part")
    assert schema is not None
    assert set(labels()) | {"cannot tell"} == set(schema["properties"]["conclusion"]["properties"]["label"]["enum"])  # type: ignore[index]
    assert answer_schema("text") is None
