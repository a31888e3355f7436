"""The panel over tracks: what cannot be read weighs less, stretches cover the clip, carriers are real observations."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.appraise import reliability
from affectgpt.appraise.fuse import pool, weigh
from affectgpt.appraise.panel import Panel
from affectgpt.appraise.stretches import cut_face, cut_voice, cut_words, stretches
from affectgpt.appraise.words import WordsAppraiser
from affectgpt.emotions import load_lexicon
from affectgpt.records import FaceTrack, Interval, Observations, Transcript, TranscriptSource, Utterance, VoiceTrack
from affectgpt.textualize import Sensed, tell


def face(seconds: float = 3.0, **units: float) -> FaceTrack:
    """A face that holds these units throughout."""
    track = fakes.face_track(max(seconds, 0.08))
    held = np.zeros_like(track.action_units)
    for name, value in units.items():
        held[:, track.units.index(int(name.removeprefix("AU")))] = value
    return replace(track, action_units=held)


def words(*said: str, confidence: float = 1.0) -> Transcript:
    return Transcript(tuple(Utterance(s, None, None, confidence) for s in said), TranscriptSource.GIVEN)


def observed(seen: FaceTrack | None, said: Transcript | None) -> Observations:
    return tell(Sensed(seen, None, said, {}))


def test_a_smile_is_happy_and_carried_by_the_smile() -> None:
    smile = face(AU12=4.0, AU6=3.0)
    seen = observed(smile, None)
    appraisal = Panel().appraise(seen, smile)
    assert appraisal.fused.top == "happy"
    carriers = [seen.by_id()[i].cue for i in appraisal.carried_by["face"]]
    assert carriers[0] == "AU12"
    assert appraisal.weights == {"face": 1.0}
    assert not appraisal.course


def test_words_against_the_face_are_a_conflict_and_ones_own_words_lead() -> None:
    smile, said = face(AU12=4.0, AU6=3.0), words("I am so sad, I could cry all day.")
    appraisal = Panel().appraise(observed(smile, said), smile, transcript=said)
    assert appraisal.by_modality["face"].top == "happy"
    assert appraisal.by_modality["speech"].top == "sad"
    assert appraisal.conflicts == ("face seems happy, speech seems sad",)
    assert appraisal.weights["speech"] > appraisal.weights["face"]
    assert min(appraisal.fused.probabilities[k] for k in ("happy", "sad")) > 0.2


def test_a_face_seldom_seen_weighs_less_against_the_words() -> None:
    smile, said = face(AU12=4.0, AU6=3.0), words("The furious crowd screamed at us.")
    lost = replace(smile, found=np.arange(len(smile.found)) < 4)
    panel = Panel()
    whole = panel.appraise(observed(smile, said), smile, transcript=said).weights["face"]
    rare = panel.appraise(observed(lost, said), lost, transcript=said).weights["face"]
    assert 0 < rare < whole


def test_a_clip_that_turns_is_told_over_time() -> None:
    first, then = face(8.0, AU12=4.0, AU6=3.0), face(8.0, AU1=4.0, AU2=4.0, AU5=4.0, AU26=3.0)
    clip = replace(
        first,
        times_s=np.concatenate([first.times_s, then.times_s + 8.0]),
        action_units=np.concatenate([first.action_units, then.action_units]),
        found=np.ones(200, np.bool_),
        pose_deg=np.zeros((200, 3), np.float32),
        width_px=np.full(200, 120.0, np.float32),
    )
    course = Panel().appraise(observed(clip, None), clip).course
    assert course[0].fused.top == "happy"
    assert course[-1].fused.top == "surprised"
    assert course[0].start_s == 0
    assert all(a.end_s == b.start_s for a, b in pairwise(course))


def test_nothing_to_read_gives_no_modality() -> None:
    appraisal = Panel().appraise(Observations(()))
    assert appraisal.by_modality == {}
    assert sum(appraisal.fused.probabilities.values()) == pytest.approx(1.0)


def test_subtitles_alone_are_read_though_no_track_gives_a_length() -> None:
    said = Transcript((Utterance("I am so happy today!", 10.0, 12.0),), TranscriptSource.SIDECAR)
    assert Panel().appraise(observed(None, said), transcript=said).fused.top == "happy"


def test_words_are_read_with_what_was_said_in_the_stretches_before() -> None:
    first, then = Utterance("My dog died this morning.", 0.5, 3.0), Utterance("It is what it is.", 5.0, 7.5)
    said, head = Transcript((first, then), TranscriptSource.SIDECAR), WordsAppraiser()
    read = Panel().appraise(observed(None, said), transcript=said).by_modality["speech"]
    alone, after = head.read([first.text]), head.read([then.text], [first.text])
    expected = pool([(d, reliability.of_words([u], d)) for u, d in ((first, alone), (then, after))])
    assert read.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert after.probabilities != pytest.approx(head.read([then.text]).probabilities, abs=1e-3), "context counts"


def test_the_permissive_panel_says_that_prototypes_stand_in() -> None:
    smile, said = face(AU12=4.0, AU6=3.0), words("What a lovely day!")
    read_by = Panel(permissive=True).appraise(observed(smile, said), smile, transcript=said).read_by
    assert read_by == {"face": "prototypes", "speech": "permissive heads"}


def test_appraising_twice_gives_the_same_numbers() -> None:
    smile, said = face(9.0, AU12=3.0), words("I don't know what to say.")
    a, b = (Panel().appraise(observed(smile, said), smile, transcript=said) for _ in range(2))
    assert a == b


@given(st.floats(0.0, 500.0))
def test_stretches_cover_the_clip_without_gaps(end_s: float) -> None:
    cuts = stretches(end_s)
    assert cuts[0].start_s == 0
    assert cuts[-1].end_s == pytest.approx(end_s)
    assert all(a.end_s == b.start_s for a, b in pairwise(cuts))
    assert all(c.end_s - c.start_s <= 6.01 for c in cuts)
    assert end_s < 6 or all(c.end_s - c.start_s >= 2.6 for c in cuts)


def test_cuts_keep_what_lies_inside() -> None:
    part = cut_face(face(8.0, AU12=2.0), Interval(4.0, 6.0))
    assert part is not None
    assert 4.0 <= part.times_s.min() <= part.times_s.max() <= 6.0
    assert len(part.action_units) == len(part.found) == len(part.width_px) == len(part.pose_deg)
    assert cut_face(face(2.0), Interval(5.0, 6.0)) is None
    timed = [Utterance("early", 0.0, 1.0), Utterance("late", 5.0, 6.0), Utterance("whenever", None, None)]
    assert [u.text for u in cut_words(timed, Interval(0.0, 4.0))] == ["early", "whenever"]


def voice(**given: object) -> VoiceTrack:
    n = 300
    track = VoiceTrack(
        times_s=np.arange(n) * 0.01,
        f0_hz=np.full(n, 200.0, np.float32),
        level_db=np.full(n, -20.0, np.float32),
        speech=(Interval(0.2, 2.8),),
        measures={},
        z={},
        windows=(),
        baseline={},
        baseline_kind="population",
        reader="made",
        snr_db=30.0,
    )
    return replace(track, **given)  # type: ignore[arg-type]


def test_a_cut_voice_speaks_only_inside_its_stretch() -> None:
    part = cut_voice(voice(), Interval(1.0, 2.0))
    assert part is not None
    assert part.speech == (Interval(1.0, 2.0),)
    assert len(part.f0_hz) == len(part.times_s) == len(part.level_db)


@pytest.mark.parametrize(
    "worse",
    [{"snr_db": 5.0}, {"clipped_ratio": 0.05}, {"speech": (Interval(0.2, 0.7),)}, {"snr_db": float("nan")}],
    ids=["noise", "clipping", "little speech", "noise unknown"],
)
def test_a_worse_recording_is_less_reliable(worse: dict[str, object]) -> None:
    assert reliability.of_voice(voice()) == 1.0
    assert 0 < reliability.of_voice(voice(**worse)) < 1


def test_a_small_or_lost_face_is_less_reliable() -> None:
    whole = face()
    small = replace(whole, width_px=np.full(len(whole.found), 30.0, np.float32))
    lost = replace(whole, found=np.zeros(len(whole.found), np.bool_))
    assert reliability.of_face(small) < reliability.of_face(whole) <= 1
    assert reliability.of_face(lost) == 0


def test_unsure_or_neutral_words_are_less_reliable() -> None:
    labels = load_lexicon().labels("basic8")
    sad, plain = (weigh({k: float(k == label) for k in labels}) for label in ("sad", "neutral"))
    said, doubted = words("I miss him").utterances, words("I miss him", confidence=0.4).utterances
    assert reliability.of_words(said, sad) == 1.0
    assert reliability.of_words(doubted, sad) == pytest.approx(0.4)
    assert 0 < reliability.of_words(said, plain) < 0.5
    assert reliability.of_words([], sad) == 0.0


def test_made_up_scenes_are_appraised_whatever_they_lack() -> None:
    rng, panel = random.Random(3), Panel()
    for _ in range(12):
        units = {f"AU{u}": rng.uniform(0, 5) for u in rng.sample(fakes.UNITS, 3)}
        seen = face(rng.choice([0.0, 2.0, 11.0]), **units) if rng.random() < 0.7 else None
        said = words("We took the bus.") if rng.random() < 0.5 else None
        told = observed(seen, said)
        appraisal = panel.appraise(told, seen, transcript=said)
        assert sum(appraisal.fused.probabilities.values()) == pytest.approx(1.0)
        assert {i for ids in appraisal.carried_by.values() for i in ids} <= set(told.by_id())
