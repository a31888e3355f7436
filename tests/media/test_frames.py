"""Frames: the right picture at the right time, whatever the codec, the container, the clock or the damage."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import even_times_ms, is_upright, paint, read_number, rotate_mp4, tone, write_video

from affectgpt.errors import OptionError, UnreadableMedia
from affectgpt.media import frames, open_clip
from affectgpt.media.frames import fit_size, on_grid
from affectgpt.records import Clip

CASES = [
    ("libx264", "a.mp4"),
    ("libx264", "a.mkv"),
    ("libx264", "a.mov"),
    ("libx265", "a.mp4"),
    ("libvpx-vp9", "a.webm"),
    ("libsvtav1", "a.mp4"),
    ("libsvtav1", "a.webm"),
    ("mpeg4", "a.avi"),
    ("mpeg4", "a.mp4"),
]
UNEVEN_MS = [0, 40, 60, 200, 205, 210, 500, 960, 1000, 1300, 1310, 2000]


def read(clip: Clip, rate_hz: float | None, **options: object) -> list[tuple[int, float]]:
    """(number painted, time) of the frames."""
    return [(read_number(f.pixels), round(f.time_s, 6)) for f in frames(clip, rate_hz, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("codec", "name"), CASES)
def test_every_codec_gives_each_frame_at_its_time(tmp_path: Path, codec: str, name: str) -> None:
    clip = open_clip(write_video(tmp_path / name, even_times_ms(30), codec=codec))
    got = read(clip, None)
    assert [n for n, _ in got] == list(range(30))
    np.testing.assert_allclose([t for _, t in got], np.arange(30) / 25, atol=0.001)
    assert (clip.width_px, clip.height_px, clip.has_video, clip.has_audio) == (160, 96, True, False)
    assert clip.duration_s == pytest.approx(1.2, abs=0.05)


def test_sampling_at_half_the_rate_takes_every_second_frame(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", even_times_ms(50)))
    assert read(clip, 12.5) == [(k, k / 25) for k in range(0, 50, 2)]


def test_a_rate_above_the_source_gives_each_source_frame_once(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", even_times_ms(20)))
    assert read(clip, 60) == read(clip, None) == [(k, k / 25) for k in range(20)]


@pytest.mark.parametrize("rate_hz", [1, 3, 5, 12.5, 100])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_frame_rate_is_exact_by_pts(tmp_path: Path, rate_hz: float, name: str) -> None:
    clip = open_clip(write_video(tmp_path / name, UNEVEN_MS))
    last_s = UNEVEN_MS[-1] / 1000
    on_screen = []
    for k in range(int(last_s * rate_hz) + 1):
        on_screen.append(max(i for i, ms in enumerate(UNEVEN_MS) if ms / 1000 <= k / rate_hz + 1e-3))
    expected = [(i, UNEVEN_MS[i] / 1000) for i in dict.fromkeys(on_screen)]
    got = read(clip, rate_hz)
    assert got[: len(expected)] == expected
    assert got[len(expected) :] in ([], [(len(UNEVEN_MS) - 1, last_s)])  # the last frame lasts on


@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    rate=st.fractions(Fraction(1, 2), Fraction(60), max_denominator=8),
)
def test_the_grid_law_holds_for_any_times(gaps: list[int], rate: Fraction) -> None:
    times = [Fraction(sum(gaps[:k]), 1000) for k in range(len(gaps))]
    ends = [*times[1:], times[-1] + Fraction(gaps[-1], 1000)]
    timed = [(t, e - t, i) for i, (t, e) in enumerate(zip(times, ends, strict=True))]
    chosen = [i for _, i in on_grid(timed, rate, Fraction(0))]
    n_grid = int(ends[-1] * rate) + 1
    wanted = {i for k in range(n_grid) for i, (t, e) in enumerate(zip(times, ends, strict=True)) if t <= k / rate < e}
    assert chosen == sorted(wanted)


def test_times_start_at_the_first_picture(tmp_path: Path) -> None:
    late = open_clip(write_video(tmp_path / "a.mkv", [t + 1500 for t in even_times_ms(10)]))
    assert read(late, None) == [(k, k / 25) for k in range(10)]
    assert late.duration_s == pytest.approx(0.4, abs=0.05)


def test_sound_that_leads_by_long_starts_the_clock(tmp_path: Path) -> None:
    times = [t + 800 for t in even_times_ms(10)]
    clip = open_clip(write_video(tmp_path / "a.mkv", times, sound=tone(1.5)[None], audio_codec="pcm_s16le"))
    assert read(clip, None)[0] == (0, pytest.approx(0.8, abs=0.002))
    assert clip.duration_s == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("clockwise_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_the_rotation_tag_is_obeyed(tmp_path: Path, clockwise_deg: int, backend: str) -> None:
    path = rotate_mp4(write_video(tmp_path / "a.mp4", even_times_ms(6)), clockwise_deg)
    clip = open_clip(path)
    assert clip.rotation_deg == clockwise_deg
    stored = {0: 0, 90: 1, 180: 2, 270: 3}[clockwise_deg]
    got = list(frames(clip, None, backend=backend))
    assert got[0].pixels.shape == (clip.height_px, clip.width_px, 3)
    assert got[0].pixels.flags["C_CONTIGUOUS"]
    # Turned back counterclockwise, each picture is as it was stored.
    back = [np.rot90(f.pixels, stored) for f in got]
    assert all(is_upright(p) for p in back)
    assert [read_number(p) for p in back] == list(range(6))


def test_scaling_keeps_the_shape_and_never_enlarges(tmp_path: Path) -> None:
    clip = open_clip(rotate_mp4(write_video(tmp_path / "a.mp4", even_times_ms(3)), 90))
    assert next(frames(clip, None, max_side_px=80)).pixels.shape == (80, 48, 3)
    assert next(frames(clip, None, max_side_px=4000)).pixels.shape == (160, 96, 3)
    assert fit_size((4000, 3), 100) == (100, 1)


def test_colours_survive(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", [0, 40]))
    got = next(frames(clip, None)).pixels.astype(int)
    assert np.abs(got - paint(0))[4:20, 4:20].max() < 12
    assert np.abs(got - paint(0))[30:60, 4:150].max() < 6


@pytest.mark.parametrize("rate_hz", [None, 3.0, 12.5, 25.0])
@pytest.mark.parametrize("times", [even_times_ms(60), UNEVEN_MS, [t + 700 for t in even_times_ms(20)]])
def test_decord_gives_the_same_frames_and_times(tmp_path: Path, rate_hz: float | None, times: list[int]) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", times))
    ours, theirs = list(frames(clip, rate_hz)), list(frames(clip, rate_hz, backend="decord"))
    assert [f.time_s for f in ours] == [f.time_s for f in theirs]
    assert [read_number(f.pixels) for f in ours] == [read_number(f.pixels) for f in theirs]
    # Two releases of libswscale: their YUV to RGB may round apart by 2 of 255.
    assert max(np.abs(a.pixels.astype(int) - b.pixels).max() for a, b in zip(ours, theirs, strict=True)) <= 2


def test_decord_scales_to_the_same_size(tmp_path: Path) -> None:
    clip = open_clip(rotate_mp4(write_video(tmp_path / "a.mp4", even_times_ms(5)), 270))
    ours = list(frames(clip, None, max_side_px=80))
    theirs = list(frames(clip, None, max_side_px=80, backend="decord"))
    assert [f.pixels.shape for f in ours] == [f.pixels.shape for f in theirs]
    # One scaler, but for decord's pictures after the change from YUV to RGB, where chroma has its full size: measured
    # mean difference 1.8 of 255 on this picture of hard edges.
    assert [read_number(np.rot90(f.pixels, 3)) for f in theirs] == list(range(5))
    assert all(np.abs(a.pixels.astype(int) - b.pixels).mean() < 3 for a, b in zip(ours, theirs, strict=True))


def test_decord_says_that_it_has_no_av1(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", even_times_ms(5), codec="libsvtav1"))
    with pytest.raises(UnreadableMedia, match="backend pyav"):
        list(frames(clip, None, backend="decord"))


def test_without_decord_the_extra_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 40])
    program = f"""
