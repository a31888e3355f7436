"""The lexicon's laws: the tree is a metric space, the data hold no contradiction, no opposites resolve alike."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import affectgpt
from affectgpt.emotions import EmotionLexicon, load_lexicon, normalise
from affectgpt.errors import OptionError

DATA = Path(affectgpt.__file__).parent / "data"
LEXICON = load_lexicon()
TABLES = ("emotions", "emotion_words", "emotion_labels", "emotion_vad")
NODES = st.sampled_from(sorted(LEXICON.nodes))
BASICS = {"anger", "contempt", "disgust", "fear", "joy", "neutral", "sadness", "surprise"}

# Each pair is close in sentence-embedding space or in wording, and opposite in feeling.
OPPOSITES = [
    ("angry", "calm"),
    ("furious", "serene"),
    ("happy", "sad"),
    ("happy", "unhappy"),
    ("joyful", "joyless"),
    ("satisfied", "dissatisfied"),
    ("satisfied", "unsatisfied"),
    ("content", "discontent"),
    ("pleased", "displeased"),
    ("pleasant", "unpleasant"),
    ("hopeful", "hopeless"),
    ("optimistic", "pessimistic"),
    ("fearless", "fearful"),
    ("brave", "afraid"),
    ("confident", "insecure"),
    ("confident", "unconfident"),
    ("sure", "unsure"),
    ("certain", "uncertain"),
    ("trusting", "distrustful"),
    ("trust", "mistrust"),
    ("comfortable", "uncomfortable"),
    ("ease", "unease"),
    ("at ease", "ill at ease"),
    ("relaxed", "tense"),
    ("settled", "unsettled"),
    ("love", "hate"),
    ("liking", "disliking"),
    ("loved", "unloved"),
    ("proud", "ashamed"),
    ("elated", "dejected"),
    ("encouraged", "discouraged"),
    ("enchanted", "disenchanted"),
    ("respectful", "disrespectful"),
    ("approving", "disapproving"),
    ("friendly", "unfriendly"),
    ("attracted", "repelled"),
    ("admiration", "contempt"),
    ("accepted", "rejected"),
    ("appreciated", "unappreciated"),
    ("grateful", "resentful"),
    ("enthusiastic", "bored"),
    ("energetic", "exhausted"),
    ("cheerful", "gloomy"),
    ("delighted", "disgusted"),
    ("relieved", "worried"),
    ("empowered", "powerless"),
    ("impressed", "unimpressed"),
    ("over the moon", "down in the dumps"),
    ("good mood", "bad mood"),
]


def words_toml() -> dict[str, dict[str, str]]:
    return tomllib.loads((DATA / "emotion_words.toml").read_text("utf-8"))


def listed(text: str) -> list[str]:
    return [normalise(word) for word in text.split(",")]


# ------------------------------------------------------------ the data


def test_the_tree_holds_the_135_words_of_the_figure() -> None:
    printed = [n for n in LEXICON.nodes.values() if not n.added]
    assert [sum(n.tier == tier for n in printed) for tier in (1, 2, 3)] == [6, 25, 106]
    # Two secondary emotions carry their primary's name and are no words of their own.
    assert len(printed) - 2 == 135


def test_every_node_hangs_under_a_primary_of_the_tier_above() -> None:
    for node in LEXICON.nodes.values():
        path = LEXICON.path(node.name)
        assert [LEXICON.nodes[name].tier for name in path] == list(range(node.tier, 0, -1))
        assert node.basic in BASICS
    assert {n.basic for n in LEXICON.nodes.values()} == BASICS


def test_disgust_is_under_anger_on_the_tree_and_a_basic_of_its_own() -> None:
    assert LEXICON.path("disgust") == ("disgust", "anger")
    assert LEXICON.path("contempt") == ("contempt", "disgust", "anger")
    assert (LEXICON.basic("disgust"), LEXICON.basic("revulsion"), LEXICON.basic("contempt")) == (
        "disgust",
        "disgust",
        "contempt",
    )


def test_no_form_stands_in_two_places() -> None:
    seen: dict[str, str] = {}
    for node, forms in words_toml()["forms"].items():
        for form in listed(forms):
            assert form, node
            assert form not in seen, f"{form}: {seen.get(form)} and {node}"
            assert form not in LEXICON.nodes, f"{form} is a node, listed under {node}"
            seen[form] = node
    assert len(seen) + len(LEXICON.nodes) == len(LEXICON.forms)
    assert len(LEXICON.forms) >= 900


def test_every_list_of_forms_has_its_node_and_every_form_reaches_it() -> None:
    assert set(words_toml()["forms"]) <= set(LEXICON.nodes)
    for form, node in LEXICON.forms.items():
        found = LEXICON.resolve(form)
        assert found is not None, form
        assert (found.node, found.matched, found.degree) == (node, form, None)


def test_every_exception_to_the_inflection_rules_is_needed() -> None:
    tables = {name: tomllib.loads((DATA / f"{name}.toml").read_text("utf-8")) for name in TABLES}
    tables["emotion_words"]["never_inflected"]["words"] = "x"
    lax = EmotionLexicon(*tables.values())
    for word in listed(words_toml()["never_inflected"]["words"]):
        assert LEXICON.resolve(word) is None, word
        assert lax.resolve(word) is not None, f"{word} is no exception: nothing inflects to it"


def test_one_degree_a_phrase() -> None:
    phrases = [p for words in words_toml()["degree"].values() for p in listed(words)]
    assert len(phrases) == len(set(phrases))
    assert not set(phrases) & set(listed(words_toml()["negation"]["words"]))


def test_every_number_has_a_source_and_is_in_range() -> None:
    table = tomllib.loads((DATA / "emotion_vad.toml").read_text("utf-8"))
    assert set(table["nodes"]) == set(LEXICON.nodes)
    for node in LEXICON.nodes:
        vad = LEXICON.vad(node)
        assert all(-1.0 <= x <= 1.0 for x in (vad.valence, vad.arousal, vad.dominance)), node
        assert vad.source in table["sources"].values()


@pytest.mark.parametrize(
    ("basic", "published"),
    [
        ("anger", (-0.51, 0.59, 0.25)),
        ("disgust", (-0.60, 0.35, 0.11)),
        ("fear", (-0.62, 0.82, -0.43)),
        ("joy", (0.81, 0.51, 0.46)),
        ("neutral", (0.0, 0.0, 0.0)),
        ("sadness", (-0.63, -0.27, -0.33)),
        ("surprise", (0.40, 0.67, -0.13)),
    ],
)
def test_the_basics_have_their_published_values(basic: str, published: tuple[float, float, float]) -> None:
    vad = LEXICON.vad(basic)
    assert (vad.valence, vad.arousal, vad.dominance) == published
    assert "Russell & Mehrabian" in vad.source


def test_valence_has_the_sign_of_the_basic() -> None:
    for node in LEXICON.nodes.values():
        valence = LEXICON.vad(node.name).valence
        if node.basic == "joy":
            assert valence > 0, node
        elif node.basic not in {"surprise", "neutral"}:
            assert valence < 0, node


# ------------------------------------------------------------ resolving


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("furious", "fury"),
        ("Angry!", "anger"),
        ("ANGRILY", "anger"),
        ("angrier", "anger"),
        ("saddest", "sadness"),
        ("fed-up", "exasperation"),
        ("over_the_moon", "elation"),
        ("grief-stricken", "grief"),
        ("heart broken", "grief"),
        ("blasé", "boredom"),
        ("couldn’t care less", "indifference"),
        ("a sense of relief", "relief"),
        ("feeling anxious", "anxiety"),
        ("she seems genuinely happy", "joy"),
        ("emotional distress", "distress"),
        ("worriedly", "worry"),
        ("panicking", "panic"),
        ("disgustedly", "disgust"),
        ("ｈａｐｐｙ", "joy"),
    ],
)
def test_forms_case_marks_and_frames(text: str, node: str) -> None:
    found = LEXICON.resolve(text)
    assert found is not None
    assert found.node == node
    assert (found.tier, found.basic) == (LEXICON.nodes[node].tier, LEXICON.nodes[node].basic)


@pytest.mark.parametrize(
    ("text", "node", "degree"),
    [
        ("slightly annoyed", "annoyance", "slight"),
        ("a little bit sad", "sadness", "slight"),
        ("a hint of pride", "pride", "slight"),
        ("moderately happy", "joy", "moderate"),
        ("very, very angry", "anger", "strong"),
        ("deeply moved", "sentimentality", None),
        ("terribly sad", "sadness", "strong"),
        ("utterly exhausted", "fatigue", "extreme"),
        ("happy (slightly)", "joy", "slight"),
    ],
)
def test_degree_is_taken_off_and_told(text: str, node: str, degree: str | None) -> None:
    found = LEXICON.resolve(text)
    assert found is not None
    assert (found.node, found.degree) == (node, degree)


@pytest.mark.parametrize(
    "text",
    [
        "not sad",
        "not at all angry",
        "isn't afraid",
        "isn’t afraid",
        "without joy",
        "never bored",
        "far from happy",
        "lack of interest",
        "free from anger",
        "non-hostile",
        "not unhappy",
        "no trace of sadness",
        "anything but calm",
        "hardly surprised",
        "neither angry nor sad",
    ],
)
def test_a_denied_feeling_is_no_feeling_and_never_its_opposite(text: str) -> None:
    assert LEXICON.resolve(text) is None


@pytest.mark.parametrize("text", ["not happy", "not amused", "not pleased", "not impressed", "not okay"])
def test_a_listed_denial_is_told_as_one(text: str) -> None:
    found = LEXICON.resolve(text)
    assert found is not None
    assert found.negated
    assert LEXICON.vad(found.node).valence < 0


@pytest.mark.parametrize(
    "text",
    ["", " ", "?!", "table", "terribly", "happy birthday to the queen", "sad and happy", "angry cat", "xyzzy", "😱"],
)
def test_what_names_no_single_feeling_resolves_to_nothing(text: str) -> None:
    assert LEXICON.resolve(text) is None


def test_an_adverb_of_feeling_is_a_blend() -> None:
    found = LEXICON.resolve("happily surprised")
    assert found is not None
    assert (found.basic, found.blend) == ("surprise", "joy")


def test_a_list_is_resolved_piece_by_piece_and_keeps_what_it_cannot_read() -> None:
    pieces = LEXICON.resolve_all("angry, xyzzy and not sad; slightly tired")
    assert [(text, r.node if r else None) for text, r in pieces] == [
        ("angry", "anger"),
        ("xyzzy", None),
        ("not sad", None),
        ("slightly tired", "fatigue"),
    ]


@given(st.text(max_size=200))
@example("\u2019\u2019 - '")
@example("not " * 40)
@example("İ ﬃ ẞ")
def test_resolving_never_raises(text: str) -> None:
    found = LEXICON.resolve(text)
    assert found is None or found.node in LEXICON.nodes
    for _, piece in LEXICON.resolve_all(text):
        assert piece is None or piece.node in LEXICON.nodes
    assert normalise(normalise(text)) == normalise(text)


@given(st.sampled_from(sorted(LEXICON.forms)), st.sampled_from(["not", "never", "no longer", "isn't", "far from"]))
def test_a_negator_never_leaves_the_feeling_standing(form: str, negator: str) -> None:
    found = LEXICON.resolve(f"{negator} {form}")
    assert found is None or found.negated


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_opposites_share_neither_basic_nor_sign(one: str, other: str) -> None:
    assert LEXICON.basic(one) != LEXICON.basic(other)
    assert LEXICON.vad(one).valence * LEXICON.vad(other).valence < 0


def test_there_are_forty_pairs_of_opposites() -> None:
    assert len(set(OPPOSITES)) >= 40


@pytest.mark.parametrize("prefix", ["un", "dis", "in", "im", "ir", "non", "mis", "anti"])
def test_a_denying_prefix_never_leaves_the_feeling_standing(prefix: str) -> None:
    for form, node in LEXICON.forms.items():
        found = LEXICON.resolve(prefix + form)
        assert found is None or found.node != node, prefix + form


def test_a_denying_suffix_never_leaves_the_feeling_standing() -> None:
    for form, node in LEXICON.forms.items():
        found = LEXICON.resolve(f"{form}less")
        assert found is None or found.node != node, f"{form}less"


# ------------------------------------------------------------ distance


@given(NODES, NODES, NODES)
def test_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert LEXICON.distance(a, a) == 0
    assert (LEXICON.distance(a, b) == 0) == (a == b)
    assert LEXICON.distance(a, b) == LEXICON.distance(b, a)
    assert LEXICON.distance(a, c) <= LEXICON.distance(a, b) + LEXICON.distance(b, c) + 1e-12
    assert 0 <= LEXICON.distance(a, b) <= 1


def test_leaf_branch_and_root_stand_in_order() -> None:
    same_branch = LEXICON.distance("elation", "glee")
    same_primary = LEXICON.distance("elation", "triumph")
    assert 0 < LEXICON.distance("elation", "cheerfulness") < same_branch < same_primary < 1
    assert LEXICON.distance("elation", "despair") == LEXICON.distance("joy", "anger") == 1


# ------------------------------------------------------------ mistakes of the caller


@pytest.mark.parametrize(
    "ask",
    [
        lambda: LEXICON.vad("xyzzy"),
        lambda: LEXICON.distance("joy", "xyzzy"),
        lambda: LEXICON.labels("basic9"),
        lambda: LEXICON.to_set("joy", "basic9"),
        lambda: LEXICON.label_node("xyzzy", "basic8"),
        lambda: LEXICON.words("joyful"),
    ],
)
def test_unknown_names_are_named(ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError, match=r"xyzzy|basic9|joyful"):
        ask()
