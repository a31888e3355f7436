"""The face appraiser: laws of its statistics and of its readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from affectgpt.appraise.face import LOOK, PAIRS, FaceAppraiser, log_prior, row_names, statistics
from affectgpt.emotions import load_lexicon
from affectgpt.records import FaceTrack

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26, 43)
LABELS = load_lexicon().labels("basic8")


def made_track(course: Mapping[int, list[float]], n_frames: int = 1, found: list[bool] | None = None) -> FaceTrack:
    """A track of these units' courses, the others at rest."""
    values = np.zeros((n_frames, len(UNITS)), np.float32)
    for unit, level in course.items():
        values[:, UNITS.index(unit)] = level
    seen = np.array(found if found is not None else [True] * n_frames, bool)
    values[~seen] = np.nan
    return FaceTrack(
        times_s=np.arange(n_frames) * 0.08,
        action_units=values,
        units=UNITS,
        found=seen,
        pose_deg=np.zeros((n_frames, 3), np.float32),
        width_px=np.full(n_frames, 200.0, np.float32),
        baseline=np.zeros(len(UNITS), np.float32),
        baseline_kind="population",
        reliability=np.full(len(UNITS), 0.8, np.float32),
        reader="made",
    )


LONG = 50
"""Frames of 80 ms: four seconds."""


class TestStatistics:
    def test_a_still_holds_what_it_shows(self) -> None:
        found = statistics(made_track({12: [3.0], 6: [2.0]}))
        assert found.held[UNITS.index(12)] == pytest.approx(3.0)
        assert found.together[PAIRS.index((6, 12))] == pytest.approx(2.0)

    def test_two_seconds_are_held_wherever_they_lie(self) -> None:
        for start in (0, 10, 25):
            course = [0.0] * start + [4.0] * 25 + [0.0] * (LONG - 25 - start)
            assert statistics(made_track({12: course}, LONG)).held[UNITS.index(12)] == pytest.approx(4.0)

    def test_what_speech_moves_for_a_moment_is_hardly_held(self) -> None:
        flicker = [4.0 if i % 5 == 0 else 0.0 for i in range(LONG)]
        assert statistics(made_track({20: flicker}, LONG)).held[UNITS.index(20)] < 1.0

    def test_units_at_different_times_are_not_together(self) -> None:
        apart = made_track({6: [4, 4, 4, 0, 0, 0], 12: [0, 0, 0, 4, 4, 4]}, 6)
        assert statistics(apart).together[PAIRS.index((6, 12))] == 0.0

    def test_frames_without_a_face_do_not_count(self) -> None:
        seen = made_track({12: [3.0] * 3}, 3)
        lost = made_track({12: [3.0] * 6}, 6, [True, True, True, False, False, False])
        assert statistics(lost).row(UNITS) == pytest.approx(statistics(seen).row(UNITS))

    def test_a_row_has_a_name_for_every_number_and_a_zero_for_a_unit_that_is_lacking(self) -> None:
        found = statistics(made_track({12: [3.0]}))
        assert len(found.row((*UNITS, 28))) == len(row_names((*UNITS, 28)))
        assert found.row((28,))[0] == 0.0

    @pytest.mark.parametrize("times_s", [[0.0, 0.0, 0.0], [0.0, 9.0, 18.0]], ids=["no time passes", "a frame in 9 s"])
    def test_odd_clocks_give_numbers(self, times_s: list[float]) -> None:
        track = replace(made_track({12: [3.0] * 3}, 3), times_s=np.array(times_s))
        assert np.isfinite(statistics(track).row(UNITS)).all()


