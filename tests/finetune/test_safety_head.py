"""What the safety head learns from, and that its training writes a head that reads."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from affectgpt.safety.head import NONE, OUTCOMES, read_head
from affectgpt.safety.rules import LANGUAGES
from finetune.safety_head import Making, train
from finetune.safety_texts import everyday, from_grammars, from_rules, from_turns, sample

SUITES = Path(__file__).parent.parent


class Lengths:
    """An encoder that knows how long a text is."""

    def features(self, texts: Sequence[str], layers: Sequence[int]) -> NDArray[np.float32]:
        return np.array([[len(t), t.count(" ")] for t in texts], np.float32)


@pytest.mark.parametrize(
    ("phrase", "possible"),
    [
        ("a (b|c d) e", {"a b e", "a c d e"}),
        ("a [b] c", {"a c", "a b c"}),
        ("a <g> b", {"a x b", "a y z b"}),
        ("kill* me / now", {"kill me. now"}),
        ("why ?", {"why?"}),
        ("(a (b|c)|d)", {"a b", "a c", "d"}),
    ],
)
def test_a_phrase_is_drawn_as_one_of_what_it_says(phrase: str, possible: set[str]) -> None:
    drawn = {sample(phrase, {"g": "x|y z"}, "en", random.Random(seed)) for seed in range(60)}
    assert drawn == possible


def test_gaps_are_filled_with_at_most_what_they_allow() -> None:
    drawn = [sample("a ~2 b", {}, "de", random.Random(seed)).split() for seed in range(50)]
    assert {len(words) for words in drawn} == {2, 3, 4}


def test_rules_and_grammars_give_every_class_in_every_language() -> None:
    rng = random.Random(0)
    texts = [*from_rules(1, rng), *from_grammars(1, rng)]
    found = {(t.side, t.name, t.language) for t in texts if t.text}
    wanted = {(side, name, la) for side, names in OUTCOMES.items() for name in (NONE, *names) for la in LANGUAGES}
    assert wanted <= found
    assert all("~" not in t.text and "<" not in t.text.replace("<|", "") for t in texts)


def test_turns_of_a_suite_become_classes_of_the_head() -> None:
    texts = from_turns(SUITES / "safety_turns_open.toml")
    assert {t.name for t in texts if t.side == "user"} <= {NONE, *OUTCOMES["user"]}
    assert {t.name for t in texts if t.side == "reply"} <= {NONE, *OUTCOMES["reply"]}
    assert {"abuse", "violence"} <= {t.name for t in texts}


def corpus(folder: Path) -> Path:
    lines = [
        f"the {w} of the day was {m}\t27\tid" for w in ("tea", "game", "walk") for m in ("fine", "long", "ok", "new")
    ]
    path = folder / "text" / "goemotions" / "train.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([*lines, "I want to die\t25\tid"]), "utf-8")
    return folder


def test_everyday_talk_leaves_out_what_a_rule_finds(tmp_path: Path) -> None:
    lines = everyday(corpus(tmp_path), "train", 50, random.Random(0))
    assert len(lines) == 12
    assert "I want to die" not in lines


@pytest.mark.slow
def test_training_writes_a_head_that_reads_and_knows_its_turns(tmp_path: Path) -> None:
    how = Making(per_phrase=1, per_line=1, n_everyday=12, n_folds=2)
    suites = [SUITES / "safety_turns_open.toml", SUITES / "safety_turns_more.toml"]
    told = train(corpus(tmp_path / "corpus"), suites, tmp_path / "head", how, Lengths())
    assert set(told) == {"user", "reply"}
    head = read_head(tmp_path / "head", Lengths)
    (_, seen) = head.probabilities("I want to kill myself tonight", "user")
    (_, plain) = head.probabilities("We went to the cinema and laughed a lot", "user")
    assert seen[0, 0] < plain[0, 0]
