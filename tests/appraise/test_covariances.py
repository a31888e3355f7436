"""The covariances of a voice's frames: laws of the numbers laid out flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from affectgpt.appraise.covariances import COUPLINGS, Frames, couplings, slopes

N_FRAMES = 150


def made_frames(seed: int = 0) -> Frames:
    draw = np.random.default_rng(seed)
    level = -30 + 6 * np.sin(np.arange(N_FRAMES) / 4) + draw.normal(0, 1, N_FRAMES)
    bands = (level[:, None] - np.linspace(0, 20, 24) + draw.normal(0, 2, (N_FRAMES, 24))).astype(np.float32)
    semitones = (36 + draw.normal(0, 1, N_FRAMES)).astype(np.float32)
    semitones[::7] = np.nan
    return Frames(level.astype(np.float32), bands, bands, semitones, np.ones(N_FRAMES, bool))


def row(frames: Frames) -> dict[str, float]:
    return dict(zip(COUPLINGS, couplings(frames), strict=True))


def test_every_number_has_a_name_of_its_own_and_is_finite() -> None:
    found = row(made_frames())
    assert len(found) == len(COUPLINGS)
    assert np.isfinite(list(found.values())).all()


def test_a_gain_leaves_no_trace() -> None:
    frames = made_frames()
    louder = replace(
        frames,
        level_db=frames.level_db + 12,
        limited_db=frames.limited_db + 12,
        bands_db=frames.bands_db + 12,
    )
    assert list(row(louder).values()) == pytest.approx(list(row(frames).values()), abs=1e-3)


def test_frames_that_do_not_count_do_not_matter_but_through_their_neighbours() -> None:
    frames = made_frames()
    talk = np.ones(N_FRAMES, bool)
    talk[100:] = False
    odd = frames.bands_db.copy()
    odd[145:] += 30
    told = [row(replace(frames, talk=talk, limited_db=b, bands_db=b)) for b in (frames.bands_db, odd)]
    fast = [n for n in COUPLINGS if n.startswith("db_")]
    assert [told[1][n] for n in fast] == pytest.approx([told[0][n] for n in fast], abs=1e-6)


def test_without_a_melody_only_its_numbers_are_unknown() -> None:
    found = row(replace(made_frames(), semitones=np.full(N_FRAMES, np.nan, np.float32)))
    assert {n for n, v in found.items() if np.isnan(v)} == {n for n in COUPLINGS if n.startswith("melody_")}


def test_twice_the_movement_adds_the_logarithm_of_four_to_each_direction() -> None:
    def moved(times: float) -> dict[str, float]:
        frames = made_frames()
        return row(replace(frames, level_db=times * frames.level_db, limited_db=times * frames.limited_db))

    # Movement far above the floor of variance, which would hide some of it.
    one, two = moved(500), moved(1000)
    own = [n for n in COUPLINGS if n.startswith("db_") and n.split("_with_")[0] == "db_" + n.split("_with_")[1]]
    assert len(own) == 21
    assert sum(two[n] - one[n] for n in own) == pytest.approx(21 * np.log(4), rel=1e-3)


def test_digital_silence_gives_numbers() -> None:
    quiet = np.full((N_FRAMES, 24), -100.0, np.float32)
    frames = replace(made_frames(), level_db=quiet[:, 0], limited_db=quiet, bands_db=quiet)
    assert np.isfinite(list(row(frames).values())).all()


def test_the_slope_of_a_line_is_its_slope() -> None:
    line = np.arange(20, dtype=np.float32)[:, None] * 3
    assert slopes(line)[2:-2] == pytest.approx(np.full((16, 1), 3.0))
