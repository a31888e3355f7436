"""Still images through Pillow: upright, flattened, eight bits, and no larger than allowed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectgpt.errors import ImageTooLarge, UnreadableMedia
from affectgpt.records import Clip, Frame

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["flatten", "is_webp", "open_still", "opened_image", "read_still"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")
"""What Pillow may open. Not its other fifty readers: some start programs (EPS calls Ghostscript)."""

_BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, as on a page."""

_ROTATION_DEG = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
"""EXIF orientation -> clockwise degrees to upright (CIPA DC-008, tag 0x0112); mirrored ones (4, 5, 7) by their turn."""


def open_still(path: Path, max_pixels: int) -> Clip | None:
    """The Clip of a still image, decoded once to prove it; None when `path` is no still (an animation is a video).

    Raises:
        ImageTooLarge: more than `max_pixels` pixels, told from the header.
        UnreadableMedia: an image header without a readable image.
    """
    with opened_image(path) as image:
        if image is None or (getattr(image, "is_animated", False) and image.format in {"PNG", "WEBP"}):
            return None
        if image.width * image.height > max_pixels:
            raise ImageTooLarge(
                f"{path}: {image.width}x{image.height} pixels, the limit is {max_pixels}", "scale the picture down"
            )
        pixels = flatten(image, path)
        rotation_deg = _ROTATION_DEG.get(_orientation(image), 0)
    height_px, width_px = pixels.shape[:2]
    return Clip(path, 0.0, 0.0, True, False, width_px, height_px, rotation_deg, is_image=True)


def read_still(clip: Clip, max_side_px: int | None) -> Frame:
    """The picture as one Frame (H, W, 3) at 0.0 s, its longer side at most `max_side_px`."""
    with opened_image(clip.path) as image:
        if image is None:
            raise UnreadableMedia(f"{clip.path}: no longer the picture that was opened", "open it again")
        return Frame(flatten(image, clip.path, max_side_px), 0.0)


def is_webp(path: Path) -> bool:
    """Whether the file's first bytes are WebP's (RIFF container, form type WEBP)."""
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image | None]:
    """The image with only its header read; None for what is no image of `FORMATS`. Damage raises UnreadableMedia."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Our own limit on pixels is lower than Pillow's, and is an error where Pillow only warns.
        warnings.simplefilter("ignore")
        Image.init()  # registers the readers; `open` with a list of formats expects them registered
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            yield None
            return
        except Image.DecompressionBombError as error:
            raise ImageTooLarge(f"{path}: {error}", "scale the picture down") from error
        except Exception as error:
            raise _unreadable(path, error) from error
        with image:
            yield image


def _unreadable(path: Path, error: Exception) -> UnreadableMedia:
    return UnreadableMedia(f"{path}: a damaged picture ({error})", "copy or export it again")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  a hostile EXIF block fails in many ways; the picture is then taken as it lies
        return 1


def flatten(image: Image.Image, path: Path, max_side_px: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The image as (H, W, 3) uint8: eight bits, upright, alpha over white, longer side at most `max_side_px`."""
    from PIL import Image, ImageOps

    try:
        image.load()
        image = _to_eight_bits(image)
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGBA", rgba.size, (*_BACKGROUND, 255))
            image.alpha_composite(rgba)
        image = image.convert("RGB")
        if max_side_px is not None:
            image.thumbnail((max_side_px, max_side_px), Image.Resampling.BOX)
        return np.array(image, dtype=np.uint8)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, EOFError, KeyError …
        raise _unreadable(path, error) from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey and float pictures, which `convert` would clip to white, scaled to 0–255; others unchanged."""
    from PIL import Image

    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    if image.mode == "F":
        top = 1.0 if finite.size and finite.max() <= 1.0 else max(float(finite.max(initial=0.0)), 255.0)
    else:
        top = 65535.0 if float(finite.max(initial=0.0)) > 255.0 or image.mode.startswith("I;16") else 255.0
    grey = Image.fromarray(np.clip(np.nan_to_num(values) * (255.0 / top), 0, 255).round().astype(np.uint8), "L")
    grey.info = image.info
    exif = image.getexif()
    if exif:
        grey.getexif().update(exif)
    return grey
