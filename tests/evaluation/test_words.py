"""The published wheel metric with its faults, and ours without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.corpora import MELD, read_meld
from affectgpt.errors import InputError, MediaNotFound
from affectgpt.evaluation.open_vocabulary import score_words
from affectgpt.evaluation.wheel import Wheels, hit_rate, load_wheels, overlap, split_words

BASICS = ("angry", "disgusted", "afraid", "happy", "sad", "surprised")

# Two sectors, and a base word "daring" whose surface forms were listed with "fear" among them.
SMALL = Wheels(
    formats={"happy": ["happy"], "glad": ["glad"], "fear": ["fear", "fearless"], "sad": ["sad"]},
    synonyms={"happy": ["happy"], "glad": ["happy"], "fear": ["scared"], "fearless": ["daring"], "sad": ["sad"]},
    sectors={(1, 1): {"happy": "joyful", "daring": "joyful", "scared": "scared", "sad": "sad"}},
)


def test_each_level_breaks_ties_by_the_alphabet() -> None:
    assert SMALL.m1("fear") == "fear"
    assert SMALL.m2("glad") == "happy"
    assert SMALL.m3(1, 1)("fear") == "joyful"
    assert SMALL.m3(1, 1)("neutral") is None


def test_unknown_words_are_deleted_and_cost_nothing() -> None:
    group = SMALL.m3(1, 1)
    clean = overlap([["sad"], ["neutral"]], [["sad"], ["sad"]], group)
    inventive = overlap([["sad"], ["neutral"]], [["sad", "zorbled", "flimpish"], ["sad"]], group)
    assert clean == inventive
    assert (clean.n, clean.n_dropped, clean.f) == (1, 1, 1.0)


def test_f_is_the_harmonic_mean_of_the_means() -> None:
    found = overlap([["sad"], ["sad", "happy"]], [["sad", "happy"], ["sad"]], SMALL.m3(1, 1))
    assert (found.precision, found.recall, found.f) == (0.75, 0.75, 0.75)
    empty = overlap([["sad"]], [[]], SMALL.m3(1, 1))
    assert (empty.precision, empty.recall, empty.f) == (0, 0, 0)


def test_lists_are_split_as_models_print_them() -> None:
    assert split_words("['Calm', \"happy\"]") == ["calm", "happy"]
    assert split_words("") == []


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFound, match="wheel1"):
        load_wheels(tmp_path)


# ---------------------------------------------------------------- on the real files


@pytest.fixture(scope="session")
def wheels(shared_data: Path) -> Wheels:
    return load_wheels(shared_data / "text" / "emotion_wheel")


@pytest.fixture(scope="session")
def meld_gold(shared_data: Path) -> list[str]:
    return [r.label or "" for r in read_meld(shared_data / "text" / "meld" / "dev_sent_emo.csv")]


@pytest.mark.shared
def test_the_lexicon_has_the_published_sizes(wheels: Wheels) -> None:
    assert len(wheels.synonyms) == 1255
    assert len(set().union(*(wheels.sectors[w, 1] for w in range(1, 6)))) == 253
    assert [len(set(wheels.sectors[w, 1].values())) for w in range(1, 6)] == [6, 7, 6, 6, 6]
    assert [len(set(wheels.sectors[w, 2].values())) for w in range(1, 6)] == [36, 41, 36, 48, 36]
    assert len(wheels.mappers()) == 12


@pytest.mark.shared
def test_a_constant_list_scores_a_hit_rate_of_100_and_every_neutral_is_dropped(
    wheels: Wheels, meld_gold: list[str]
) -> None:
    rate, sizes = hit_rate(meld_gold, [BASICS] * len(meld_gold), wheels)
    assert rate == 1.0
    n_neutral = meld_gold.count("neutral")
    assert n_neutral == 470
    assert sizes[0] == len(meld_gold) - n_neutral
    assert max(sizes) == sizes[0]
    # A model that calls everything neutral is wrong on none of them, by being asked about none of them.
    assert overlap([["neutral"]] * 5, [["joy"]] * 5, wheels.m3(1, 1)).n == 0


@pytest.mark.shared
def test_basic_emotions_land_in_foreign_sectors(wheels: Wheels) -> None:
    places = {label: [wheels.m3(w, 1)(label) for w in range(1, 6)] for label in MELD}
    assert places["joy"][4] == "powerful"
    assert places["surprise"][2:] == ["powerful", "fear", None]
    assert places["disgust"][2] is None


@pytest.mark.shared
def test_fear_lands_on_happy_where_it_is_a_form_of_fearless(shared_data: Path, wheels: Wheels) -> None:
    """The row as the MER2025 release has it; the release at hand mended it."""
    forms = ("fearlessness", "fearlesses", "fearing", "fears", "feared", "fearless", "fearlessly", "fear")
    released = load_wheels(shared_data / "text" / "emotion_wheel", {"fearless": forms})
    assert [released.m3(w, 1)("fear") for w in range(1, 6)] == ["scared", "happy", "joyful", "genius", "joyful"]
    assert [wheels.m3(w, 1)("fear") for w in range(1, 6)] == ["scared", "fearful", "scared", "fear", "scared"]
    happy, afraid = (hit_rate(["fear"], [[word]], released)[0] for word in ("happy", "afraid"))
    assert (happy, afraid) == (0.4, 0.2)
    assert score_words(["fear"], ["happy"]).f == 0
    assert score_words(["fear"], ["afraid"]).f == 1


@pytest.mark.shared
def test_ours_has_none_of_these_faults(meld_gold: list[str]) -> None:
    spam = [score_words([g], BASICS) for g in meld_gold]
    assert sum(s.f for s in spam) / len(spam) < 0.25
    truth = [score_words([g], [g]) for g in meld_gold]
    assert all(s.f == 1 and s.distance == 0 for s in truth)
    assert len(truth) == len(meld_gold)


# ---------------------------------------------------------------- ours, on any words


def test_a_neighbour_is_nearer_than_a_stranger() -> None:
    assert score_words(["angry"], ["annoyed"]).f > score_words(["angry"], ["happy"]).f == 0
    assert score_words(["neutral"], ["neutral"]).f == 1
    assert score_words(["fear"], ["happy"]).f == 0


def test_inventing_and_listing_words_costs_precision() -> None:
    plain = score_words(["sad"], ["sad"])
    invented = score_words(["sad"], ["sad", "zorbled"])
    assert invented.unknown == (" zorbled",)
    assert (plain.precision, invented.precision) == (1, 0.5)
    assert score_words(["zorbled"], ["zorbled"]).f == 1
    assert score_words(["sad"], []).f == 0


words = st.lists(st.sampled_from([*BASICS, "neutral", "annoyed", "grief", "zorbled", "proud"]), max_size=6)


@given(words, words)
def test_scores_stay_in_range_and_repeats_change_nothing(gold: list[str], said: list[str]) -> None:
    s = score_words(gold, said)
    assert 0 <= s.precision <= 1
    assert 0 <= s.recall <= 1
    assert 0 <= s.distance <= 1
    assert score_words(gold, [*said, *said]) == s
    back = score_words(said, gold)
    assert (back.precision, back.recall) == pytest.approx((s.recall, s.precision))


@pytest.mark.shared
def test_a_lexicon_of_two_releases_is_refused(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "text" / "emotion_wheel"
    for path in source.glob("*.xlsx"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "format.csv").write_text("name,format\nzorbled,zorbled\n", encoding="utf-8")
    with pytest.raises(InputError, match="zorbled"):
        load_wheels(tmp_path)
