from __future__ import annotations

import numpy as np
import pytest

from affectgpt.appraise.encoder import load_encoder
from affectgpt.appraise.heads import load_head
from affectgpt.appraise.unlisted import SMALLEST_VALENCE, UnlistedHeads, feelings
from affectgpt.appraise.words import HEADS, WordsAppraiser
from affectgpt.emotions import load_lexicon
from affectgpt.errors import InputError, ModelError, OptionError

# A word and its opposite: neighbours in sentence space, and never to be taken for each other.
OPPOSITES = (
    ("angry", "calm"), ("furious", "serene"), ("irate", "peaceful"), ("seething", "placid"), ("livid", "tranquil"),
    ("joyful", "sorrowful"), ("happy", "sad"), ("delighted", "dejected"), ("cheerful", "gloomy"),
    ("elated", "depressed"), ("ecstatic", "miserable"), ("hopeful", "hopeless"), ("optimistic", "pessimistic"),
    ("encouraged", "discouraged"), ("satisfied", "dissatisfied"), ("pleased", "displeased"), ("proud", "ashamed"),
    ("loved", "hated"), ("affectionate", "hostile"), ("tender", "cruel"), ("grateful", "resentful"),
    ("relieved", "distressed"), ("relaxed", "tense"), ("carefree", "worried"), ("confident", "insecure"),
    ("fearless", "fearful"), ("safe", "threatened"), ("soothed", "agitated"), ("amused", "annoyed"),
    ("enthusiastic", "apathetic"), ("excited", "bored"), ("fulfilled", "frustrated"), ("content", "discontented"),
    ("trusting", "suspicious"), ("admiring", "contemptuous"), ("compassionate", "spiteful"),
    ("triumphant", "defeated"), ("comforted", "heartbroken"), ("charmed", "disgusted"), ("jubilant", "mournful"),
)  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["default", "permissive"])
def appraiser(request: pytest.FixtureRequest) -> WordsAppraiser:
    return WordsAppraiser(permissive=request.param)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("I am so happy for you, this is wonderful news!", "happy"),
        ("I miss him so much, I can't stop crying.", "sad"),
        ("How dare you, I hate this, you stupid liar!", "angry"),
        ("The meeting is on the second floor.", "neutral"),
        ("Please don't hurt me, I'm terrified.", "fearful"),
    ],
)
def test_plain_sentences_are_read_as_anyone_would(appraiser: WordsAppraiser, said: str, meant: str) -> None:
    assert appraiser.read([said]).top == meant


def test_a_reading_is_a_distribution_over_the_basic_set_with_dimensions(appraiser: WordsAppraiser) -> None:
    read = appraiser.read(["Oh no.", "That is awful, I am so sorry."], ["Grandma died last night."])
    assert list(read.probabilities) == list(load_lexicon().labels("basic8"))
    assert sum(read.probabilities.values()) == pytest.approx(1.0)
    assert min(read.probabilities.values()) >= 0
    assert all(-1 <= v <= 1 for v in (read.valence, read.arousal, read.dominance))
    glad = appraiser.read(["I love it, what a beautiful day!"])
    assert glad.valence > 0 > read.valence


def test_what_was_said_before_counts(appraiser: WordsAppraiser) -> None:
    alone = appraiser.read(["What?"])
    assert appraiser.read(["What?"], ["You lied to me!", "I hate you."]).probabilities != alone.probabilities
    assert appraiser.read(["What?"], []).probabilities == alone.probabilities


@pytest.mark.parametrize("nothing", [[], [""], ["  ", "\n"]])
def test_no_words_leave_every_feeling_as_likely(appraiser: WordsAppraiser, nothing: list[str]) -> None:
    assert set(appraiser.read(nothing).probabilities.values()) == {1 / 8}


def test_the_writers_and_the_readers_feeling_stay_apart(appraiser: WordsAppraiser) -> None:
    texts = ["He beat the dog until it stopped moving.", "Thank you so much!"]
    both, reader, writer = (appraiser.dimensions(texts, side) for side in ("both", "reader", "writer"))  # type: ignore[arg-type]
    assert both.shape == reader.shape == writer.shape == (2, 3)
    assert not np.allclose(reader, writer)
    assert both[1, 0] > both[0, 0]


def test_label_sets_keep_their_order_and_kind() -> None:
    appraiser = WordsAppraiser()
    for name in HEADS:
        found = appraiser.probabilities(name, ["I'm so sorry!", "ok"], [["You broke it."], []])
        expected = [x for x in load_lexicon().labels(name) if x != "contemptuous"]
        assert list(found) == expected
        total = sum(found.values())
        assert name == "goemotions28" or np.allclose(total, 1.0)


def test_what_is_not_there_is_said(appraiser: WordsAppraiser) -> None:
    with pytest.raises(OptionError, match="goemotions28"):
        appraiser.probabilities("colours", ["a"])
    with pytest.raises(InputError):
        appraiser.embed([None])  # type: ignore[list-item]


def test_the_permissive_set_has_no_head_from_restricted_data() -> None:
    with pytest.raises(ModelError, match="meld7"):
        WordsAppraiser(permissive=True).probabilities("meld7", ["hello"])


def test_each_words_influence_is_given_in_order(appraiser: WordsAppraiser) -> None:
    found = appraiser.cause("Thank you so much for the flowers yesterday")
    assert [w for w, _ in found] == ["Thank", "you", "so", "much", "for", "the", "flowers", "yesterday"]
    assert max(found, key=lambda pair: pair[1])[0] == "Thank"
    assert appraiser.cause("   ") == []


@pytest.mark.parametrize("permissive", [False, True])
def test_no_word_is_taken_for_its_opposite(permissive: bool) -> None:
    assert len(OPPOSITES) == 40
    heads = UnlistedHeads(*(load_head(f"words_unlisted_{p}", permissive) for p in ("nodes", "polarity", "basic")))
    lexicon, wrong, answered = load_lexicon(), [], 0
    for side in (0, 1):
        # The lexicon itself is not asked: these are answered by sentence vectors alone.
        for pair, found in zip(OPPOSITES, feelings([p[side] for p in OPPOSITES], load_encoder(), heads), strict=True):
            if found is None:
                continue
            answered += 1
            opposite = lexicon.node(pair[1 - side]) if lexicon.resolve(pair[1 - side]) else None
            sign = 1 if (side == 0) == (lexicon.vad(lexicon.node(pair[0]).name).valence > 0) else -1
            valence = lexicon.vad(found.node).valence
            if (opposite and found.node == opposite.name) or (valence * sign < 0 and abs(valence) > SMALLEST_VALENCE):
                wrong.append((pair[side], found.node))
    assert wrong == []
    assert answered >= 60


def test_a_known_word_is_the_lexicons_and_a_sentence_is_none(appraiser: WordsAppraiser) -> None:
    known = appraiser.resolve("angry")
    assert known is not None
    assert (known.basic, known.similarity) == ("anger", 1.0)
    assert appraiser.resolve("the train leaves the station at nine") is None
    assert appraiser.resolve("") is None
