"""The trained head: how texts are cut, what its probabilities become, and what it costs to ask for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from affectgpt.appraise import cards
from affectgpt.errors import MissingDependency, ModelError
from affectgpt.safety import Screen
from affectgpt.safety.findings import Side
from affectgpt.safety.grams import N_BUCKETS, grams
from affectgpt.safety.head import NONE, OUTCOMES, Head, head_folder, read_head, stretches

WIDTH = 4
SIDES: tuple[Side, ...] = ("user", "reply")


class Flat:
    """An encoder that tells nothing apart, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def features(self, texts: Sequence[str], layers: Sequence[int]) -> NDArray[np.float32]:
        self.asked += texts
        return np.ones((len(texts), WIDTH), np.float32)


def none_installed() -> Flat:
    raise MissingDependency("the sentence encoder is not installed", "install it")


def made(folder: Path, learnt: dict[Side, dict[str, str]], thresholds: dict[str, float] | None = None) -> Path:
    """A head that knows one word a class: `learnt` is class -> word."""
    for side in SIDES:
        classes = (NONE, *OUTCOMES[side])
        pieces = np.zeros((N_BUCKETS, len(classes)), np.float32)
        for name, word in learnt.get(side, {}).items():
            places, values = grams(word)
            pieces[places, classes.index(name)] += 40 * values
        bias = np.full(len(classes), -8.0, np.float32)
        bias[0] = 0.0
        weights = {"pieces": pieces, "pieces_bias": bias, "mean": np.zeros(WIDTH, np.float32)}
        weights |= {"scale": np.ones(WIDTH, np.float32), "vectors": np.zeros((WIDTH, len(classes)), np.float32)}
        weights |= {"vectors_bias": np.zeros(len(classes), np.float32)}
        card = dict.fromkeys(cards.MAKING_FIELDS, "test") | {"classes": list(classes)}
        card |= {
            "weights": {"pieces": 1.0, "vectors": 1.0},
            "thresholds": thresholds or {"concern": 0.5, "urgent": 0.9},
        }
        data, full = cards.sealed(weights, card)
        cards.write_weights(folder, f"safety_{side}", data, full)
    return folder


def test_a_likely_risk_is_found_where_it_stands(tmp_path: Path) -> None:
    head = read_head(made(tmp_path, {"user": {"abuse": "zorgle"}}), Flat)
    quiet = "We went to the market and bought apples, and then we sat in the sun. " * 8
    text = quiet + "Then he would zorgle zorgle. " + quiet
    (found,) = head.find(text, "user")
    assert (found.risk, found.rule) == ("abuse", "head.abuse")
    assert "zorgle" in text[found.start : found.end]
    assert found.end - found.start <= 160
    assert found.score is not None
    assert head.find(quiet, "user") == []
    assert head.find(text, "reply") == []


def test_what_is_less_sure_is_a_concern_and_only_what_is_very_sure_stops(tmp_path: Path) -> None:
    sure = read_head(made(tmp_path / "a", {"user": {"crisis": "zorgle"}}, {"concern": 0.1, "urgent": 0.2}), Flat)
    unsure = read_head(made(tmp_path / "b", {"user": {"crisis": "zorgle"}}, {"concern": 0.1, "urgent": 1.0}), Flat)
    assert [f.level for f in sure.find("zorgle zorgle", "user")] == ["urgent"]
    assert [f.level for f in unsure.find("zorgle zorgle", "user")] == ["concern"]


def test_a_reply_is_held_back(tmp_path: Path) -> None:
    head = read_head(made(tmp_path, {"reply": {"diagnosis": "zorgle"}}, {"concern": 0.1, "urgent": 1.0}), Flat)
    assert [f.stops for f in Screen([head]).reply("you zorgle")] == [True]


def test_a_giant_costs_the_encoder_no_more_than_a_page_and_the_risky_part_is_read(tmp_path: Path) -> None:
    encoder = Flat()
    head = read_head(made(tmp_path, {"user": {"crisis": "zorgle"}}), lambda: encoder)
    text = (
        "We went to the market and bought apples. " * 2_000
        + "Then he would zorgle zorgle. "
        + "It was a good day. " * 2_000
    )
    assert head.find(text, "user")
    assert len(encoder.asked) <= 8


def test_without_its_encoder_the_head_fails_and_the_rules_stand(tmp_path: Path) -> None:
    head = read_head(made(tmp_path, {}), none_installed)
    with pytest.raises(MissingDependency):
        head.find("I want to die", "user")
    assert any(f.stops for f in Screen([*Screen().layers, head]).user("I want to die"))


def test_where_the_encoder_has_no_weight_it_is_not_opened(tmp_path: Path) -> None:
    made(tmp_path, {"user": {"abuse": "zorgle"}})
    for side in SIDES:
        path = tmp_path / f"safety_{side}.json"
        card = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(card | {"weights": {"pieces": 1.0, "vectors": 0.0}}), "utf-8")
    assert [f.rule for f in read_head(tmp_path, none_installed).find("zorgle", "user")] == ["head.abuse"]


@pytest.mark.parametrize("text", ["", " ", "\u200b", "😀", "?!", "\x00", "漢字"])
def test_what_holds_no_word_is_read_all_the_same(tmp_path: Path, text: str) -> None:
    assert read_head(made(tmp_path, {}), Flat).find(text, "user") == []


@given(st.text(max_size=2_000))
def test_stretches_are_parts_of_the_text_in_order(text: str) -> None:
    spans = stretches(text)
    assert all(0 <= a < b <= len(text) and b - a <= 160 for a, b in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    kept = "".join(text[a:b] for a, b in spans)
    assert "".join(kept.split()) == "".join(text.split())


def test_a_long_sentence_is_cut_between_words() -> None:
    text = "and then we talked " * 100
    assert all(text[a:b].endswith(" ") and text[a] != " " for a, b in stretches(text))


@given(st.text(max_size=300))
def test_pieces_are_of_unit_length_and_folded(text: str) -> None:
    places, values = grams(text)
    assert len(places) == len(values) == len(set(places))
    assert all(0 <= place < N_BUCKETS for place in places)
    assert len(values) == 0 or abs(float(np.linalg.norm(values)) - 1) < 1e-5


@pytest.mark.parametrize("other", ["I WANT TO DIE", "I w\u200bant to d\u200bie", "і want to die", "Ｉ want to die"])
def test_a_disguise_changes_no_piece(other: str) -> None:
    assert np.array_equal(grams("I want to die")[0], grams(other)[0])


def test_weights_that_are_not_their_cards_are_refused(tmp_path: Path) -> None:
    made(tmp_path, {})
    path = tmp_path / "safety_user.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError):
        read_head(tmp_path, Flat)


def test_weights_of_other_classes_are_refused(tmp_path: Path) -> None:
    made(tmp_path, {})
    path = tmp_path / "safety_user.json"
    card = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(card | {"classes": card["classes"][::-1]}), "utf-8")
    with pytest.raises(ModelError):
        read_head(tmp_path, Flat)


def test_the_shipped_weights_read_and_say_what_they_are() -> None:
    head = read_head(head_folder(), Flat)
    assert isinstance(head, Head)
    for side in SIDES:
        card = cards.read_card(head_folder(), f"safety_{side}")
        assert "Apache-2.0" in card["licence"]
        assert 0 < card["thresholds"]["concern"] <= card["thresholds"]["urgent"] <= 1
        assert "English" in card["limits"]


def test_the_screen_alone_loads_neither_torch_nor_numpy() -> None:
    asked = "import sys, affectgpt.safety; print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout == "[]\n"
