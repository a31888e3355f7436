"""Composed rows: right by construction, varied, the same twice, and following the evidence."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from affectgpt.appraise.prototypes import appraise
from affectgpt.grounding import check
from affectgpt.parsing import parse_text
from affectgpt.records import Explanation, Modality, Observation, Observations, Verdict
from instruction_data.composer import compose
from instruction_data.evidence import draw, read_goemotions

QUOTES = {
    "neutral": [
        "The meeting starts at nine in the morning.",
        "He said it is over there.",
        "It is a blue car, I think.",
        "We took the bus.",
    ],
    "happy": ["That was the best day of my life!"],
    "angry": ["How dare they do this to us"],
    "sad": ["I miss my dog every day"],
    "fearful": [],
    "disgusted": [],
    "surprised": ["Wait, what just happened"],
    "contemptuous": [],
}


def test_every_row_parses_and_every_claim_is_supported() -> None:
    for seed in range(80):
        rng = random.Random(seed)
        scene = draw(rng, QUOTES)
        answer = parse_text(compose(scene.observations, appraise(scene.observations, scene.words), rng))
        assert isinstance(answer, Explanation), answer
        claims = check(answer, scene.observations).claims
        assert all(c.verdict is Verdict.SUPPORTED for c in claims), [c for c in claims if c.reason]


def test_every_observation_is_covered_and_nothing_else_cited() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        scene = draw(rng, QUOTES)
        answer = parse_text(compose(scene.observations, appraise(scene.observations, scene.words), rng))
        assert isinstance(answer, Explanation)
        cited = {i for c in answer.claims if c.section == "observations" for i in c.cites}
        assert cited == set(scene.observations.by_id())


def test_the_same_seed_gives_the_same_answers_and_another_seed_others() -> None:
    def told(seed: int) -> list[str]:
        rng = random.Random(seed)
        scenes = [draw(rng, QUOTES) for _ in range(6)]
        return [compose(s.observations, appraise(s.observations, s.words), rng) for s in scenes]

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_wording_varies_over_one_evidence() -> None:
    smile = Observation("F1", Modality.FACE, "AU12", "lip corner puller (AU12) marked, 2.9 of 5", value=2.9, level="C")
    cheek = replace(smile, id="F2", cue="AU6", text="cheek raiser (AU6) marked, 2.7 of 5", value=2.7)
    seen = Observations((smile, cheek))
    texts = {compose(seen, appraise(seen), random.Random(i)) for i in range(60)}
    assert len(texts) > 40


def test_turning_the_decisive_cue_turns_the_conclusion() -> None:
    smile = Observation("F1", Modality.FACE, "AU12", "lip corner puller (AU12) severe, 4.0 of 5", value=4.0, level="D")
    frown = replace(smile, cue="AU15", text="lip corner depressor (AU15) severe, 4.0 of 5")
    labels = []
    for o in (smile, frown):
        seen = Observations((o,))
        answer = parse_text(compose(seen, appraise(seen), random.Random(0)))
        assert isinstance(answer, Explanation)
        labels.append(answer.conclusion.label)
    assert labels == ["happy", "sad"]


def test_no_evidence_gives_cannot_tell() -> None:
    seen = Observations((Observation("M1", Modality.FACE, "missing_face", "no face was found in any frame"),))
    answer = parse_text(compose(seen, appraise(seen), random.Random(0)))
    assert isinstance(answer, Explanation)
    assert answer.conclusion.label is None


def test_goemotions_rows_are_read_by_label(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("joy\nneutral\n")
    (tmp_path / "train.tsv").write_text(
        "What a lovely day [NAME]\t0\tx\nIt is on the table\t1\ty\nTwo labels here now\t0,1\tz\n"
    )
    quotes = read_goemotions(tmp_path / "train.tsv")
    assert quotes["happy"] == ["What a lovely day Sam"]
    assert quotes["neutral"] == ["It is on the table"]
