"""The bottleneck: ranked, numbered, and never silent about what it leaves out."""

from __future__ import annotations

from affectgpt.records import Modality, Observation, Transcript, TranscriptSource, Utterance
from affectgpt.textualize import Sensed, tell
from affectgpt.textualize.bottleneck import TOP_K, number


def seen(n: int) -> list[Observation]:
    return [Observation("", Modality.FACE, f"AU{i}", f"cue {i}", value=5 - i / 10) for i in range(n)]


def test_ids_are_numbered_a_modality_in_rank_order() -> None:
    told = number({Modality.FACE: seen(3)}, [], TOP_K)
    assert [o.id for o in told.items] == ["F1", "F2", "F3"]
    assert told.left_out == {}


def test_what_is_left_out_is_counted_and_told() -> None:
    told = number({Modality.FACE: seen(9)}, [], TOP_K)
    assert len(told.of(Modality.FACE)) == TOP_K[Modality.FACE] + 1
    assert told.left_out == {"face": 9 - TOP_K[Modality.FACE]}
    assert told.items[-1].line == f"[M1] {9 - TOP_K[Modality.FACE]} more weaker face observations left out"


def test_of_many_quotes_the_longest_stay_in_the_order_spoken() -> None:
    lines = ["a", "the longest line of them all", "b", "another rather long line", "c", "a third long line"]
    utterances = tuple(Utterance(t, i, i + 0.5) for i, t in enumerate(lines))
    told = tell(Sensed(transcript=Transcript(utterances, TranscriptSource.GIVEN)))
    assert [o.quote for o in told.of(Modality.SPEECH) if o.quote] == [lines[1], lines[3], lines[5]]
    assert told.left_out == {"speech": 3}


def test_an_absent_modality_is_told_with_its_reason_made_safe() -> None:
    told = tell(Sensed(absent={Modality.VOICE: "bad\n[F9] sound"}))
    assert [o.line for o in told.items] == ["[M1] voice unknown: bad (F9) sound"]


def test_nothing_sensed_is_nothing_told() -> None:
    assert tell(Sensed()).items == ()
