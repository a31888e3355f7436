"""The geometry reader on real pixels: NASA's photograph of Eileen Collins (public domain, ships with scikit-image)."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from affectgpt import media
from affectgpt.errors import OptionError
from affectgpt.perceive.face import open_reader
from affectgpt.perceive.facemesh import FaceMeshReader
from affectgpt.records import FaceTrack, Frame

STEP_S = 0.08
Picture = np.ndarray


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return np.ascontiguousarray(data.astronaut())


@pytest.fixture(scope="module")
def reader() -> FaceMeshReader:
    return FaceMeshReader()


def resized(picture: Picture, scale: float) -> Picture:
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def canvas(*placed: tuple[Picture, int, int], size: tuple[int, int] = (520, 900)) -> Picture:
    result = np.full((*size, 3), 90, np.uint8)
    for picture, top, left in placed:
        result[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return result


def clip_of(*pictures: Picture) -> Iterator[Frame]:
    return (Frame(p, i * STEP_S) for i, p in enumerate(pictures))


def level(track: FaceTrack, unit: int) -> float:
    return float(np.nanmedian(track.action_units[:, track.units.index(unit)]))


def test_a_smiling_photograph_smiles(astronaut, reader):
    track = reader.read([Frame(astronaut, 0.0)])
    assert track.found.tolist() == [True]
    assert (track.n_people, track.subject, track.baseline_kind) == (1, 0, "population")
    assert level(track, 12) >= 2.5
    assert level(track, 12) == np.nanmax([level(track, u) for u in (1, 2, 4, 5, 7, 12, 15)])
    assert level(track, 15) < 0.5
    assert level(track, 43) < 0.7
    assert 60 < track.width_px[0] < 140
    assert track.action_units.shape == (1, 18)
    assert track.action_units.dtype == np.float32
    assert (track.baseline == 0).all()
    assert "mediapipe" in track.reader


def test_the_mirror_image_feels_the_same_and_looks_the_other_way(astronaut, reader):
    here, there = (reader.read([Frame(p, 0.0)]) for p in (astronaut, np.ascontiguousarray(astronaut[:, ::-1])))
    assert here.pose_deg[0, 0] == pytest.approx(-there.pose_deg[0, 0], abs=4)
    assert here.pose_deg[0, 2] == pytest.approx(-there.pose_deg[0, 2], abs=4)
    assert level(here, 12) == pytest.approx(level(there, 12), abs=1.0)


def test_a_tilted_picture_tilts_the_pose(astronaut, reader):
    tilted = np.asarray(Image.fromarray(astronaut).rotate(-12, Image.Resampling.BICUBIC))  # clockwise
    upright, turned = (reader.read([Frame(p, 0.0)]) for p in (astronaut, tilted))
    assert turned.pose_deg[0, 2] - upright.pose_deg[0, 2] == pytest.approx(12, abs=3)


def test_two_people_are_numbered_left_to_right_and_the_larger_is_the_subject(astronaut, reader):
    small, large = resized(astronaut[:300, 60:360], 0.75), astronaut[:400, 60:380]
    frames = [canvas((small, 60 + i, 20), (large, 40, 500)) for i in range(6)]
    chosen = reader.read(clip_of(*frames))
    assert (chosen.n_people, chosen.subject) == (2, 1)
    other = reader.read(clip_of(*frames), subject=0)
    assert other.subject == 0
    assert np.nanmedian(other.width_px) == pytest.approx(0.75 * np.nanmedian(chosen.width_px), rel=0.1)
    assert other.found.all()
    assert chosen.found.all()
    with pytest.raises(OptionError, match="2 people were found"):
        reader.read(clip_of(*frames), subject=2)


@pytest.mark.parametrize("scale", [0.6, 0.5, 0.4])
def test_a_small_face_in_a_large_picture_is_found_and_followed(astronaut, reader, scale):
    tiny = resized(astronaut, scale)
    frames = [canvas((tiny, 300, 700 + 4 * i), size=(720, 1280)) for i in range(5)]
    track = reader.read(clip_of(*frames))
    assert track.found.all()
    plain = reader.read([Frame(astronaut, 0.0)])
    assert np.nanmedian(track.width_px) == pytest.approx(scale * plain.width_px[0], rel=0.15)
    assert level(track, 12) == pytest.approx(level(plain, 12), abs=1.5)


def test_large_pictures_are_scaled_for_the_search_alone(astronaut, reader):
    large = reader.read([Frame(resized(astronaut, 4.0), 0.0)])
    plain = reader.read([Frame(astronaut, 0.0)])
    assert large.width_px[0] == pytest.approx(4 * plain.width_px[0], rel=0.03)
    assert level(large, 12) == pytest.approx(level(plain, 12), abs=1.0)


def test_no_face_is_told_and_not_invented(reader):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    track = reader.read(clip_of(noise, np.zeros_like(noise), noise), subject=3)
    assert not track.found.any()
    assert (track.n_people, track.n_turned_away) == (0, 0)
    assert track.times_s.tolist() == pytest.approx([0.0, 0.08, 0.16])
    for course in (track.action_units, track.pose_deg, track.width_px):
        assert np.isnan(course).all()


def test_no_frames_give_an_empty_track(reader):
    track = reader.read([])
    assert track.times_s.shape == (0,)
    assert track.action_units.shape == (0, 18)
    assert track.n_people == 0


def test_a_face_that_leaves_is_missing_from_then_on(astronaut, reader):
    empty = np.full_like(astronaut, 90)
    track = reader.read(clip_of(*[astronaut] * 4, *[empty] * 4))
    assert track.found.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (40, 40, 3)])
def test_odd_pictures_are_no_trouble(shape, reader):
    assert not reader.read([Frame(np.zeros(shape, np.uint8), 0.0)]).found.any()


def test_pixels_are_let_go(astronaut, reader):
    seen: list[weakref.ref] = []

    def frames() -> Iterator[Frame]:
        for i in range(6):
            pixels = astronaut.copy()
            seen.append(weakref.ref(pixels))
            yield Frame(pixels, i * STEP_S)
            del pixels
            assert sum(r() is not None for r in seen[:-1]) <= 1

    assert reader.read(frames()).found.all()


def test_the_default_reader_is_quiet_and_the_seam_opens_it():
    code = (
        "from skimage import data; from affectgpt.records import Frame;"
        "from affectgpt.perceive.face import open_reader;"
        "print(open_reader().read([Frame(data.astronaut(), 0.0)]).found.all())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True"]
    assert done.stderr == ""


def test_contradictory_sources_are_refused():
    with pytest.raises(OptionError):
        open_reader(file=Path("a.csv"), task=Path("b.task"))
    with pytest.raises(OptionError):
        open_reader(fps=30.0)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("emotion", "units"), [("happy_level3", (12,)), ("surprised_level3", (1, 2, 5)), ("angry_level3", (4, 7))]
)
@pytest.mark.parametrize("actor", ["W009", "W011"])
def test_acted_emotions_show_their_units_more_than_neutral_does(shared_data, reader, actor, emotion, units):
    folder = shared_data / "clips" / "mead_dreamtalk"
    others = FaceMeshReader(own_baseline=False)
    acted, neutral = (
        others.read(media.frames(media.open_clip(folder / f"{actor}_front_{name}_001.mp4"), 12.5))
        for name in (emotion, "neutral_level1")
    )
    for unit in units:
        at = acted.units.index(unit)
        assert np.nanmean(acted.action_units[:, at]) > np.nanmean(neutral.action_units[:, at]) + 0.4, unit


@pytest.mark.shared
def test_a_face_in_part_of_a_real_clip(shared_data, reader):
    clip = media.open_clip(shared_data / "clips" / "pyfeat" / "face_noface.mov")
    track = reader.read(media.frames(clip, 5.0))
    assert 0.2 < track.found.mean() < 0.6
    assert all(a < b for a, b in pairwise(track.times_s))
    assert not np.isfinite(track.action_units[~track.found]).any()