import sys
sys.modules["decord"] = None  # what an import finds where the package is not installed
from affectgpt.errors import MissingDependency
from affectgpt.media import frames, open_clip
try:
    frames(open_clip({str(path)!r}), None, backend="decord")
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "affectgpt[decord]" in done.stdout


def test_libav_stays_silent_over_damage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "a.mp4", even_times_ms(60), sound=tone(2.0)[None])
    data = bytearray(path.read_bytes())
    data[1000:1400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    capfd.readouterr()
    for backend in ("pyav", "decord"):
        with contextlib.suppress(UnreadableMedia):
            list(frames(open_clip(path), None, backend=backend))
    assert capfd.readouterr() == ("", "")


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", [0]))
    assert read(clip, 12.5) == read(clip, None) == [(0, 0.0)]


def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", even_times_ms(100), codec="mpeg4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).bytes(200)
    path.write_bytes(data)
    times = [t for _, t in read(open_clip(path), None)]
    assert len(times) > 50
    assert times == sorted(times)
    assert times[-1] > 3.5  # it went on after the damage


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi"])
def test_a_truncated_file_is_read_up_to_the_break(tmp_path: Path, name: str) -> None:
    codec = {"a.mkv": "libx264", "a.webm": "libvpx-vp9", "a.avi": "mpeg4"}[name]
    path = write_video(tmp_path / name, even_times_ms(100), codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clip = open_clip(path)
    got = read(clip, None)
    assert 20 < len(got) < 95
    assert [n for n, _ in got[:-3]] == list(range(len(got) - 3))
    assert clip.duration_s == pytest.approx(got[-1][1] + 0.04, abs=0.3)


def test_a_closed_iterator_closes_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", even_times_ms(50))
    clip = open_clip(path)

    def n_open() -> int:
        """Descriptors of this process that point at the file (Linux)."""
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing's own descriptor
                found += link.readlink() == path
        return found

    if not Path("/proc/self/fd").is_dir():
        return
    gc.disable()
    try:
        some = frames(clip, 5)
        next(some)
        assert n_open() == 1
        some.close()  # type: ignore[attr-defined]
        assert n_open() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused_at_the_call(tmp_path: Path, rate_hz: float) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", [0, 40]))
    with pytest.raises(OptionError, match="frame rate"):
        frames(clip, rate_hz)


def test_senseless_options_are_refused_at_the_call(tmp_path: Path) -> None:
    clip = open_clip(write_video(tmp_path / "a.mp4", [0, 40]))
    with pytest.raises(OptionError, match="pyav or decord"):
        frames(clip, None, backend="magic")
    with pytest.raises(OptionError, match="longest side"):
        frames(clip, None, max_side_px=0)


@pytest.mark.shared
def test_real_clips_agree_between_backends(shared_data: Path) -> None:
    for name in ("pyfeat/single_face.mp4", "liveportrait/driving/d0.mp4"):
        clip = open_clip(shared_data / "clips" / name)
        ours, theirs = list(frames(clip, 5)), list(frames(clip, 5, backend="decord"))
        assert [f.time_s for f in ours] == [f.time_s for f in theirs]
        assert max(np.abs(a.pixels.astype(int) - b.pixels).max() for a, b in zip(ours, theirs, strict=True)) <= 2


@pytest.mark.shared
def test_pixels_that_are_not_square_are_squared(shared_data: Path) -> None:
    clip = open_clip(shared_data / "clips" / "liveportrait" / "driving" / "d9.mp4")  # stored 512x480, aspect 15:16
    assert (clip.width_px, clip.height_px) == (480, 480)
    assert next(frames(clip, 1)).pixels.shape == (480, 480, 3)