class TestLook:
    """What a face never lets go of, compared with other people's rest."""

    AT = UNITS.index(5)

    def test_a_level_kept_throughout_loses_what_a_resting_face_can_show(self) -> None:
        for level, left in ((1.2, 0.0), (2.0, 2.0 - LOOK), (4.5, 4.5 - LOOK)):
            assert statistics(made_track({5: [level] * LONG}, LONG)).held[self.AT] == pytest.approx(left, abs=1e-6)

    def test_a_level_that_is_let_go_of_keeps_its_full_reading(self) -> None:
        course = [0.0] * 20 + [2.0] * (LONG - 20)
        assert statistics(made_track({5: course}, LONG)).held[self.AT] == pytest.approx(2.0)

    def test_a_person_compared_with_themself_keeps_it(self) -> None:
        track = replace(made_track({5: [2.0] * LONG}, LONG), baseline_kind="own")
        assert statistics(track).held[self.AT] == pytest.approx(2.0)

    def test_what_is_too_short_to_be_let_go_of_keeps_it(self) -> None:
        assert statistics(made_track({5: [2.0] * 30}, 30)).held[self.AT] == pytest.approx(2.0)

    @pytest.mark.parametrize("permissive", [False, True])
    def test_large_eyes_at_rest_are_not_surprise(self, permissive: bool) -> None:
        eyes = {1: [0.6] * LONG, 2: [0.8] * LONG, 5: [2.0] * LONG, 25: [3.0, 5.0, 1.0, 4.0, 0.0] * 10}
        read = FaceAppraiser(permissive).read(made_track(eyes, LONG))
        assert read is not None
        assert read.top == "neutral"


@pytest.mark.parametrize("permissive", [False, True])
class TestReading:
    def test_no_face_is_none(self, permissive: bool) -> None:
        assert FaceAppraiser(permissive).read(made_track({}, 3, [False] * 3)) is None
        assert FaceAppraiser(permissive).read(made_track({}, 0)) is None

    @pytest.mark.parametrize(
        ("label", "shown"),
        [
            ("happy", {6: [3.0], 12: [4.0], 25: [2.0]}),
            ("surprised", {1: [4.0], 2: [4.0], 5: [3.0], 26: [3.0]}),
            ("angry", {4: [4.0], 7: [3.0], 23: [3.0], 24: [3.0]}),
        ],
    )
    def test_a_full_prototype_is_read_as_its_feeling(
        self, permissive: bool, label: str, shown: dict[int, list[float]]
    ) -> None:
        read = FaceAppraiser(permissive).read(made_track(shown))
        assert read is not None
        assert read.top == label

    def test_a_distribution_over_the_basics(self, permissive: bool) -> None:
        read = FaceAppraiser(permissive).read(made_track({12: [2.0]}))
        assert read is not None
        assert tuple(read.probabilities) == LABELS
        assert sum(read.probabilities.values()) == pytest.approx(1.0)
        assert min(read.probabilities.values()) > 0.0

    @pytest.mark.parametrize("unit", UNITS)
    def test_a_level_beyond_the_scale_is_read(self, permissive: bool, unit: int) -> None:
        read = FaceAppraiser(permissive).read(made_track({unit: [500.0]}))
        assert read is not None
        assert sum(read.probabilities.values()) == pytest.approx(1.0)


def test_without_what_was_learnt_on_photographs_a_short_clip_reads_as_the_still() -> None:
    face = FaceAppraiser(permissive=True)
    still, held = face.read(made_track({12: [2.0]})), face.read(made_track({12: [2.0] * 9}, 9))
    assert still is not None
    assert held is not None
    assert held.probabilities == pytest.approx(still.probabilities)


def test_on_a_clip_the_reading_lies_between_the_prior_and_the_still() -> None:
    shown = {1: 2.0, 2: 2.0, 5: 1.5, 26: 1.0}
    clip = FaceAppraiser().read(made_track({u: [v] * 9 for u, v in shown.items()}, 9))
    still, prior = (FaceAppraiser(p).read(made_track({u: [v] for u, v in shown.items()})) for p in (False, True))
    assert clip is not None
    assert still is not None
    assert prior is not None
    low, high = sorted((still.probabilities["surprised"], prior.probabilities["surprised"]))
    assert low <= clip.probabilities["surprised"] <= high


def test_the_prior_is_a_log_distribution() -> None:
    track = made_track({4: [3.0]})
    assert np.exp(log_prior(statistics(track), track.reliability)).sum() == pytest.approx(1.0, abs=1e-3)
