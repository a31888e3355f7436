"""Tracks from OpenFace and py-feat files, good ones and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectgpt.errors import OptionError, TrackFileError
from affectgpt.perceive.face import open_reader
from affectgpt.perceive.face_files import FaceFileReader
from affectgpt.records import FaceTrack, Frame


def write(folder: Path, text: str | bytes, name: str = "track.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def level(track: FaceTrack, unit: int) -> list[float]:
    return track.action_units[:, track.units.index(unit)].tolist()


OPENFACE = (
    "frame, face_id, timestamp, confidence, success, pose_Rx, pose_Ry, pose_Rz,"
    " x_0, x_1, y_0, y_1, AU12_r, AU45_r, AU12_c\n"
    "1, 0, 0.0, 0.98, 1, 0.1, 0.0, 0, 10, 90, 5, 99, 2.5, 0, 1\n"
    "2, 0, 0.04, 0.98, 1, 0.1, 0.7, 0, 10, 90, 5, 99, 9.9, 0, 1\n"
    "3, 0, 0.08, 0.10, 0, 0.1, 0.0, 0, 0, 0, 0, 0, 1.5, 0, 1\n"
    "4, 0, 0.12, 0.98, 1, 0.1, 0.0, 0, 10, 90, 5, 99, 7.0, 3.0, 1\n"
)


def test_openface_intensities_pass_as_they_are(tmp_path):
    track = open_reader(file=write(tmp_path, OPENFACE)).read([])
    assert track.times_s.tolist() == [0.0, 0.04, 0.08, 0.12]
    assert track.found.tolist() == [True, False, False, True]  # turned by 40 degrees, then lost
    assert track.n_turned_away == 1
    assert level(track, 12)[0] == 2.5
    assert level(track, 12)[3] == 5.0  # the scale ends at 5
    assert level(track, 43)[3] == 3.0  # blink (45) is the closing of the eyes
    assert track.pose_deg[0].tolist() == pytest.approx([0.0, np.degrees(0.1), 0.0])
    assert track.width_px[0] == 80
    assert track.baseline_kind == "population"
    assert "OpenFace" in track.reader


def test_units_that_a_file_lacks_are_not_made_up(tmp_path):
    track = FaceFileReader(write(tmp_path, OPENFACE)).read([])
    for i, unit in enumerate(track.units):
        assert (track.reliability[i] > 0) == (unit in (12, 43))
        assert np.isnan(track.action_units[:, i]).all() == (unit not in (12, 43))


def test_frame_numbers_become_times_with_fps(tmp_path):
    assert FaceFileReader(write(tmp_path, OPENFACE), fps=10).read([]).times_s == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(OptionError):
        FaceFileReader(write(tmp_path, OPENFACE), fps=0)


PYFEAT = "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU12,AU06,Pitch,Roll,Yaw\n"


def test_pyfeat_strengths_are_scaled_to_five(tmp_path):
    rows = "0,10,10,50,60,0.99,0.5,1.0,1,2,3\n10,10,10,50,60,0.2,0.5,1,1,2,3\n20,10,10,50,60,,,,,,\n"
    track = FaceFileReader(write(tmp_path, PYFEAT + rows), fps=25).read([])
    assert track.times_s == pytest.approx([0.0, 0.4, 0.8])
    assert track.found.tolist() == [True, False, False]
    assert level(track, 12)[0] == 2.5
    assert level(track, 6)[0] == 5.0
    assert track.pose_deg[0].tolist() == [3, 1, 2]


def test_frame_numbers_alone_are_laid_over_the_pictures(tmp_path):
    rows = "".join(f"{i},10,10,50,60,0.99,0.5,1.0,1,2,3\n" for i in range(11))
    reader = FaceFileReader(write(tmp_path, PYFEAT + rows))
    pictures = [Frame(np.zeros((4, 4, 3), np.uint8), t) for t in (0.0, 0.2, 0.4)]
    assert reader.read(pictures).times_s == pytest.approx(np.arange(11) * 0.04)
    with pytest.raises(TrackFileError, match="frame numbers but no times"):
        reader.read([])


def test_several_people_in_one_file(tmp_path):
    by_place = "".join(
        f"{i},{300 + i},10,50,60,0.9,0.2,0,0,0,0\n{i},{10 + i},10,80,90,0.9,0.8,0,0,0,0\n" for i in range(8)
    )
    reader = FaceFileReader(write(tmp_path, PYFEAT + by_place), fps=25)
    assert (reader.read([]).n_people, reader.read([]).subject) == (2, 0)
    assert level(reader.read([], subject=1), 12) == pytest.approx([1.0] * 8)
    with pytest.raises(OptionError):
        reader.read([], subject=2)
    by_id = "face_id,timestamp,success,AU12_r\n" + "".join(
        f"{k},{i / 25},1,{k + 1}\n" for i in range(8) for k in (0, 1)
    )
    reader = FaceFileReader(write(tmp_path, by_id))
    assert [level(reader.read([], subject=k), 12)[0] for k in (0, 1)] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "holds no rows"),
        (b"AU12_r,timestamp\n", "holds no rows"),
        (b"a,b\n1,2\n", "no action-unit columns"),
        (b"AU12_r,timestamp\n1\n", "line 2: 1 values under 2 columns"),
        (b"AU12_r,timestamp\nsmile,0\n", "line 2: 'smile' is no number"),
        (b"AU12_r,timestamp\n1,-3\n", "line 2: a time"),
        (b"AU12_r,timestamp\n1,inf\n", "line 2: a time"),
        (b"AU12,other\n0.1,0\n0.2,1\n", "neither times nor frame numbers"),
        (b"\xff\xfe\x00AU12", "not a CSV"),
        (b'AU12_r,"timestamp\n1', "not a CSV|holds no rows"),
        (b"\x00\x01\x02\x03" * 50, "not a CSV|no rows|no action-unit"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, text, what):
    with pytest.raises(TrackFileError, match=what) as caught:
        FaceFileReader(write(tmp_path, text))
    assert "track.csv" in str(caught.value)
    assert caught.value.remedy


def test_a_missing_file_or_a_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(TrackFileError):
            FaceFileReader(path)


cells = st.one_of(
    st.floats().map(str),
    st.sampled_from(["", "nan", "1", " 2 ", '"', "\x00", "a,b", "é", "-1e400"]),
    st.text(max_size=6),
)
names = st.sampled_from(
    ["AU12_r", "AU45_r", "AU06", "frame", "timestamp", "success", "pose_Ry", "face_id", "FaceRectX"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=1, max_size=6), st.lists(st.lists(cells, max_size=7), max_size=5))
def test_any_table_gives_a_track_or_a_typed_error(tmp_path, header, rows):
    text = "\n".join(",".join(row) for row in [header, *rows])
    check(write(tmp_path, text.encode("utf-8", "surrogatepass")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_a_track_or_a_typed_error(tmp_path, junk):
    check(write(tmp_path, junk))
    check(write(tmp_path, b"AU12_r,timestamp\n1.5,0\n" + junk))


def check(path: Path) -> None:
    try:
        track = FaceFileReader(path).read([])
    except TrackFileError:
        return
    n = len(track.times_s)
    assert track.action_units.shape == (n, len(track.units))
    assert (np.diff(track.times_s) > 0).all()
    seen = track.action_units[np.isfinite(track.action_units)]
    assert ((seen >= 0) & (seen <= 5)).all()
    assert not np.isfinite(track.action_units[~track.found]).any()


@pytest.mark.shared
def test_files_as_the_tools_write_them(shared_data):
    folder = shared_data / "faces" / "pyfeat"
    openface = FaceFileReader(folder / "OpenFace_Test.csv").read([])
    assert (len(openface.times_s), openface.n_people, openface.found.all()) == (100, 1, True)
    assert level(openface, 1)[0] == pytest.approx(0.6773, abs=1e-4)
    assert openface.reliability[openface.units.index(24)] == 0
    feat = FaceFileReader(folder / "Feat_Test.csv").read([])
    assert level(feat, 12) == pytest.approx([5 * 0.96438], abs=1e-3)
    series = FaceFileReader(folder / "001.csv", fps=30).read([])
    assert len(series.times_s) == 40
    with pytest.raises(TrackFileError, match="no action-unit columns"):
        FaceFileReader(folder / "iMotions_Test_v6.txt")
