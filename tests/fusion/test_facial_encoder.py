"""The face as tokens: where a face was found, what its reader measures, and at a fixed rate whatever the track's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import face_track, unseen_track
from hypothesis import given
from hypothesis import strategies as st

from affectgpt.errors import InputError
from affectgpt.fusion.facial import RATE_HZ, FacialEncoder, unit_order
from affectgpt.fusion.features import Features, Signals
from affectgpt.records import FaceTrack

A = len(unit_order())


def encode(track: FaceTrack | None) -> Features:
    return FacialEncoder().encode(Signals(face=track))


def made(times_s: list[float], found: list[bool], smile: list[float]) -> FaceTrack:
    """A track of AU12 alone, in a head that looks straight."""
    n = len(times_s)
    seen = np.where(found, smile, np.nan).astype(np.float32)[:, None]
    return replace(
        face_track(),
        times_s=np.array(times_s, np.float64),
        action_units=seen,
        units=(12,),
        found=np.array(found, bool),
        pose_deg=np.where(np.array(found, bool)[:, None], 0.0, np.nan).astype(np.float32) * np.ones((n, 3), np.float32),
        width_px=np.full(n, 100.0, np.float32),
        baseline=np.zeros(1, np.float32),
        reliability=np.array([0.8], np.float32),
    )


def test_a_smile_stands_where_it_was_seen() -> None:
    track = face_track(4.0, AU12=4.0)
    features = encode(track)
    smile = features.tokens[:, unit_order().index(12)]
    assert features.width == FacialEncoder().width == 2 * A + 3
    assert np.allclose(smile[features.valid], track.action_units[track.found, track.units.index(12)] / 5, atol=1e-6)
    assert np.allclose(np.diff(features.times_s[:, 0]), 1 / RATE_HZ)


def test_a_unit_that_is_not_measured_differs_from_one_at_rest() -> None:
    features = encode(made([0.0, 0.08], [True, True], [0.0, 0.0]))
    reliability = features.tokens[:, A : 2 * A]
    assert np.allclose(reliability[:, unit_order().index(12)], 0.8)
    assert not np.delete(reliability, unit_order().index(12), axis=1).any()


def test_no_track_and_no_frames_are_a_missing_modality() -> None:
    assert len(encode(None)) == 0
    assert len(encode(made([], [], []))) == 0
    assert not encode(unseen_track()).is_present


def test_frames_without_a_face_change_nothing() -> None:
    whole = encode(made([0.0, 0.08, 0.16], [True, False, True], [1.0, 0.0, 3.0]))
    assert whole.valid.tolist() == [True, False, True]
    assert not whole.tokens[1].any()


def test_a_fast_track_is_averaged_and_a_slow_one_held() -> None:
    fast = encode(made([0.0, 0.02, 0.04, 0.06], [True, True, False, True], [1.0, 2.0, 5.0, 3.0]))
    assert len(fast) == 1
    assert fast.tokens[0, unit_order().index(12)] == pytest.approx(2.0 / 5)
    slow = encode(made([0.0, 0.24, 2.0], [True, True, True], [1.0, 2.0, 3.0]))
    assert slow.valid[:8].all()
    assert not slow.valid[9:25].any(), "a picture does not stand for seconds"
    assert slow.valid[25]
    assert slow.tokens[2, unit_order().index(12)] == pytest.approx(1.0 / 5)


@given(
    st.lists(st.tuples(st.floats(0.001, 3.0), st.booleans(), st.floats(0, 5, width=32)), min_size=1, max_size=40),
    st.floats(0, 100),
)
def test_any_track_gives_tokens_within_bounds(rows: list[tuple[float, bool, float]], start_s: float) -> None:
    times_s = (start_s + np.cumsum([step for step, _, _ in rows])).tolist()
    features = encode(made(times_s, [f for _, f, _ in rows], [s for _, _, s in rows]))
    assert features.tokens.min() >= 0
    assert features.tokens.max() <= 1
    assert features.is_present == any(f for _, f, _ in rows)
    assert features.times_s[0, 0] == times_s[0]
    assert features.times_s[-1, 1] >= times_s[-1]


@pytest.mark.parametrize("times_s", [[0.0, np.nan], [1.0, 0.0], [0.0, 1e12]])
def test_forged_times_are_refused(times_s: list[float]) -> None:
    with pytest.raises(InputError, match="times go back or span"):
        encode(made(times_s, [True, True], [0.0, 0.0]))
