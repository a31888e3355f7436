"""What an interpretation must say, may not say, and how variously it says it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from affectgpt.appraise.prototypes import appraise
from affectgpt.emotions import load_lexicon
from affectgpt.grounding import check
from affectgpt.parsing import parse_text, sentences
from affectgpt.records import Appraisal, Explanation, Modality, Observations, Verdict
from instruction_data.composer import compose, conclude
from instruction_data.discourse import interpret
from instruction_data.evidence import Scene, draw
from instruction_data.sentences import CHANNEL, NAMES_CONFLICT, grammar, readings
from instruction_data.skeletons import count_skeletons, strip

QUOTES = {label: [] for label in load_lexicon().labels("basic8")} | {
    "neutral": ["The meeting starts at nine in the morning.", "It is over there."],
    "happy": ["That was the best day of my life!", "I love it."],
    "angry": ["How dare they do this to us"],
    "sad": ["I miss my dog every day"],
    "surprised": ["Wait, what just happened"],
}
N = 320


@cache
def told() -> tuple[tuple[Scene, Appraisal, str], ...]:
    return tuple(_told())


def _told() -> Iterator[tuple[Scene, Appraisal, str]]:
    for seed in range(N):
        rng = random.Random(seed)
        scene = draw(rng, QUOTES)
        read = appraise(scene.observations, scene.words)
        yield scene, read, interpret(scene.observations, read, conclude(scene.observations, read), rng)


def label_of(noun: str) -> str:
    return next(label for label, nouns in grammar()["nouns"].items() if noun in nouns)


def test_a_conflict_is_named_whenever_the_appraisal_names_one_and_never_otherwise() -> None:
    seen = [(bool(read.conflicts), bool(NAMES_CONFLICT.search(text))) for _, read, text in told()]
    assert all(named == there for there, named in seen)
    assert sum(there for there, _ in seen) > 10


def test_every_channel_with_a_reading_is_weighed() -> None:
    for scene, read, text in told():
        cited = set(re.findall(r"\[([A-Z]\d+)\]", text))
        for r in readings(scene.observations, read):
            assert cited & {o.id for o in r.carriers}, (r.modality, text)


def test_every_channel_that_gave_nothing_is_called_unknown() -> None:
    for scene, read, text in told():
        if read.by_modality:
            for m in Modality:
                if m.value not in read.by_modality and scene.observations.of(m):
                    assert f"[{scene.observations.of(m)[0].id}]" in text


def test_the_second_reading_is_never_the_label() -> None:
    forms = "|".join(
        re.escape(f).replace(r"\{noun\}", "(.+?)").replace(r"\{Noun\}", "(.+?)")
        for f in grammar()["close"]["alternative"]
    )
    n = 0
    for scene, read, text in told():
        label = conclude(scene.observations, read).label
        for sentence in sentences(text):
            if match := re.fullmatch(forms, sentence):
                noun = next(g for g in match.groups() if g)
                assert label_of(noun[:1].lower() + noun[1:]) != label
                n += 1
    assert n > 20


def test_the_label_is_said_by_a_channel_or_in_so_many_words() -> None:
    for scene, read, text in told():
        told_ = conclude(scene.observations, read)
        if told_.label is not None:
            words = [*grammar()["nouns"][told_.label], told_.emotions[0]]
            assert any(w.lower() in text.lower() for w in words), (told_.label, text)


def test_the_side_that_a_conflict_is_decided_for_is_the_label() -> None:
    n = 0
    for scene, read, text in told():
        label = conclude(scene.observations, read).label
        for m, channel in CHANNEL.items():
            if f"The conclusion sides with {channel}" in text or f"More weight goes to {channel}" in text:
                assert read.by_modality[m.value].top == label
                n += 1
    assert n


def test_two_hundred_skeletons_and_more() -> None:
    texts = [text for _, _, text in told()]
    assert count_skeletons(texts) >= 200
    assert count_skeletons(texts[:1] * 50) == 1


def test_stripping_takes_out_what_comes_from_the_evidence() -> None:
    one = 'Raised cheeks [F2], a much higher pitch [V1] and the words [S1] fit joy. "Oh my" [S1] at 2.9 of 5.'
    other = 'A wrinkled nose (slight) [F1], a lower pitch [V3] and the words [S2] fit disgust. "No" [S2] at 4.0 of 5.'
    assert strip(one).split(".")[1:] == strip(other).split(".")[1:]
    assert "joy" not in strip(one)
    assert count_skeletons([one, other]) == 1


def test_every_noun_names_its_label_or_nothing() -> None:
    lexicon = load_lexicon()
    for label, nouns in grammar()["nouns"].items():
        for noun in nouns:
            assert lexicon.to_set(noun, "basic8") in (label, None), noun
            assert label == "neutral" or lexicon.to_set(noun, "basic8") == label, noun


@pytest.mark.slow
def test_no_claim_of_a_thousand_rows_is_unsupported() -> None:
    for seed in range(1000):
        rng = random.Random(f"slow/{seed}")
        scene = draw(rng, QUOTES)
        read = appraise(scene.observations, scene.words)
        answer = parse_text(compose(scene.observations, read, rng))
        assert isinstance(answer, Explanation), answer
        bad = [c for c in check(answer, scene.observations, read).claims if c.verdict is not Verdict.SUPPORTED]
        assert not bad, bad


def test_removing_the_only_channel_leaves_nothing_to_tell() -> None:
    scene = next(s for s, read, _ in told() if len(read.by_modality) == 1)
    bare = Observations(tuple(replace(o, cue="missing_x") for o in scene.observations.items))
    read = appraise(bare)
    text = interpret(bare, read, conclude(bare, read), random.Random(0))
    assert text in grammar()["close"]["nothing"]
