"""Fitting the voice heads: laws of the rows, of the folds, and of networks laid side by side."""

from __future__ import annotations

import numpy as np
import pytest

from affectgpt.appraise.functionals import NAMES
from affectgpt.records import Interval, VoiceTrack
from finetune.appraise_voice import CLEAN, LEVELS, Rows, fit_nets, four, four_label, held_out_speakers, part

N_ACTORS, N_EACH = 10, 16


def made_rows(width: int = len(NAMES)) -> Rows:
    """Ten speakers, eight feelings twice in a studio and twice on a line; one number tells the feeling."""
    draw = np.random.default_rng(0)
    n = N_ACTORS * N_EACH * 2
    actor = np.repeat([f"{a:02d}" for a in range(N_ACTORS)], N_EACH * 2)
    label = np.tile(np.arange(8), n // 8)
    x = draw.normal(size=(n, width)) + 5 * np.repeat(draw.normal(size=(N_ACTORS, width)), N_EACH * 2, axis=0)
    x[:, 0] += label
    channel = np.tile(np.repeat([CLEAN, "line"], N_EACH), N_ACTORS)
    return Rows(x, label, channel, actor, np.tile(["1", "2"], n // 2))


def made_track(n_frames: int) -> VoiceTrack:
    times_s = np.arange(n_frames) * 0.01
    return VoiceTrack(
        times_s=times_s,
        f0_hz=np.full(n_frames, 200.0, np.float32),
        level_db=np.arange(n_frames, dtype=np.float32),
        speech=(Interval(0.2, n_frames * 0.01 - 0.2),),
        measures={"hnr_db": 9.0, "syllable_rate_hz": 4.0},
        z={},
        windows=(),
        baseline={},
        baseline_kind="population",
        reader="made",
        bands_db=np.zeros((n_frames, 24), np.float16),
    )


class TestRows:
    def test_each_speaker_in_each_channel_is_his_own_measure(self) -> None:
        rows = made_rows(4).normalised()
        for actor in np.unique(rows.actor):
            for channel in (CLEAN, "line"):
                own = rows.x[(rows.actor == actor) & (rows.channel == channel)]
                assert own.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-9)
                assert own.std(axis=0) == pytest.approx(np.ones(4))

    def test_another_level_moves_what_a_gain_moves_and_nothing_else(self) -> None:
        rows = made_rows()
        more = rows.at_other_levels(seed=3)
        n_clean = int((rows.channel == CLEAN).sum())
        assert len(more.x) == len(rows.x) + n_clean
        moved = np.abs(more.x[len(rows.x) :] - rows.x[rows.channel == CLEAN]).max(axis=0) > 0
        assert {NAMES[i] for i in np.flatnonzero(moved)} == set(LEVELS)

    def test_no_speaker_is_in_two_folds_and_all_are_in_one(self) -> None:
        folds = held_out_speakers(made_rows(4), seed=0)
        assert (np.sum(folds, axis=0) == 1).all()
        told = [set(made_rows(4).actor[held]) for held in folds]
        assert sum(len(t) for t in told) == N_ACTORS


class TestFour:
    def test_calm_counts_as_neutral(self) -> None:
        assert four(np.eye(8))[:2].argmax(axis=1).tolist() == [0, 0]

    def test_every_label_of_the_four_is_where_its_probability_is(self) -> None:
        label = np.arange(8)
        kept = four_label(label) >= 0
        assert four(np.eye(8))[kept].argmax(axis=1).tolist() == four_label(label)[kept].tolist()


class TestPart:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_part_is_a_stretch_of_the_speech(self, seed: int) -> None:
        track = made_track(200)
        cut = part(track, np.random.default_rng(seed))
        assert cut is not None
        assert 0.44 * 160 <= len(cut.times_s) <= 0.76 * 162
        assert cut.times_s[0] >= 0.2 - 1e-9
        assert cut.times_s[-1] <= 1.8 + 1e-9
        assert np.diff(cut.level_db) == pytest.approx(1.0)
        assert dict(cut.measures) == {"hnr_db": 9.0}

    def test_what_is_short_is_not_cut(self) -> None:
        assert part(made_track(100), np.random.default_rng(0)) is None


def test_networks_side_by_side_learn_what_is_there_and_one_seed_gives_one_head() -> None:
    rows = made_rows(6).normalised()
    held = held_out_speakers(rows, 0)[0]
    first, again = (fit_nets(rows, ~held, seed=1, n_nets=2) for _ in range(2))
    assert all(np.array_equal(first.weights[k], again.weights[k]) for k in first.weights)
    said = first(rows.x[held].astype(np.float32)).argmax(axis=1)
    assert np.abs(said - rows.label[held]).mean() < 1.5
