"""Still images and animations: upright, flattened, eight bits, within limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media_files import is_upright, paint, read_number
from PIL import Image, ImageOps

from affectgpt.errors import ImageTooLarge, MediaTooLong, UnreadableMedia
from affectgpt.media import frames, open_clip, waveform
from affectgpt.records import Frame


def only_frame(path: Path, max_side_px: int | None = None) -> Frame:
    clip = open_clip(path)
    assert clip.is_image
    assert clip.has_video
    assert not clip.has_audio
    assert clip.duration_s == 0.0
    (frame,) = frames(clip, 12.5, max_side_px=max_side_px)
    assert frame.time_s == 0.0
    assert frame.pixels.dtype == np.uint8
    if max_side_px is None:
        assert frame.pixels.shape == (clip.height_px, clip.width_px, 3)
    assert list(waveform(clip)) == []
    return frame


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "misnamed.mp4"])
def test_every_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(paint(613)).save(path, format="PNG" if name.endswith("mp4") else None)
    frame = only_frame(path)
    assert read_number(frame.pixels) == 613
    assert is_upright(frame.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(paint(613))
    # What a camera stores, so that the tag makes it upright again.
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}.get(orientation)  # fmt: skip
    stored = upright if turn is None else upright.transpose(turn)
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    frame = only_frame(tmp_path / "a.jpg")
    assert frame.pixels.shape == (96, 160, 3)
    assert is_upright(frame.pixels)
    assert read_number(frame.pixels) == 613
    assert np.array_equal(frame.pixels, np.array(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))))


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 4), np.uint8)
    picture[:, 15:] = (10, 20, 30, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    pixels = only_frame(tmp_path / "a.png").pixels
    assert (pixels[:, :15] == 255).all()
    assert (pixels[:, 15:] == (10, 20, 30)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F"])
def test_every_colour_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(paint(613)).convert(mode)
    path = tmp_path / ("a.png" if mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else "a.tiff")
    image.save(path)
    assert read_number(only_frame(path).pixels) == 613


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_become_eight(tmp_path: Path, name: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (10, 1))
    Image.fromarray(ramp).save(tmp_path / name)
    pixels = only_frame(tmp_path / name).pixels
    np.testing.assert_allclose(pixels[0, :, 0].astype(int), np.arange(256), atol=1)


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert (only_frame(tmp_path / "a.png").pixels == 255).all()


def test_scaling_down(tmp_path: Path) -> None:
    Image.fromarray(paint(613)).save(tmp_path / "a.png")
    assert only_frame(tmp_path / "a.png", 80).pixels.shape == (48, 80, 3)
    assert only_frame(tmp_path / "a.png", 800).pixels.shape == (96, 160, 3)


def test_a_picture_of_sixteen_thousand_pixels_a_side(tmp_path: Path) -> None:
    Image.new("1", (16_384, 16_384)).save(tmp_path / "a.png")  # 268 megapixels in 33 kB
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(ImageTooLarge, match=r"16384x16384|exceeds limit"):
        open_clip(tmp_path / "a.png")


def test_the_limit_on_pixels_is_the_callers(tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    assert open_clip(tmp_path / "a.png", max_pixels=10_000).is_image
    with pytest.raises(ImageTooLarge):
        open_clip(tmp_path / "a.png", max_pixels=9_999)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff"])
def test_a_truncated_picture_is_unreadable(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableMedia):
        open_clip(tmp_path / name)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_an_animation_is_a_video(tmp_path: Path, name: str) -> None:
    pictures = [Image.fromarray(paint(n)) for n in (0, 5, 613)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=[200, 300, 500], loop=0)
    clip = open_clip(tmp_path / name)
    assert clip.has_video
    assert not clip.is_image
    assert clip.duration_s == pytest.approx(1.0, abs=0.01)
    got = [(read_number(f.pixels), round(f.time_s, 3)) for f in frames(clip, 10)]
    assert got == [(0, 0.0), (5, 0.2), (613, 0.5)]
    assert next(frames(clip, 10, max_side_px=80)).pixels.shape == (48, 80, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_a_long_animation_is_too_long(tmp_path: Path, name: str) -> None:
    pictures = [Image.fromarray(paint(n)) for n in range(4)]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=30_000, loop=0)
    with pytest.raises(MediaTooLong):
        open_clip(tmp_path / name, max_duration_s=60)
