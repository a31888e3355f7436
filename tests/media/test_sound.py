"""waveform: mono, contiguous, at its time, never louder than it was, in blocks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from media_files import AUDIO_RATE_HZ, even_times_ms, tone, write_gapped_sound, write_sound, write_video
from numpy.typing import NDArray

from affectgpt.errors import OptionError
from affectgpt.media import open_clip, waveform
from affectgpt.records import Clip, Waveform


def joined(clip: Clip, rate_hz: int = 16_000, block_s: float = 30.0) -> tuple[float, NDArray[np.float32]]:
    blocks = list(waveform(clip, rate_hz, block_s=block_s))
    check_contiguous(blocks)
    return blocks[0].start_s, np.concatenate([b.samples for b in blocks])


def check_contiguous(blocks: list[Waveform]) -> None:
    for one, after in pairwise(blocks):
        assert after.start_s == pytest.approx(one.start_s + one.samples.size / one.rate_hz, abs=1e-6)
        assert one.samples.size == blocks[0].samples.size
    for block in blocks:
        assert block.samples.dtype == np.float32
        assert block.samples.size
        assert np.abs(block.samples).max() <= 1.0


def loud_span_s(samples: NDArray[np.float32], rate_hz: int) -> tuple[float, float]:
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    return loud[0] / rate_hz, loud[-1] / rate_hz


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libopus")],
)
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_every_format_gives_the_tone_at_its_pitch(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    clip = open_clip(write_sound(tmp_path / name, tone(2.0, hz=440.0)[None], codec))
    start_s, samples = joined(clip, rate_hz)
    assert start_s == pytest.approx(0.0, abs=0.001)
    assert samples.size / rate_hz == pytest.approx(2.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[: rate_hz * 3 // 2]))
    assert np.argmax(spectrum) / 1.5 == pytest.approx(440.0, abs=1.0)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100])
def test_no_sample_is_lost_in_resampling(tmp_path: Path, rate_hz: int) -> None:
    clip = open_clip(write_sound(tmp_path / "a.wav", tone(3.21)[None], "pcm_s16le"))
    _, samples = joined(clip, rate_hz, block_s=0.5)
    assert abs(samples.size - 3.21 * rate_hz) <= 1


@pytest.mark.parametrize(("n_channels", "name"), [(1, "a.wav"), (2, "a.wav"), (6, "a.flac")])
def test_full_scale_stays_full_scale_whatever_the_channels(tmp_path: Path, n_channels: int, name: str) -> None:
    source = np.tile(tone(1.0, level=0.9), (n_channels, 1))
    clip = open_clip(write_sound(tmp_path / name, source, "flac" if name.endswith("flac") else "pcm_s16le"))
    _, samples = joined(clip)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.9, abs=0.01)


def test_one_silent_channel_halves_the_level(tmp_path: Path) -> None:
    source = np.stack([tone(1.0, level=0.8), np.zeros(AUDIO_RATE_HZ, np.float32)])
    _, samples = joined(open_clip(write_sound(tmp_path / "a.wav", source, "pcm_s16le")))
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("block_s", [0.1, 0.37, 1.0, 30.0])
def test_blocks_join_to_the_same_sound(tmp_path: Path, block_s: float) -> None:
    clip = open_clip(write_sound(tmp_path / "a.wav", tone(2.5)[None], "pcm_s16le"))
    whole = joined(clip)[1]
    assert np.array_equal(joined(clip, block_s=block_s)[1], whole)
    assert next(waveform(clip, block_s=block_s)).samples.size == min(whole.size, round(block_s * 16_000))


@pytest.mark.parametrize("late_ms", [0, 300, 1240])
@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_late_sound_starts_late(tmp_path: Path, late_ms: int, name: str) -> None:
    sound = tone(1.0)[None]
    clip = open_clip(
        write_video(tmp_path / name, even_times_ms(60), sound=sound, sound_at_ms=late_ms, audio_codec="pcm_s16le")
    )
    start_s, samples = joined(clip)
    assert start_s == pytest.approx(late_ms / 1000, abs=0.002)
    assert samples.size == pytest.approx(16_000, abs=40)


def test_sound_before_the_picture_by_a_hair_is_cut(tmp_path: Path) -> None:
    times = [t + 60 for t in even_times_ms(25)]
    clip = open_clip(write_video(tmp_path / "a.mkv", times, sound=tone(1.0)[None], audio_codec="pcm_s16le"))
    start_s, samples = joined(clip)
    assert start_s == 0.0
    assert samples.size == pytest.approx(0.94 * 16_000, abs=40)


def test_sound_long_before_the_picture_is_kept(tmp_path: Path) -> None:
    times = [t + 700 for t in even_times_ms(25)]
    clip = open_clip(write_video(tmp_path / "a.mkv", times, sound=tone(1.0)[None], audio_codec="pcm_s16le"))
    start_s, samples = joined(clip)
    assert start_s == 0.0
    assert samples.size == pytest.approx(16_000, abs=40)


def test_a_hole_in_the_times_becomes_silence(tmp_path: Path) -> None:
    clip = open_clip(write_gapped_sound(tmp_path / "a.mkv", [(0.0, tone(0.5)), (2.0, tone(0.5))]))
    start_s, samples = joined(clip, block_s=0.4)
    assert start_s == 0.0
    assert samples.size == pytest.approx(2.5 * 16_000, abs=100)
    assert np.abs(samples[8200:31_800]).max() == 0.0
    assert loud_span_s(samples[20_000:], 16_000)[0] == pytest.approx(0.75, abs=0.005)


def test_a_beep_lies_where_it_was_put(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(48_000), tone(0.5), np.zeros(48_000)]).astype(np.float32)[None]
    clip = open_clip(write_video(tmp_path / "a.mp4", even_times_ms(60), sound=sound))
    start_s, samples = joined(clip)
    first_s, last_s = loud_span_s(samples, 16_000)
    assert (start_s + first_s, start_s + last_s) == (pytest.approx(1.0, abs=0.02), pytest.approx(1.5, abs=0.02))


def test_damaged_sound_keeps_its_time(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp3", tone(4.0)[None], "libmp3lame")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    _, samples = joined(open_clip(path))
    assert samples.size > 3 * 16_000
    assert np.isfinite(samples).all()


def test_no_sound_gives_no_blocks(tmp_path: Path) -> None:
    assert list(waveform(open_clip(write_video(tmp_path / "a.mp4", even_times_ms(5))))) == []


@pytest.mark.parametrize(("rate_hz", "block_s"), [(0, 1.0), (-16_000, 1.0), (16_000, 0.0), (16_000, float("nan"))])
def test_senseless_options_are_refused_at_the_call(tmp_path: Path, rate_hz: int, block_s: float) -> None:
    clip = open_clip(write_sound(tmp_path / "a.wav", tone(0.2)[None], "pcm_s16le"))
    with pytest.raises(OptionError):
        waveform(clip, rate_hz, block_s=block_s)
