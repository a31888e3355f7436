"""Label sets map onto each other as far as they can, and each basic label has its graded words."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from affectgpt.emotions import load_lexicon

LEXICON = load_lexicon()
BASICS = {"anger", "contempt", "disgust", "fear", "joy", "neutral", "sadness", "surprise"}

SIZES = {
    "basic8": 8,
    "ekman6": 6,
    "ekman7": 7,
    "meld7": 7,
    "ravdess8": 8,
    "mead8": 8,
    "fer7": 7,
    "goemotions28": 28,
    "empathetic32": 32,
}
NO_NEUTRAL = {"ekman6", "empathetic32"}


def test_the_sets_are_all_there_with_their_sizes() -> None:
    assert {name: len(LEXICON.labels(name)) for name in LEXICON.label_sets} == SIZES


@pytest.mark.parametrize("name", SIZES)
def test_every_label_is_a_known_word_with_the_basic_of_its_node(name: str) -> None:
    for label in LEXICON.labels(name):
        found = LEXICON.resolve(label)
        assert found is not None, label
        assert found.basic == LEXICON.label_node(label, name).basic
        assert LEXICON.to_set(label, name) == label
        assert LEXICON.to_set(LEXICON.label_node(label, name).name, name) == label


@pytest.mark.parametrize(("source", "target"), list(product(SIZES, SIZES)))
def test_every_label_of_every_set_maps_as_far_as_the_other_set_allows(source: str, target: str) -> None:
    for label in LEXICON.labels(source):
        there = LEXICON.convert(label, source, target)
        if LEXICON.label_node(label, source).basic == "neutral" and target in NO_NEUTRAL:
            assert there is None
            continue
        assert there in LEXICON.labels(target), (label, source, target)
        back = LEXICON.convert(there, target, "basic8")
        wanted = LEXICON.convert(label, source, "basic8")
        assert back == wanted or (wanted, back) == ("contemptuous", "disgusted")


@pytest.mark.parametrize("name", SIZES)
def test_every_node_has_a_place_in_every_set_that_knows_its_basic(name: str) -> None:
    for node in LEXICON.nodes.values():
        label = LEXICON.to_set(node.name, name)
        assert (label is None) == (node.basic == "neutral" and name in NO_NEUTRAL)


@pytest.mark.parametrize(
    ("word", "label_set", "label"),
    [
        ("calm", "ravdess8", "calm"),
        ("serene", "ravdess8", "calm"),
        ("calm", "basic8", "neutral"),
        ("contempt", "meld7", "disgust"),
        ("contemptuous", "mead8", "contempt"),
        ("livid", "basic8", "angry"),
        ("livid", "empathetic32", "furious"),
        ("shocked", "basic8", "surprised"),
        ("grateful", "goemotions28", "gratitude"),
        ("tenderness", "goemotions28", "love"),
        ("xyzzy", "basic8", None),
        ("not sad", "basic8", None),
    ],
)
def test_words_find_their_label(word: str, label_set: str, label: str | None) -> None:
    assert LEXICON.to_set(word, label_set) == label


def test_the_seven_compounds_are_pairs_of_basics() -> None:
    assert len(LEXICON.compounds) == 7
    for name, (a, b) in LEXICON.compounds.items():
        assert {a, b} <= BASICS
        assert LEXICON.compound(a, b) == LEXICON.compound(b, a) == name
    assert LEXICON.compound("terrified", "astonished") == "Fearfully Surprised"
    assert LEXICON.compound("joy", "anger") is None


# ------------------------------------------------------------ graded words


@pytest.mark.parametrize("label", LEXICON.labels("basic8"))
def test_graded_words_are_six_to_twelve_of_their_label_in_order(label: str) -> None:
    words = LEXICON.words(label)
    assert 6 <= len(words) <= 12
    assert [w.intensity for w in words] == sorted({w.intensity for w in words})
    assert words[0].intensity > 0
    assert words[-1].intensity == 1
    for word in words:
        assert LEXICON.to_set(word.text, "basic8") == label, word


# ------------------------------------------------------------ real data


@pytest.mark.shared
def test_the_label_names_of_the_corpora_are_the_sets_own(shared_data: Path) -> None:
    names = (shared_data / "text" / "goemotions" / "labels.txt").read_text("utf-8").split()
    assert tuple(names) == LEXICON.labels("goemotions28")
    meld = (shared_data / "text" / "meld" / "dev_sent_emo.csv").read_text("utf-8", errors="replace")
    assert all(f",{label}," in meld for label in LEXICON.labels("meld7"))
    dialogues = (shared_data / "text" / "empathetic_dialogues" / "ed_valid.jsonl").read_text("utf-8")
    assert all(f'"emotion": "{label}"' in dialogues for label in LEXICON.labels("empathetic32"))
